//! Stripe: one header with the time and the codes of `{t}.{body}`, one for each secret in use there. PURE.

use super::{NotVerified, SIGNATURES_MAX, header, hex_code, mac, time};
use crate::model::{Algorithm, Secret, UnixMs};
use crate::sources::Arrived;

const SIGNATURE: &str = "Stripe-Signature";
const RIGHT: &str = "t=<seconds since 1970>,v1=<64 hexadecimal digits>";

pub(super) fn verify(secrets: &[Secret], arrived: &Arrived<'_>, now: UnixMs) -> Result<(), NotVerified> {
    let parts = Parts::read(header(arrived, SIGNATURE, RIGHT)?)?;
    let seconds = time::seconds("t of Stripe-Signature", parts.time)?;
    let message: [&[u8]; 3] = [parts.time.as_bytes(), b".", arrived.body];
    if !mac::any_fits(Algorithm::Sha256, &mac::keys(secrets), &message, &parts.codes) {
        return Err(NotVerified::mismatch("v1 of Stripe-Signature", "{t}.{body}"));
    }
    time::near("t of Stripe-Signature", seconds, now)
}

/// When a request was signed, as its header says it.
pub(in crate::sources) fn signed_at<'a>(arrived: &Arrived<'a>) -> Option<&'a str> {
    let mut parts = arrived.header(SIGNATURE).ok().flatten()?.split(',');
    parts.find_map(|part| part.trim().strip_prefix("t="))
}

struct Parts<'a> {
    time: &'a str,
    codes: Vec<Vec<u8>>,
}

impl<'a> Parts<'a> {
    /// Schemes other than `v1` are for others. What is no `v1` fits nothing, but does not spoil one beside it.
    fn read(text: &'a str) -> Result<Parts<'a>, NotVerified> {
        let (mut times, mut v1) = (Vec::new(), Vec::new());
        for part in text.split(',') {
            match part.trim().split_once('=') {
                Some(("t", time)) => times.push(time),
                Some(("v1", code)) => v1.push(code),
                _ => {}
            }
        }
        if v1.is_empty() && !text.is_empty() {
            return Err(NotVerified::Missing(format!("{SIGNATURE} has no v1: it must be {RIGHT}")));
        }
        let codes: Vec<_> = v1.iter().filter_map(|code| hex_code(code, "")).collect();
        match times.as_slice() {
            [time] if !codes.is_empty() && v1.len() <= SIGNATURES_MAX => Ok(Parts { time, codes }),
            _ => Err(NotVerified::malformed(
                SIGNATURE,
                &format!("{RIGHT}, with at most {SIGNATURES_MAX} of v1"),
            )),
        }
    }
}
