//! Is a request from who it should be from? PURE. Asked of the raw bytes, before anything of the body is parsed; every
//! secret and every signature is tried, in a time that does not tell which of them came close.
//!
//! The signature is judged first, then its time: what is called stale was really signed with one of the secrets.

mod github;
mod hipchat;
pub(super) mod mac;
mod secrets;
pub(super) mod signed;
mod slack;
pub(super) mod standard;
pub(super) mod stripe;
#[cfg(test)]
mod tests;
mod time;

use super::Arrived;
use crate::model::{Algorithm, Source, SourceKind, UnixMs};

pub use secrets::check_secret;

/// The most signatures of one request that are tried: no sender has more secrets in use at once.
const SIGNATURES_MAX: usize = 16;

/// What is wrong with a source that was put before its secret was known.
pub(super) const NO_SECRET: &str = "the source has no secret: put it again with the one that its sender shows (source put: --secret-file FILE)";

/// Why a request proves nothing. Each says which header, and what would be right; never what was in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// There is no signature, or something that belongs to it is not there.
    #[error("{0}")]
    Missing(String),
    /// There is something that cannot be a signature.
    #[error("{0}")]
    Malformed(String),
    /// A signature, but of other bytes or with another secret.
    #[error("{0}")]
    Mismatch(String),
    /// Signed too long ago.
    #[error("{0}")]
    Stale(String),
    /// Signed later than now.
    #[error("{0}")]
    Ahead(String),
}

impl NotVerified {
    /// Every word that [`NotVerified::code`] may say.
    pub const CODES: [&str; 5] = [
        "signature-missing",
        "signature-malformed",
        "signature-mismatch",
        "timestamp-stale",
        "timestamp-ahead",
    ];

    /// Its word in metrics and verdicts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            NotVerified::Missing(_) => "signature-missing",
            NotVerified::Malformed(_) => "signature-malformed",
            NotVerified::Mismatch(_) => "signature-mismatch",
            NotVerified::Stale(_) => "timestamp-stale",
            NotVerified::Ahead(_) => "timestamp-ahead",
        }
    }

    fn missing(header: &str, right: &str) -> NotVerified {
        NotVerified::Missing(format!("{header} is missing: it must be {right}"))
    }

    fn malformed(header: &str, right: &str) -> NotVerified {
        NotVerified::Malformed(format!("{header} must be {right}"))
    }

    fn mismatch(header: &str, over: &str) -> NotVerified {
        NotVerified::Mismatch(format!(
            "{header} fits none of the source's secrets: it must be made with one of them, over {over} as it was sent"
        ))
    }
}

/// Checks what proves a request, as the kind of the source asks for it.
///
/// A source of kind `token` is proved by its address, so everything is right here. The signature of `hipchat` says who
/// calls and until when, and nothing of the body.
///
/// # Errors
/// Why the request is not to be believed.
pub fn verify(source: &Source, arrived: &Arrived<'_>, now: UnixMs) -> Result<(), NotVerified> {
    let secrets = &source.secrets;
    if secrets.is_empty() && source.kind != SourceKind::Token {
        return Err(NotVerified::Mismatch(NO_SECRET.to_owned()));
    }
    match &source.kind {
        SourceKind::Slack => slack::verify(secrets, arrived, now),
        SourceKind::Github => github::verify(secrets, arrived),
        SourceKind::Stripe => stripe::verify(secrets, arrived, now),
        SourceKind::Standard => standard::verify(secrets, arrived, now),
        SourceKind::Hipchat => hipchat::verify(secrets, arrived, now),
        SourceKind::Token => Ok(()),
        SourceKind::Hmac(proof) => signed::verify(proof, secrets, arrived, now),
    }
}

/// The value of a header that must be there.
fn header<'a>(arrived: &Arrived<'a>, name: &str, right: &str) -> Result<&'a str, NotVerified> {
    arrived.header(name).map_err(NotVerified::Malformed)?.ok_or_else(|| NotVerified::missing(name, right))
}

/// A SHA-256 code in hexadecimal after a prefix.
fn hex_code(text: &str, prefix: &str) -> Option<Vec<u8>> {
    text.strip_prefix(prefix)
        .and_then(mac::unhex)
        .filter(|code| code.len() == mac::code_bytes(Algorithm::Sha256))
}
