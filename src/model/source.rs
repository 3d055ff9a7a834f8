//! An incoming webhook: an address where an outside service posts.
//!
//! Which bytes prove a request, and how, is for `sources::verify` to know; what becomes of a request, for the catalogue.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{Secret, SourceId, UnixMs};

/// The most secrets that a source may have at once.
pub const SOURCE_SECRETS_MAX: usize = 10;

/// Where an outside service posts what becomes events of an org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name within the org.
    pub id: SourceId,
    /// Who posts there, and so how a request is proved.
    pub kind: SourceKind,
    /// What proves requests; any of them. Empty for [`SourceKind::Token`].
    pub secrets: Vec<Secret>,
    /// What the last segment of its address is checked by.
    pub token: TokenHash,
    /// When the token was made.
    pub token_at: UnixMs,
    /// The header, in lower case, that names a request: one of the same name within three days is a repeat. For kinds that do not
    /// say it themselves.
    pub id_header: Option<Box<str>>,
    /// The header, in lower case, that says what happened. For the same kinds.
    pub event_header: Option<Box<str>>,
    /// The product whose catalogue says what requests mean.
    pub catalogue: Option<Box<str>>,
    /// What becomes of a request that means nothing.
    pub unmapped: Unmapped,
    /// A disabled source is not there for those who post.
    pub enabled: bool,
    /// For people.
    pub description: String,
    /// When it was first saved.
    pub created_at: UnixMs,
    /// When it was last saved.
    pub updated_at: UnixMs,
}

impl Source {
    /// An enabled source that keeps what comes, with nothing set.
    #[must_use]
    pub fn new(id: SourceId, kind: SourceKind, token: TokenHash, now: UnixMs) -> Source {
        Source {
            id,
            kind,
            secrets: Vec::new(),
            token,
            token_at: now,
            id_header: None,
            event_header: None,
            catalogue: None,
            unmapped: Unmapped::Keep,
            enabled: true,
            description: String::new(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// Who posts to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// Slack: slash commands and events, signed with `v0` (`docs.slack.dev`, "Verifying requests from Slack").
    Slack,
    /// GitHub: `X-Hub-Signature-256`.
    Github,
    /// Stripe: `Stripe-Signature`.
    Stripe,
    /// Standard Webhooks 1.0.0.
    Standard,
    /// `HipChat`: a JWT by HS256.
    Hipchat,
    /// Anyone: the address alone is the proof.
    Token,
    /// Anyone who signs the body with HMAC.
    Hmac(HmacProof),
}

impl SourceKind {
    /// Every word for a kind.
    pub const CODES: [&str; 7] = ["slack", "github", "stripe", "standard", "hipchat", "token", "hmac"];

    /// Its word outside.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            SourceKind::Slack => "slack",
            SourceKind::Github => "github",
            SourceKind::Stripe => "stripe",
            SourceKind::Standard => "standard",
            SourceKind::Hipchat => "hipchat",
            SourceKind::Token => "token",
            SourceKind::Hmac(_) => "hmac",
        }
    }
}

/// How a body is signed with HMAC, by a sender of no other kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacProof {
    /// The header with the signature, in lower case.
    pub header: Box<str>,
    /// The hash function.
    pub algorithm: Algorithm,
    /// How the signature is written.
    pub encoding: Encoding,
    /// What stands before it in the header, for example `sha256=`.
    pub prefix: Box<str>,
    /// The header with the time of signing, in seconds since 1970 (or milliseconds), in lower case. Signed is then
    /// `time.body`, and what is older or newer than five minutes is refused.
    pub timestamp_header: Option<Box<str>>,
}

/// Gives an enum of words its text.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Its word outside.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $($name::$variant => $code,)+ }
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<$name, String> {
                match text {
                    $($code => Ok($name::$variant),)+
                    _ => Err(format!("must be one of {}", [$($code),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.code())
            }
        }
    };
}

words! {
    /// A hash function for HMAC.
    Algorithm {
        /// SHA-1: for senders that have nothing better.
        Sha1 = "sha1",
        /// SHA-256.
        Sha256 = "sha256",
        /// SHA-512.
        Sha512 = "sha512",
    }
}

words! {
    /// How a signature is written.
    Encoding {
        /// Hexadecimal, in letters of either case.
        Hex = "hex",
        /// Base64, standard alphabet with padding.
        Base64 = "base64",
    }
}

words! {
    /// What becomes of a request that means nothing to the rules.
    Unmapped {
        /// It is answered as accepted, counted, and gone.
        Drop = "drop",
        /// It becomes an event `inbound.<kind>` with the body as payload.
        Keep = "keep",
    }
}

/// The SHA-256 of a token. The token itself, 192 random bits, is kept by nobody here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Of a token as it stands in an address.
    #[must_use]
    pub fn of(token: &str) -> TokenHash {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    #[must_use]
    pub fn is(&self, other: &TokenHash) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[token]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash() {
        let hash = TokenHash::of("k3bqk0p2v8m1t6z9d4x7");
        assert!(hash.is(&TokenHash::of("k3bqk0p2v8m1t6z9d4x7")));
        for other in ["k3bqk0p2v8m1t6z9d4x8", "K3bqk0p2v8m1t6z9d4x7", ""] {
            assert!(!hash.is(&TokenHash::of(other)), "{other}");
        }
        assert_eq!(format!("{hash:?}"), "[token]");
    }

    #[test]
    fn words_read_back_and_others_are_refused_with_the_list() {
        assert_eq!("sha512".parse(), Ok(Algorithm::Sha512));
        assert_eq!("base64".parse(), Ok(Encoding::Base64));
        assert_eq!("keep".parse(), Ok(Unmapped::Keep));
        assert_eq!("md5".parse::<Algorithm>(), Err("must be one of sha1, sha256, sha512".to_owned()));
    }
}
