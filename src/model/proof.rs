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

    /// Given in place of `known` at `now`: if only its newest secret is given again, those that it replaced stay valid for
    /// as long as they were to. So saving a webhook again does not cut a rotation short.
    pub fn continue_rotation(&mut self, known: &Signature, now: UnixMs) {
        let same_header = match (&*self, known) {
            (Signature::Standard { .. }, Signature::Standard { .. }) => true,
            (Signature::Hex { header, .. }, Signature::Hex { header: known, .. }) => header == known,
            _ => false,
        };
        let [given] = self.secrets() else { return };
        match known.secrets() {
            [newest, replaced @ ..] if same_header && newest.secret == given.secret => {
                let valid = replaced.iter().filter(|one| one.signs(now)).cloned();
                let (Signature::Standard { secrets } | Signature::Hex { secrets, .. }) = self;
                secrets.extend(valid);
            }
            _ => {}
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn standard(secrets: &[(&str, Option<i64>)]) -> Signature {
        let one = |(text, until): &(&str, Option<i64>)| SigningSecret {
            secret: Secret::new((*text).into()),
            until: until.map(UnixMs),
        };
        Signature::Standard { secrets: secrets.iter().map(one).collect() }
    }

    fn rotated(from: &[(&str, Option<i64>)], new: &str, keep_until: i64, now: i64) -> Signature {
        let mut signature = standard(from);
        signature.rotate(Secret::new(new.into()), UnixMs(keep_until), UnixMs(now));
        signature
    }

    #[test]
    fn saving_the_newest_secret_again_does_not_cut_a_rotation_short() {
        let known = standard(&[("new", None), ("old", Some(90)), ("ended", Some(5))]);
        let saved = |mut given: Signature| {
            given.continue_rotation(&known, UnixMs(10));
            given
        };
        assert_eq!(saved(standard(&[("new", None)])), standard(&[("new", None), ("old", Some(90))]));
        for other in [
            standard(&[("old", None)]),
            standard(&[("new", None), ("more", None)]),
            Signature::Hex { header: "x".into(), secrets: known.secrets()[..1].to_vec() },
        ] {
            assert_eq!(saved(other.clone()), other);
        }
    }

    #[test]
    fn a_rotation_keeps_the_old_secret_until_it_ends() {
        assert_eq!(rotated(&[("a", None)], "b", 90, 10), standard(&[("b", None), ("a", Some(90))]));
        // A second one lengthens nothing, and may shorten.
        let twice = [("b", None), ("a", Some(90))];
        assert_eq!(
            rotated(&twice, "c", 100, 20),
            standard(&[("c", None), ("b", Some(100)), ("a", Some(90))])
        );
        assert_eq!(rotated(&twice, "c", 50, 20), standard(&[("c", None), ("b", Some(50)), ("a", Some(50))]));
        // What has ended is dropped, and so is the old one at once if it is not to be kept.
        assert_eq!(rotated(&twice, "c", 100, 90), standard(&[("c", None), ("b", Some(100))]));
        assert_eq!(rotated(&twice, "c", 20, 20), standard(&[("c", None)]));
        // The same secret again is not two.
        assert_eq!(rotated(&twice, "b", 100, 20), standard(&[("b", None), ("a", Some(90))]));
        assert_eq!(rotated(&twice, "a", 100, 20), standard(&[("a", None), ("b", Some(100))]));
    }

    #[test]
    fn a_signature_has_ten_secrets_at_most() {
        let mut signature = standard(&[("0", None)]);
        for n in 1..=20 {
            signature.rotate(Secret::new(n.to_string()), UnixMs(100), UnixMs(1));
        }
        let kept: Vec<_> = signature.secrets().iter().map(|one| one.secret.expose()).collect();
        assert_eq!(kept, ["20", "19", "18", "17", "16", "15", "14", "13", "12", "11"]);
    }

    #[test]
    fn a_generated_secret_is_of_the_kind_of_the_newest() {
        let generated = |signature: &Signature| signature.generate([0xfb; 32]).expose().to_owned();
        let shared = "whsec_+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
        assert_eq!(generated(&standard(&[("whsec_AAAA", None)])), shared);
        assert_eq!(generated(&standard(&[("without a prefix", None), ("whsk_AAAA", None)])), shared);
        assert_eq!(generated(&standard(&[("whsk_AAAA", None)])), shared.replace("whsec_", "whsk_"));
        let hex = Signature::Hex { header: "x-sig".into(), secrets: Vec::new() };
        assert_eq!(generated(&hex), "fb".repeat(32));
    }

    #[test]
    fn a_secret_signs_until_it_ends() {
        let until = |until| SigningSecret { secret: Secret::new(String::new()), until };
        assert!(until(None).signs(UnixMs(i64::MAX)));
        assert!(until(Some(UnixMs(5))).signs(UnixMs(4)));
        assert!(!until(Some(UnixMs(5))).signs(UnixMs(5)));
    }
}
