//! Anyone who signs the body with HMAC: the source says where the code is and how it is made. PURE.

use super::{NotVerified, header, mac, time};
use crate::model::{Encoding, HmacProof, Secret, UnixMs};
use crate::sources::Arrived;

pub(super) fn verify(
    proof: &HmacProof,
    secrets: &[Secret],
    arrived: &Arrived<'_>,
    now: UnixMs,
) -> Result<(), NotVerified> {
    let code = code(proof, arrived)?;
    let keys = mac::keys(secrets);
    let mismatch = |over: &str| Err(NotVerified::mismatch(&proof.header, over));
    let Some(place) = proof.timestamp_header.as_deref() else {
        let fits = mac::any_fits(proof.algorithm, &keys, &[arrived.body], &[code]);
        return if fits { Ok(()) } else { mismatch("the body") };
    };
    let at = header(arrived, place, "the time of signing, in seconds since 1970")?;
    let seconds = time::seconds_or_milliseconds(place, at)?;
    if !mac::any_fits(proof.algorithm, &keys, &[at.as_bytes(), b".", arrived.body], &[code]) {
        return mismatch(&format!("{{{place}}}.{{body}}"));
    }
    time::near(place, seconds, now)
}

/// The code that came, as bytes: it may be written in more than one way.
pub(in crate::sources) fn code(proof: &HmacProof, arrived: &Arrived<'_>) -> Result<Vec<u8>, NotVerified> {
    let text = header(arrived, &proof.header, &right(proof))?;
    let decode = match proof.encoding {
        Encoding::Hex => mac::unhex,
        Encoding::Base64 => mac::unbase64,
    };
    text.strip_prefix(&*proof.prefix)
        .and_then(decode)
        .filter(|code| code.len() == mac::code_bytes(proof.algorithm))
        .ok_or_else(|| NotVerified::malformed(&proof.header, &right(proof)))
}

fn right(proof: &HmacProof) -> String {
    let bytes = mac::code_bytes(proof.algorithm);
    let code = match proof.encoding {
        Encoding::Hex => format!("{} hexadecimal digits", bytes * 2),
        Encoding::Base64 => format!("the base64 of {bytes} bytes"),
    };
    if proof.prefix.is_empty() { code } else { format!("\"{}\" and {code}", proof.prefix) }
}
