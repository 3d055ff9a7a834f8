//! Standard Webhooks: three headers; codes by HMAC-SHA256 (`v1`), signatures by ed25519 (`v1a`). PURE.

use ed25519_dalek::{Signature, VerifyingKey};
use zeroize::Zeroizing;

use super::{NotVerified, SIGNATURES_MAX, header, mac, time};
use crate::model::{Algorithm, PRIVATE_KEY_PREFIX, SHARED_KEY_PREFIX, Secret, UnixMs};
use crate::sources::Arrived;

const ID: &str = "webhook-id";
const TIME: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
const RIGHT: &str = "v1,<base64> or v1a,<base64>, or several of them, with spaces between";

/// What a public key begins with.
const PUBLIC_KEY_PREFIX: &str = "whpk_";
/// How many bytes the specification asks of a shared key.
const SHARED_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What proves that the sender has the other half.
pub(in crate::sources) enum Key {
    /// The sender has the same.
    Shared(Zeroizing<Vec<u8>>),
    /// The sender has the private half.
    Public(Box<VerifyingKey>),
}

impl Key {
    /// Reads `whsec_…`, the base64 of a shared key, or `whpk_…`.
    ///
    /// # Errors
    /// What would be right; it does not repeat the secret.
    pub(in crate::sources) fn parse(text: &str) -> Result<Key, &'static str> {
        if text.starts_with(PRIVATE_KEY_PREFIX) {
            return Err(
                "is a private key (whsk_…), which only the sender should have: give the public one (whpk_…)",
            );
        }
        if let Some(text) = text.strip_prefix(PUBLIC_KEY_PREFIX) {
            return public_key(text)
                .map(|key| Key::Public(Box::new(key)))
                .ok_or("must have the base64 of an ed25519 public key, 32 bytes, after whpk_");
        }
        let bytes = mac::unbase64(text.strip_prefix(SHARED_KEY_PREFIX).unwrap_or(text)).map(Zeroizing::new);
        bytes.filter(|bytes| SHARED_KEY_BYTES.contains(&bytes.len())).map(Key::Shared).ok_or(
            "must be whsec_ and the base64 of 24 to 64 bytes, or whpk_ and that of an ed25519 public key",
        )
    }
}

/// A weak key would have signatures that anyone can make.
fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes = mac::unbase64(text)?;
    let key = VerifyingKey::from_bytes(bytes.as_slice().try_into().ok()?).ok()?;
    (!key.is_weak()).then_some(key)
}

pub(super) fn verify(secrets: &[Secret], arrived: &Arrived<'_>, now: UnixMs) -> Result<(), NotVerified> {
    let signature = header(arrived, SIGNATURE, RIGHT)?;
    let id = header(arrived, ID, "the name of the event")?;
    let at = header(arrived, TIME, "seconds since 1970, in digits")?;
    let seconds = time::seconds(TIME, at)?;
    if id.is_empty() {
        return Err(NotVerified::malformed(ID, "the name of the event, and not empty"));
    }
    let signatures = Signatures::read(signature)?;
    let message: [&[u8]; 5] = [id.as_bytes(), b".", at.as_bytes(), b".", arrived.body];
    if !signatures.any_fits(secrets, &message) {
        return Err(NotVerified::mismatch(SIGNATURE, "{webhook-id}.{webhook-timestamp}.{body}"));
    }
    time::near(TIME, seconds, now)
}

struct Signatures {
    codes: Vec<Vec<u8>>,
    asymmetric: Vec<Signature>,
}

impl Signatures {
    /// Other versions are for others. What is no signature fits nothing, but does not spoil one beside it.
    fn read(text: &str) -> Result<Signatures, NotVerified> {
        let (mut read, mut given) = (Signatures { codes: Vec::new(), asymmetric: Vec::new() }, 0);
        for one in text.split(' ') {
            match one.split_once(',') {
                Some(("v1", code)) => read.codes.extend(
                    mac::unbase64(code).filter(|code| code.len() == mac::code_bytes(Algorithm::Sha256)),
                ),
                Some(("v1a", signature)) => read
                    .asymmetric
                    .extend(mac::unbase64(signature).and_then(|bytes| Signature::from_slice(&bytes).ok())),
                _ => continue,
            }
            given += 1;
        }
        if given == 0 && !text.is_empty() {
            return Err(NotVerified::Missing(format!(
                "{SIGNATURE} has neither v1 nor v1a: it must be {RIGHT}"
            )));
        }
        if read.codes.is_empty() && read.asymmetric.is_empty() || given > SIGNATURES_MAX {
            return Err(NotVerified::malformed(SIGNATURE, &format!("{RIGHT}, {SIGNATURES_MAX} at most")));
        }
        Ok(read)
    }

    /// Saving has refused secrets that are no keys.
    fn any_fits(&self, secrets: &[Secret], message: &[&[u8]]) -> bool {
        let keys: Vec<_> = secrets.iter().filter_map(|secret| Key::parse(secret.expose()).ok()).collect();
        let shared: Vec<&[u8]> = keys
            .iter()
            .filter_map(|key| if let Key::Shared(bytes) = key { Some(bytes.as_slice()) } else { None })
            .collect();
        let mut found = mac::any_fits(Algorithm::Sha256, &shared, message, &self.codes);
        if self.asymmetric.is_empty() {
            return found;
        }
        let whole = message.concat();
        for key in &keys {
            let Key::Public(key) = key else { continue };
            for signature in &self.asymmetric {
                found |= key.verify_strict(&whole, signature).is_ok();
            }
        }
        found
    }
}
