//! What proves to a receiver that a request is ours: authorizations, signatures and the headers that carry them.

use super::{Secret, UnixMs};

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

/// A secret that signs, for as long as it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecret {
    /// The secret as it was given.
    pub secret: Secret,
    /// Set when it was replaced: it no longer signs from then on.
    pub until: Option<UnixMs>,
}

/// Headers that are sent with every request, in the order given: names in lower case, values that may be secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Box<[(Box<str>, Secret)]>);
