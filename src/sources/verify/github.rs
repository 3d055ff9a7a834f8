//! GitHub: `sha256=` and the code of the body. There is no time, so a request stays good as long as the secret. PURE.

use super::{NotVerified, header, hex_code, mac};
use crate::model::{Algorithm, Secret};
use crate::sources::Arrived;

const SIGNATURE: &str = "X-Hub-Signature-256";
/// What GitHub sends as well, for receivers of long ago.
const SIGNATURE_SHA1: &str = "X-Hub-Signature";
const RIGHT: &str = "sha256= and 64 hexadecimal digits";

pub(super) fn verify(secrets: &[Secret], arrived: &Arrived<'_>) -> Result<(), NotVerified> {
    let signature = header(arrived, SIGNATURE, RIGHT).map_err(|why| match why {
        NotVerified::Missing(_) if arrived.headers.contains_key(SIGNATURE_SHA1) => NotVerified::Missing(format!(
            "{SIGNATURE} is missing: {SIGNATURE_SHA1}, which is SHA-1, does not count; SHA-256 is wanted, {RIGHT}"
        )),
        why => why,
    })?;
    let code = hex_code(signature, "sha256=").ok_or_else(|| NotVerified::malformed(SIGNATURE, RIGHT))?;
    if !mac::any_fits(Algorithm::Sha256, &mac::keys(secrets), &[arrived.body], &[code]) {
        return Err(NotVerified::mismatch(SIGNATURE, "the body"));
    }
    Ok(())
}
