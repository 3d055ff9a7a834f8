//! What proves to a receiver that a request is ours: authorizations, signatures and the headers that carry them.
//! How they are made is for `delivery::sign` to know.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Secret, UnixMs};

/// What a shared key of Standard Webhooks begins with; base64 of its bytes follows.
pub const SHARED_KEY_PREFIX: &str = "whsec_";
/// What an ed25519 private key of Standard Webhooks begins with; base64 of its bytes follows.
pub const PRIVATE_KEY_PREFIX: &str = "whsk_";
/// The header of a password when the webhook names none (TimeTime).
pub const PASSWORD_HEADER: &str = "x-tt-webhook-password";
/// The most secrets that a signature may have at once.
pub const SECRETS_MAX: usize = 10;

/// What goes into the `Authorization` header, or stands in for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// Without a colon.
        username: String,
        /// Any text that UTF-8 can carry.
        password: Secret,
    },
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer {
        /// The token.
        token: Secret,
    },
    /// A header of the receiver's choice.
    Header {
        /// Its name, in lower case.
        name: String,
        /// Its value.
        value: Secret,
    },
    /// `Authorization: HMAC-SHA256 <base64 of HMAC-SHA256(secret, body)>` (Team Trax).
    HmacSha256 {
        /// The secret's bytes are the key.
        secret: Secret,
    },
}

/// How a request is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// Standard Webhooks 1.0.0: one signature for each secret, in one `webhook-signature` header.
    Standard {
        /// `whsec_…` (HMAC-SHA256, `v1`) or `whsk_…` (ed25519, `v1a`); the newest first, at least one.
        secrets: Vec<SigningSecret>,
    },
    /// Lowercase hex of HMAC-SHA256 over the body, in a header of its own (Timekit).
    Hex {
        /// The header's name, in lower case.
        header: String,
        /// The secrets' bytes are the keys; the newest first, at least one. One signature is all the header can carry:
        /// the oldest that is still valid signs, so that the receiver can learn the new one meanwhile.
        secrets: Vec<SigningSecret>,
    },
}

impl Signature {
    /// Its secrets, the newest first.
    #[must_use]
    pub fn secrets(&self) -> &[SigningSecret] {
        match self {
            Signature::Standard { secrets } | Signature::Hex { secrets, .. } => secrets,
        }
    }

    /// Makes `new` the newest secret at `now`. The others sign until `keep_until` at the latest: what was to end sooner
    /// still does. Those that have ended are dropped, and so are the oldest beyond [`SECRETS_MAX`].
    pub fn rotate(&mut self, new: Secret, keep_until: UnixMs, now: UnixMs) {
        let (Signature::Standard { secrets } | Signature::Hex { secrets, .. }) = self;
        for one in &mut *secrets {
            one.until = Some(one.until.map_or(keep_until, |until| until.min(keep_until)));
        }
        // Given again, it is the newest now, and nothing else.
        secrets.retain(|one| one.signs(now) && one.secret != new);
        secrets.insert(0, SigningSecret { secret: new, until: None });
        secrets.truncate(SECRETS_MAX);
    }

    /// A secret of the kind that the newest one is, made of these bytes, which nobody else must know.
    #[must_use]
    pub fn generate(&self, random: [u8; 32]) -> Secret {
        let mut text = String::new();
        match self {
            Signature::Standard { secrets } => {
                let private = secrets
                    .first()
                    .is_some_and(|newest| newest.secret.expose().starts_with(PRIVATE_KEY_PREFIX));
                text.push_str(if private { PRIVATE_KEY_PREFIX } else { SHARED_KEY_PREFIX });
                STANDARD.encode_string(random, &mut text);
            }
            Signature::Hex { .. } => {
                for byte in random {
                    // Writing to a string cannot fail.
                    let _infallible = write!(text, "{byte:02x}");
                }
            }
        }
        Secret::new(text)
    }
}

/// A secret that signs, for as long as it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecret {
    /// The secret as it was given.
    pub secret: Secret,
    /// Set when it was replaced: it no longer signs from then on.
    pub until: Option<UnixMs>,
}

impl SigningSecret {
    /// Whether it signs what is sent at `at`.
    #[must_use]
    pub fn signs(&self, at: UnixMs) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}

/// Headers that are sent with every request, in the order given: names in lower case, values that may be secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Box<[(Box<str>, Secret)]>);
