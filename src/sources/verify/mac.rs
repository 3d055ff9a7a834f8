//! Codes made with HMAC: made, written, and compared in a time that tells nothing. PURE.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::model::{Algorithm, Secret};

/// The standard alphabet. What is not padded can mean nothing else.
pub(in crate::sources) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many bytes a code has.
pub(super) fn code_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Sha1 => 20,
        Algorithm::Sha256 => 32,
        Algorithm::Sha512 => 64,
    }
}

/// The text of secrets as keys.
pub(super) fn keys(secrets: &[Secret]) -> Vec<&[u8]> {
    secrets.iter().map(|secret| secret.expose().as_bytes()).collect()
}

/// Whether any of `codes` is that of the message under any of `keys`. All are tried, whichever fits.
pub(super) fn any_fits(algorithm: Algorithm, keys: &[&[u8]], message: &[&[u8]], codes: &[Vec<u8>]) -> bool {
    match algorithm {
        Algorithm::Sha1 => fits::<Hmac<Sha1>>(keys, message, codes),
        Algorithm::Sha256 => fits::<Hmac<Sha256>>(keys, message, codes),
        Algorithm::Sha512 => fits::<Hmac<Sha512>>(keys, message, codes),
    }
}

fn fits<M: Mac + KeyInit + Clone>(keys: &[&[u8]], message: &[&[u8]], codes: &[Vec<u8>]) -> bool {
    let mut found = false;
    for key in keys {
        // Anyone can sign with an empty key.
        let Some(mac) = (!key.is_empty()).then(|| begun::<M>(key, message)).flatten() else { continue };
        for code in codes {
            found |= mac.clone().verify_slice(code).is_ok();
        }
    }
    found
}

/// The code of a message.
pub(in crate::sources) fn make(algorithm: Algorithm, key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    fn code<M: Mac + KeyInit>(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
        begun::<M>(key, message).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
    }
    match algorithm {
        Algorithm::Sha1 => code::<Hmac<Sha1>>(key, message),
        Algorithm::Sha256 => code::<Hmac<Sha256>>(key, message),
        Algorithm::Sha512 => code::<Hmac<Sha512>>(key, message),
    }
}

/// HMAC takes keys of every length, so this is never none.
fn begun<M: Mac + KeyInit>(key: &[u8], message: &[&[u8]]) -> Option<M> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    for part in message {
        mac.update(part);
    }
    Some(mac)
}

/// Bytes in hexadecimal, lower case.
pub(in crate::sources) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// Hexadecimal of either case, back to bytes.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// Base64 of the standard alphabet, padded or not, back to bytes.
pub(super) fn unbase64(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfcs() {
        // RFC 2202 and RFC 4231, test case 2.
        let of = |algorithm| hex(&make(algorithm, b"Jefe", &[b"what do ya want ", b"for nothing?"]));
        assert_eq!(of(Algorithm::Sha1), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(of(Algorithm::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(
            of(Algorithm::Sha512)
                .starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554")
        );
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            let code = make(algorithm, b"k", &[b"m"]);
            assert_eq!(code.len(), code_bytes(algorithm));
            let short = code[..code.len() - 1].to_vec();
            assert!(any_fits(algorithm, &[b"other", b"k"], &[b"m"], &[short.clone(), code]));
            assert!(!any_fits(algorithm, &[b"k"], &[b"m"], &[short, Vec::new()]));
        }
    }

    #[test]
    fn an_empty_key_proves_nothing() {
        let code = make(Algorithm::Sha256, b"", &[b"m"]);
        assert!(!any_fits(Algorithm::Sha256, &[b""], &[b"m"], &[code]));
    }

    #[test]
    fn hexadecimal_is_read_back_in_either_case() {
        assert_eq!(unhex(&hex(&[0, 0x9a, 0xff])), Some(vec![0, 0x9a, 0xff]));
        assert_eq!(unhex("009AfF"), Some(vec![0, 0x9a, 0xff]));
        for wrong in ["0", "0g", "+1", "0x", "é", "00 "] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
