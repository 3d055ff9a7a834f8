//! Signatures over what is sent, and the keys that make them. PURE: values in, values out; no secret in any error.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ed25519_dalek::SigningKey;
use ed25519_dalek::ed25519::signature::MultipartSigner as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{PRIVATE_KEY_PREFIX, SHARED_KEY_PREFIX, Secret, Signature, UnixMs};

/// What the key that checks ed25519 signatures begins with.
const PUBLIC_KEY_PREFIX: &str = "whpk_";
/// How many bytes Standard Webhooks asks of a shared key.
const SHARED_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What is not padded can mean nothing else.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key of Standard Webhooks, ready to sign.
pub enum Key {
    /// HMAC-SHA256, scheme `v1`: the receiver has it too.
    Shared(Zeroizing<Vec<u8>>),
    /// ed25519, scheme `v1a`: the receiver has its public half.
    Private(Box<SigningKey>),
}

impl Key {
    /// Reads `whsec_…`, `whsk_…`, or the base64 of a shared key.
    ///
    /// # Errors
    /// What would be right; it does not repeat the secret.
    pub fn parse(secret: &Secret) -> Result<Key, &'static str> {
        let text = secret.expose();
        if text.starts_with(PUBLIC_KEY_PREFIX) {
            return Err("is a public key (whpk_…): it is what receivers have; give the private one (whsk_…)");
        }
        if let Some(text) = text.strip_prefix(PRIVATE_KEY_PREFIX) {
            return private_key(text).map(|key| Key::Private(Box::new(key)));
        }
        let decoded =
            LENIENT.decode(text.strip_prefix(SHARED_KEY_PREFIX).unwrap_or(text)).map(Zeroizing::new);
        match decoded {
            Ok(bytes) if SHARED_KEY_BYTES.contains(&bytes.len()) => Ok(Key::Shared(bytes)),
            _ => Err("must be whsec_ and the base64 of 24 to 64 bytes, or whsk_ and that of an ed25519 key"),
        }
    }

    /// What the signatures are called in the API.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Key::Shared(_) => "hmac-sha256",
            Key::Private(_) => "ed25519",
        }
    }

    /// What a receiver needs to check the signatures, where that is no secret.
    #[must_use]
    pub fn public(&self) -> Option<String> {
        match self {
            Key::Shared(_) => None,
            Key::Private(key) => {
                Some(format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(key.verifying_key().as_bytes())))
            }
        }
    }

    /// `v1,…` or `v1a,…`.
    fn sign(&self, message: &[&[u8]]) -> String {
        match self {
            Key::Shared(key) => format!("v1,{}", STANDARD.encode(hmac_sha256(key, message))),
            Key::Private(key) => format!("v1a,{}", STANDARD.encode(key.multipart_sign(message).to_bytes())),
        }
    }
}

/// The seed, or the seed and the public key.
fn private_key(text: &str) -> Result<SigningKey, &'static str> {
    let wrong =
        "whsk_ must be followed by the base64 of an ed25519 private key: 32 bytes, or 64 with its public key";
    let bytes = LENIENT.decode(text).map(Zeroizing::new).map_err(|_| wrong)?;
    if let Ok(seed) = <&[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(SigningKey::from_bytes(seed));
    }
    let pair = <&[u8; 64]>::try_from(bytes.as_slice()).map_err(|_| wrong)?;
    SigningKey::from_keypair_bytes(pair)
        .map_err(|_| "has a public half (its last 32 bytes) that is not that of its private half")
}

/// The value of the header that a signature goes into, for a request of this body made at `at`.
///
/// # Errors
/// Why nothing signs. Saving the webhook should have been refused.
pub fn signature(signature: &Signature, id: &str, at: UnixMs, body: &[u8]) -> Result<String, &'static str> {
    const NONE_VALID: &str = "no secret of the signature is valid any more";
    match signature {
        Signature::Standard { secrets } => {
            let seconds = at.seconds().to_string();
            let message: [&[u8]; 5] = [id.as_bytes(), b".", seconds.as_bytes(), b".", body];
            let mut all = String::new();
            for one in secrets.iter().filter(|one| one.signs(at)) {
                if !all.is_empty() {
                    all.push(' ');
                }
                all.push_str(&Key::parse(&one.secret)?.sign(&message));
            }
            if all.is_empty() { Err(NONE_VALID) } else { Ok(all) }
        }
        Signature::Hex { secrets, .. } => {
            let signing = secrets.iter().rev().find(|one| one.signs(at)).ok_or(NONE_VALID)?;
            Ok(hex(&hmac_sha256(signing.secret.expose().as_bytes(), &[body])))
        }
    }
}

/// `HMAC-SHA256 <base64>` over the body (Team Trax).
#[must_use]
pub fn hmac_authorization(secret: &Secret, body: &[u8]) -> String {
    format!("HMAC-SHA256 {}", STANDARD.encode(hmac_sha256(secret.expose().as_bytes(), &[body])))
}

fn hmac_sha256(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in message {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// In lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}
