//! Slack: `v0=` and the code of `v0:{timestamp}:{body}`. PURE.

use super::{NotVerified, header, hex_code, mac, time};
use crate::model::{Algorithm, Secret, UnixMs};
use crate::sources::Arrived;

const SIGNATURE: &str = "X-Slack-Signature";
const TIME: &str = "X-Slack-Request-Timestamp";
const RIGHT: &str = "v0= and 64 hexadecimal digits";

pub(super) fn verify(secrets: &[Secret], arrived: &Arrived<'_>, now: UnixMs) -> Result<(), NotVerified> {
    let signature = header(arrived, SIGNATURE, RIGHT)?;
    let at = header(arrived, TIME, "seconds since 1970, in digits")?;
    let seconds = time::seconds(TIME, at)?;
    let code = hex_code(signature, "v0=").ok_or_else(|| NotVerified::malformed(SIGNATURE, RIGHT))?;
    let message: [&[u8]; 4] = [b"v0:", at.as_bytes(), b":", arrived.body];
    if !mac::any_fits(Algorithm::Sha256, &mac::keys(secrets), &message, &[code]) {
        return Err(NotVerified::mismatch(SIGNATURE, &format!("v0:{{{TIME}}}:{{body}}")));
    }
    time::near(TIME, seconds, now)
}
