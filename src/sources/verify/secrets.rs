//! Which secrets can prove anything: asked when a source is saved. PURE.

use super::standard::Key;
use crate::model::SourceKind;

/// More than any service gives out.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 1..=2048;

/// Whether a secret is one that requests of this kind can be proved with.
///
/// # Errors
/// What would be right, to follow the word "secret"; never the secret.
pub fn check_secret(kind: &SourceKind, secret: &str) -> Result<(), String> {
    match kind {
        SourceKind::Token => {
            Err("must not be given: the address of a source of kind token is its proof".to_owned())
        }
        SourceKind::Standard => Key::parse(secret).map(drop).map_err(str::to_owned),
        _ if !SECRET_BYTES.contains(&secret.len()) => {
            Err(format!("must have {} to {} bytes", SECRET_BYTES.start(), SECRET_BYTES.end()))
        }
        _ if secret.chars().any(char::is_control) => {
            Err("must have no control characters: was a line break copied along?".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_standard_webhooks_are_keys() {
        for good in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            // The public key of RFC 8032, test 1.
            "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        ] {
            assert_eq!(check_secret(&SourceKind::Standard, good), Ok(()), "{good}");
        }
        for (wrong, hint) in [
            ("", "whsec_ and the base64 of 24 to 64 bytes"),
            ("whsec_", "whsec_ and the base64 of 24 to 64 bytes"),
            ("whsec_c2hvcnQ=", "whsec_ and the base64 of 24 to 64 bytes"),
            ("not base64 at all, whatever else", "whsec_ and the base64 of 24 to 64 bytes"),
            ("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=", "give the public one (whpk_…)"),
            ("whpk_c2hvcnQ=", "32 bytes, after whpk_"),
            // The neutral point: every message has a signature under it.
            ("whpk_AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "32 bytes, after whpk_"),
        ] {
            let why = check_secret(&SourceKind::Standard, wrong).unwrap_err();
            assert!(why.contains(hint), "{wrong}: {why}");
        }
        let longest = |bytes: usize| format!("whsec_{}", "A".repeat(bytes * 4 / 3));
        assert!(check_secret(&SourceKind::Standard, &longest(63)).is_ok());
        assert!(check_secret(&SourceKind::Standard, &longest(66)).is_err());
    }

    #[test]
    fn other_secrets_are_text_of_one_line() {
        for kind in [SourceKind::Slack, SourceKind::Github, SourceKind::Stripe, SourceKind::Hipchat] {
            for good in ["x", "It's a Secret to Everybody", "whsec_test", "Schlüssel", &"x".repeat(2048)] {
                assert_eq!(check_secret(&kind, good), Ok(()), "{good}");
            }
            for wrong in ["", "a\n", "a\0b", "a\u{85}", &"x".repeat(2049)] {
                assert!(check_secret(&kind, wrong).unwrap_err().starts_with("must have "), "{wrong:?}");
            }
        }
        assert!(check_secret(&SourceKind::Token, "x").unwrap_err().starts_with("must not be given"));
    }
}
