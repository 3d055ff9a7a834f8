//! Echoed secrets, by spelling, by where they come from, and by what a hostile text could cost.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;
use crate::delivery::template::address;
use crate::delivery::testing::{delivery, webhook};
use crate::model::{Client, Headers, Route, Secret, SigningSecret, UnixMs, Webhook};

fn scrub(secrets: &[&str]) -> Scrub {
    let mut scrub = Scrub::default();
    for secret in secrets {
        scrub.add(SECRET, secret.as_bytes());
    }
    scrub.ready()
}

impl Scrub {
    fn clean_all(&self, text: &str) -> String {
        self.clean(text, usize::MAX)
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

/// What is left of a text that a receiver of this webhook answers.
fn cleaned(webhook: &Webhook, client: Option<&Client>, text: &str) -> String {
    let delivery = delivery(1, "e", br#"{"id":1}"#);
    Scrub::of(&address(&delivery, webhook, client, &crate::catalogue::Catalogue::shipped()).unwrap())
        .clean_all(text)
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    // With everything that some spelling changes.
    let scrub = scrub(&[r#"pä/s"w+\o r&d😀"#]);
    for spelled in [
        r#"pä/s"w+\o r&d😀"#,
        // JSON, as Rust, PHP and Python write it, and JSON inside JSON.
        r#"pä/s\"w+\\o r&d😀"#,
        r#"p\u00e4\/s\"w+\\o r&d\ud83d\ude00"#,
        r"p\u00E4/s\u0022w\u002b\u005co r\u0026d\uD83D\uDE00",
        r#"pä/s\\\"w+\\\\o r&d😀"#,
        // URLs and forms.
        "p%C3%A4%2Fs%22w%2B%5Co%20r%26d%F0%9F%98%80",
        "p%c3%a4/s%22w%2b%5co+r%26d%f0%9f%98%80",
        // HTML.
        r"pä/s&quot;w+\o r&amp;d😀",
        r"p&#228;&#x2F;s&#34;w&#43;&#x5c;o r&amp;d&#128512;",
        // Hex.
        "70c3a42f7322772b5c6f20722664f09f9880",
        "70C3A42F7322772B5C6F20722664F09F9880",
    ] {
        assert_eq!(scrub.clean_all(&format!("<{spelled}>")), "<[secret]>");
    }
    for encoded in [STANDARD.encode(r#"pä/s"w+\o r&d😀"#), URL_SAFE.encode(r#"pä/s"w+\o r&d😀"#)] {
        assert_eq!(scrub.clean_all(&format!("<{encoded}>")), "<[secret]>");
        assert_eq!(scrub.clean_all(&format!("<{}>", encoded.trim_end_matches('='))), "<[secret]>");
    }
    assert_eq!(scrub.clean_all(r#"pä/s"w+\o r&D😀 is another"#), r#"pä/s"w+\o r&D😀 is another"#);
}

#[test]
fn the_longest_secret_wins_and_the_text_around_stays() {
    let scrub = scrub(&["open", "open sesame", "abc"]);
    assert_eq!(
        scrub.clean_all("x open sesame y open z abc \\ % & +"),
        "x [secret] y [secret] z abc \\ % & +"
    );
    assert_eq!(Scrub::default().clean_all("a%20b"), "a%20b");
    assert_eq!(scrub.clean_all("a%20b \\u0041 &amp; ü"), "a%20b \\u0041 &amp; ü");
}

#[test]
fn a_secret_that_was_cut_off_is_not_shown_in_part() {
    let scrub = scrub(&["open \"sesame\""]);
    assert_eq!(scrub.clean_all("x open \"ses"), "x [secret]");
    assert_eq!(scrub.clean_all("x open \\"), "x [secret]");
    assert_eq!(scrub.clean_all("x open%2"), "x [secret]");
    assert_eq!(scrub.clean_all("x ope"), "x ope", "too little to tell");
}

#[test]
fn a_text_made_to_take_long_is_cut_off() {
    let wanted = "\\%&a".repeat(400);
    let scrub = scrub(&[&wanted]);
    let text = format!("{}!{wanted}", "\\%&a".repeat(399)).repeat(5);
    let cleaned = scrub.clean_all(&text);
    assert!(text.starts_with(&cleaned) && cleaned.len() < 1600, "{}", cleaned.len());
    assert_eq!(scrub.clean(&text, 10).len(), 10);
    // A long run of what could be escapes is looked through all the same.
    let run = "\\".repeat(5000);
    assert_eq!(scrub.clean_all(&run), run);
}

#[test]
fn everything_secret_in_a_request_is_known() {
    use Authorization::{Basic, Bearer, Header, HmacSha256};
    let mut webhook = webhook("https://a.example/in?token=query%20canary&on=true&bare%2Dcanary");
    webhook.password = Some(secret("password-canary"));
    webhook.headers = Headers(
        [("x-a", "Token header-canary"), ("content-type", "text/json")]
            .map(|(name, value)| (name.into(), secret(value)))
            .into(),
    );
    let shared = format!("whsec_{}", STANDARD.encode("shared-key-canary-24-bytes"));
    let private = format!("whsk_{}", STANDARD.encode("private-key-canary-of-32-bytes!!"));
    let secrets = [&shared, &private].map(|text| signing(text));
    webhook.signature = Some(Box::new(Signature::Standard { secrets: secrets.into() }));
    assert_eq!(cleaned(&webhook, None, "password-canary"), "[password]");
    for text in [
        "query canary",
        "query%20canary",
        "query+canary",
        "bare-canary",
        "Token header-canary",
        &shared,
        shared.trim_start_matches("whsec_"),
        "shared-key-canary-24-bytes",
        &private,
        "private-key-canary-of-32-bytes!!",
    ] {
        assert_eq!(cleaned(&webhook, None, text), "[secret]");
    }
    assert_eq!(cleaned(&webhook, None, "header-canary"), "[secret]", "without its scheme");
    let public = r#"{"ok":true,"type":"text/json"}"#;
    assert_eq!(cleaned(&webhook, None, public), public);

    let computed = "HMAC-SHA256 kBdx/em51YwVMFrSAR1PrmhmRQ98DXyDLTGFqEZI11w=";
    for (authorization, texts) in [
        (
            Basic { username: "Aladdin".into(), password: secret("open sesame") },
            vec!["open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
        ),
        (Bearer { token: secret("t0ken") }, vec!["t0ken"]),
        (Header { name: "x-key".into(), value: secret("k3ys") }, vec!["k3ys"]),
        (
            HmacSha256 { secret: secret("app-secret") },
            vec!["app-secret", computed, computed.trim_start_matches("HMAC-SHA256 ")],
        ),
    ] {
        webhook.authorization = None;
        let client = Client {
            id: "shop".parse().unwrap(),
            base_url: "https://a.example/".parse().unwrap(),
            authorization: Some(Box::new(authorization)),
            headers: Headers([("x-b".into(), secret("client-canary"))].into()),
            route: Route::default(),
            profile: None,
            description: String::new(),
            created_at: UnixMs(0),
            updated_at: UnixMs(0),
        };
        assert_eq!(cleaned(&webhook, Some(&client), "client-canary"), "[secret]");
        for text in texts {
            assert_eq!(cleaned(&webhook, Some(&client), text), "[secret]", "{text}");
            assert_eq!(cleaned(&webhook, None, text), text);
        }
    }
    let hex = Signature::Hex { header: "x-sig".into(), secrets: vec![signing("hex-canary")] };
    webhook.signature = Some(Box::new(hex));
    assert_eq!(cleaned(&webhook, None, "hex-canary"), "[secret]");
}

fn signing(text: &str) -> SigningSecret {
    SigningSecret { secret: secret(text), until: None }
}

/// Whether no stretch of a text, as it stands or decoded, holds the secret.
fn hidden(text: &str, secret: &str) -> bool {
    let decoded =
        form_urlencoded::parse(text.as_bytes()).map(|(name, _)| name.into_owned()).collect::<String>();
    !text.contains(secret) && !decoded.contains(secret)
}

proptest! {
    #[test]
    fn no_secret_is_left_as_it_is_in_json_or_in_a_url(
        secret in "[ -~ä€😀]{4,24}",
        before in "[a-z ]{0,9}",
        after in "[a-z ]{0,9}",
    ) {
        let scrub = scrub(&[&secret]);
        let raw = format!("{before}{secret}{after}");
        prop_assert!(!scrub.clean_all(&raw).contains(&secret));
        let json = serde_json::to_string(&raw).unwrap();
        let answer: String = serde_json::from_str(&scrub.clean_all(&json)).unwrap_or_default();
        prop_assert!(!answer.contains(&secret), "{answer}");
        let form: String = form_urlencoded::byte_serialize(raw.as_bytes()).collect();
        prop_assert!(hidden(&scrub.clean_all(&form), &secret));
    }

    /// However it lies in the larger text that was encoded, no more of it comes out than a byte at either end.
    #[test]
    fn no_secret_is_left_inside_base64(
        secret in "[ -~]{6,24}",
        before in "[a-z]{0,9}",
        after in "[a-z]{0,9}",
    ) {
        let scrub = scrub(&[&secret]);
        for engine in [&STANDARD, &URL_SAFE] {
            let cleaned = scrub.clean_all(&engine.encode(format!("{before}{secret}{after}")));
            prop_assert!(cleaned.contains("[secret]"), "{cleaned}");
            let (left, right) = cleaned.split_once("[secret]").unwrap();
            // What stands beside the mask is what was beside the secret, and a character that it shares with it.
            prop_assert!(left.len() <= (before.len() * 8).div_ceil(6), "{cleaned}");
            prop_assert!(right.trim_end_matches('=').len() <= (after.len() * 8).div_ceil(6) + 1, "{cleaned}");
        }
    }

    #[test]
    fn any_text_can_be_cleaned(text in "[\\\\%&+;#xu0-9a-fD\"ä ]{0,200}", secret in "[\\\\%&+;#xu0-9a-f\"ä ]{4,8}") {
        let cleaned = scrub(&[&secret]).clean_all(&text);
        prop_assert!(!cleaned.contains(&secret) || "[secret]".contains(&secret));
    }
}
