//! What goes out for which webhook, by the published vectors and to the last header.

use proptest::prelude::*;

use super::*;
use crate::delivery::template::address;
use crate::delivery::testing::{delivery, webhook};
use crate::model::{Client, Delivery, Headers, Route, SigningSecret, Target, UrlTemplate, Webhook};

/// The reference vector of Standard Webhooks.
const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The first key of RFC 8032, 7.1.
const PRIVATE: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
/// A booking as Timekit sends it: slashes are escaped, and the signature is over these bytes.
const TIMEKIT_BODY: &str = concat!(
    r##"{"id":"c3c071de-6901-422f-bde6-86f5eaaf8476","state":"confirmed","graph":"instant","##,
    r##""completed":false,"created_at":"2016-11-24T13:34:54+0100","##,
    r##""updated_at":"2016-11-24T13:34:54+0100","##,
    r##""customers":[{"id":"65edeffb-410d-4286-9591-27548a9f31a2","name":"Marty McFly","##,
    r##""email":"marty.mcfly@example.com","phone":"","voip":"","timezone":"Europe\/Copenhagen","##,
    r##""meta":"{}"}],"event":{"id":"bb1817fe-8dd6-4bfc-8606-a36a5871a82b","what":"what","##,
    r##""where":"where","description":"","rsvp":"accepted","allDay":false,"##,
    r##""start":"2016-01-01T10:00:00+0100","end":"2016-01-01T11:00:00+0100","##,
    r##""created_at":"2016-11-24T13:34:54+0100","updated_at":"2016-11-24T13:34:54+0100"},"##,
    r##""calendar":{"id":"d3bbcb33-2551-4806-8330-ecdec85c0c83","provider_id":"provider_id","##,
    r##""provider_access":"owner","provider_primary":false,"provider_sync":false,"##,
    r##""name":"Quia nostrum voluptas quae aspernatur.","##,
    r##""description":"Quis et nam dolor recusandae ut eos.","foregroundcolor":"#d9bfef","##,
    r##""backgroundcolor":"#22273e","created_at":"2016-11-17T11:06:43+0100","##,
    r##""updated_at":"2016-11-17T11:06:43+0100"}}"##,
);
const AT: UnixMs = UnixMs(1_614_265_330_999);

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

fn signing(text: &str, until: Option<i64>) -> SigningSecret {
    SigningSecret { secret: secret(text), until: until.map(UnixMs) }
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    Headers(pairs.iter().map(|(name, value)| ((*name).into(), secret(value))).collect())
}

fn sent(delivery: &Delivery, webhook: &Webhook, client: Option<&Client>) -> Request<Bytes> {
    build(&address(delivery, webhook, client, &crate::catalogue::Catalogue::shipped()).unwrap(), 3, AT)
        .unwrap()
}

/// Every header, in order of name.
fn all(request: &Request<Bytes>) -> Vec<(&str, &str)> {
    let mut all: Vec<_> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    all.sort_unstable();
    all
}

fn authorized(authorization: Authorization, body: &[u8]) -> Request<Bytes> {
    let mut webhook = webhook("https://a.example/");
    webhook.authorization = Some(Box::new(authorization));
    sent(&delivery(1, "e", body), &webhook, None)
}

#[test]
fn an_attempt_carries_these_headers_and_no_others() {
    let mut webhook = webhook("https://hooks.example.com/in?x=1");
    webhook.password = Some(secret("s3cret"));
    let request = sent(&delivery(7, "evt_1", br#"{"a" : 1}"#), &webhook, None);
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "https://hooks.example.com/in?x=1");
    assert_eq!(request.body().as_ref(), br#"{"a" : 1}"#);
    assert_eq!(
        all(&request),
        [
            ("content-length", "9"),
            ("content-type", "application/json"),
            ("postrider-attempt", "3"),
            ("postrider-sequence", "7"),
            ("user-agent", concat!("postrider/", env!("CARGO_PKG_VERSION"))),
            ("webhook-id", "evt_1"),
            ("webhook-timestamp", "1614265330"),
            ("x-tt-webhook-password", "s3cret"),
        ]
    );
    assert!(!format!("{request:?}").contains("s3cret"), "the password is marked sensitive");
}

#[test]
fn an_event_from_a_source_says_where_it_came_from() {
    let mut webhook = webhook("https://a.example/");
    let mut event = delivery(1, "e", b"{}");
    let attributes = [("source", "gh"), ("kind", "github"), ("event", "issues"), ("secret", "s")];
    event.attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let request = sent(&event, &webhook, None);
    let named = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!((named("postrider-source"), named("postrider-event")), (Some("gh"), Some("issues")));
    assert!(!all(&request).iter().any(|(_, value)| *value == "s"), "of other attributes nothing is said");
    event.attributes.insert("event".to_owned(), "a\nb".to_owned());
    assert!(!sent(&event, &webhook, None).headers().contains_key("postrider-event"), "no header can say it");
    webhook.faithful = true;
    assert!(!sent(&event, &webhook, None).headers().contains_key("postrider-source"));
}

#[test]
fn a_replay_says_that_it_is_one_and_keeps_its_id() {
    let mut webhook = webhook("https://a.example/");
    let mut replay = delivery(9, "evt_1", b"{}");
    assert!(!sent(&replay, &webhook, None).headers().contains_key("postrider-replay"));
    replay.replay = true;
    let request = sent(&replay, &webhook, None);
    assert_eq!(
        (&request.headers()["postrider-replay"], &request.headers()["webhook-id"]),
        (&"true".parse().unwrap(), &"evt_1".parse().unwrap())
    );
    webhook.faithful = true;
    assert!(!sent(&replay, &webhook, None).headers().contains_key("postrider-replay"));
}

#[test]
fn without_a_password_no_header_is_sent() {
    let request = sent(&delivery(1, "e", b"{}"), &webhook("https://a.example/"), None);
    assert!(!request.headers().contains_key(PASSWORD_HEADER));
    let mut named = webhook("https://a.example/");
    (named.password, named.password_header) = (Some(secret("pw")), Some("x-secret".into()));
    let request = sent(&delivery(1, "e", b"{}"), &named, None);
    assert!(!request.headers().contains_key(PASSWORD_HEADER));
    assert_eq!(request.headers()["x-secret"], "pw");
}

#[test]
fn get_has_no_body_and_the_other_methods_have_the_payload() {
    let delivery = delivery(1, "e", b"{}");
    for method in Asks::ALL {
        let mut webhook = webhook("https://a.example/");
        webhook.method = method;
        webhook.headers = headers(&[("content-type", "text/json")]);
        let hex = Signature::Hex { header: "x-sig".into(), secrets: vec![signing("k", None)] };
        webhook.signature = Some(Box::new(hex));
        let request = sent(&delivery, &webhook, None);
        assert_eq!(request.method().as_str(), method.as_str());
        let framing = ["content-type", "content-length"].map(|name| request.headers().get(name).cloned());
        let signed = request.headers()["x-sig"].to_str().unwrap();
        if method == Asks::Get {
            assert!(request.body().is_empty());
            assert_eq!(framing, [None, None]);
            // HMAC-SHA256 of nothing.
            assert_eq!(signed, "8bb990c40a7d61cb97597a942125025be50ac8beb74436e3735b98893a7f6620");
        } else {
            assert_eq!(request.body().as_ref(), b"{}");
            assert_eq!(framing, [Some("text/json".parse().unwrap()), Some("2".parse().unwrap())]);
        }
    }
}

#[test]
fn authorizations_by_their_published_vectors() {
    let basic = Authorization::Basic { username: "Aladdin".into(), password: secret("open sesame") };
    let request = authorized(basic, b"{}");
    assert_eq!(request.headers()[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(!format!("{request:?}").contains("QWxh"), "it is marked sensitive");
    let request = authorized(Authorization::HmacSha256 { secret: secret("app-secret") }, br#"{"id":1}"#);
    assert_eq!(request.headers()[AUTHORIZATION], "HMAC-SHA256 kBdx/em51YwVMFrSAR1PrmhmRQ98DXyDLTGFqEZI11w=");
    let request = authorized(Authorization::Bearer { token: secret("mF_9.B5f-4.1JqM") }, b"{}");
    assert_eq!(request.headers()[AUTHORIZATION], "Bearer mF_9.B5f-4.1JqM");
    let key = Authorization::Header { name: "x-api-key".into(), value: secret("k3y") };
    let request = authorized(key, b"{}");
    assert_eq!(request.headers()["x-api-key"], "k3y");
    assert!(!request.headers().contains_key(AUTHORIZATION));
    // RFC 7617 with UTF-8.
    let basic = Authorization::Basic { username: "test".into(), password: secret("123£") };
    assert_eq!(authorized(basic, b"{}").headers()[AUTHORIZATION], "Basic dGVzdDoxMjPCow==");
}

#[test]
fn standard_webhooks_by_its_reference_vector() {
    let mut webhook = webhook("https://a.example/");
    let delivery = delivery(1, "msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
    let mut signed = |secrets: Vec<SigningSecret>| {
        webhook.signature = Some(Box::new(Signature::Standard { secrets }));
        let request = sent(&delivery, &webhook, None);
        assert_eq!(request.headers()[WEBHOOK_TIMESTAMP], "1614265330");
        request.headers()[WEBHOOK_SIGNATURE].to_str().unwrap().to_owned()
    };
    let v1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(signed(vec![signing(SHARED, None)]), v1);
    assert_eq!(signed(vec![signing(SHARED.trim_start_matches("whsec_"), None)]), v1);
    // During a rotation: the newest first, one entry for each secret that is still valid.
    let new = format!("whsec_{}", STANDARD.encode([7; 24]));
    let both = signed(vec![signing(&new, None), signing(SHARED, Some(AT.0 + 1))]);
    let entries: Vec<_> = both.split(' ').collect();
    assert_eq!((entries.len(), entries[1]), (2, v1));
    assert_eq!(signed(vec![signing(&new, None), signing(SHARED, Some(AT.0))]), entries[0]);
    // ed25519, by the library's own verification over the text that the specification names.
    let v1a = signed(vec![signing(PRIVATE, None)]);
    let bytes = STANDARD.decode(v1a.strip_prefix("v1a,").unwrap()).unwrap();
    let seed = STANDARD.decode(PRIVATE.trim_start_matches("whsk_")).unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&seed.try_into().unwrap()).verifying_key();
    let text = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
    let signature = ed25519_dalek::Signature::from_slice(&bytes).unwrap();
    assert!(key.verify_strict(text, &signature).is_ok());
    assert!(key.verify_strict(&text[1..], &signature).is_err());
}

#[test]
fn hex_by_timekits_vector_and_the_oldest_valid_secret_signs() {
    let body = TIMEKIT_BODY.as_bytes();
    let mut webhook = webhook("https://a.example/");
    let mut signed = |secrets: Vec<SigningSecret>| {
        let hex = Signature::Hex { header: "x-timekit-signature".into(), secrets };
        webhook.signature = Some(Box::new(hex));
        let request = sent(&delivery(1, "e", body), &webhook, None);
        request.headers()["x-timekit-signature"].to_str().unwrap().to_owned()
    };
    let expected = "e71851a5cbf9ccefb57394e1c0d2e3c23059cf463d08cd7dffd84a40ed00ec02";
    assert_eq!(signed(vec![signing("our-shared-secret", None)]), expected);
    let old = |until| vec![signing("new", None), signing("our-shared-secret", Some(until))];
    assert_eq!(signed(old(AT.0 + 1)), expected);
    assert_ne!(signed(old(AT.0)), expected);
}

#[test]
fn a_client_lends_what_the_webhook_does_not_have_itself() {
    let client = Client {
        id: "shop".parse().unwrap(),
        base_url: Url::parse("https://a.example/").unwrap(),
        authorization: Some(Box::new(Authorization::Bearer { token: secret("shared") })),
        headers: headers(&[("x-a", "client"), ("x-b", "client"), ("user-agent", "shop/1")]),
        route: Route::default(),
        profile: None,
        description: String::new(),
        created_at: UnixMs(0),
        updated_at: UnixMs(0),
    };
    let target = Target::Client { client: client.id.clone(), path: UrlTemplate::fixed("/in") };
    let mut webhook = Webhook { target, ..webhook("https://unused.example/") };
    webhook.headers = headers(&[("x-b", "webhook")]);
    let delivery = delivery(1, "e", b"{}");
    let request = sent(&delivery, &webhook, Some(&client));
    let header = |request: &Request<Bytes>, name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header(&request, "authorization"), "Bearer shared");
    assert_eq!(
        ["x-a", "x-b", "user-agent"].map(|name| header(&request, name)),
        ["client", "webhook", "shop/1"]
    );
    webhook.authorization = Some(Box::new(Authorization::Bearer { token: secret("own") }));
    assert_eq!(header(&sent(&delivery, &webhook, Some(&client)), "authorization"), "Bearer own");
}

#[test]
fn a_faithful_request_has_nothing_of_ours() {
    let mut webhook = webhook("https://a.example/");
    webhook.faithful = true;
    let delivery = delivery(1, "e", b"{}");
    let plain = [("content-length", "2"), ("content-type", "application/json")];
    assert_eq!(all(&sent(&delivery, &webhook, None)), plain);
    webhook.password = Some(secret("pw"));
    webhook.headers = headers(&[("x-a", "1")]);
    webhook.authorization = Some(Box::new(Authorization::Bearer { token: secret("t") }));
    webhook.signature =
        Some(Box::new(Signature::Hex { header: "x-sig".into(), secrets: vec![signing("k", None)] }));
    let names = |request: &Request<Bytes>| {
        all(request).iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&sent(&delivery, &webhook, None)),
        ["authorization", "content-length", "content-type", "x-a", "x-sig", "x-tt-webhook-password"]
    );
    // Its receivers cannot check a standard signature without these.
    let standard = Signature::Standard { secrets: vec![signing(SHARED, None)] };
    let webhook = Webhook {
        faithful: true,
        signature: Some(Box::new(standard)),
        ..crate::delivery::testing::webhook("https://a.example/")
    };
    assert_eq!(
        names(&sent(&delivery, &webhook, None)),
        ["content-length", "content-type", "webhook-id", "webhook-signature", "webhook-timestamp"]
    );
}

#[test]
fn what_cannot_be_sent_is_said_without_the_secret() {
    let delivery = delivery(1, "e", b"{}");
    let refused = |change: &dyn Fn(&mut Webhook)| {
        let mut webhook = webhook("https://a.example/");
        change(&mut webhook);
        let invalid = build(
            &address(&delivery, &webhook, None, &crate::catalogue::Catalogue::shipped()).unwrap(),
            1,
            AT,
        )
        .unwrap_err();
        assert!(!invalid.to_string().contains("canary"), "{invalid}");
        invalid
    };
    assert_eq!(refused(&|webhook| webhook.password = Some(secret("canary\r\n"))), InvalidWebhook::Password);
    assert_eq!(refused(&|webhook| webhook.headers = headers(&[("x-a", "canary\n")])), InvalidWebhook::Header);
    let bearer = |webhook: &mut Webhook| {
        webhook.authorization = Some(Box::new(Authorization::Bearer { token: secret("canary\n") }));
    };
    assert_eq!(refused(&bearer), InvalidWebhook::Authorization);
    for secrets in [vec![], vec![signing("whsec_canary", None)], vec![signing(SHARED, Some(0))]] {
        let change = |webhook: &mut Webhook| {
            webhook.signature = Some(Box::new(Signature::Standard { secrets: secrets.clone() }));
        };
        assert!(matches!(refused(&change), InvalidWebhook::Signature(_)));
    }
}

#[test]
fn urls_that_no_webhook_may_have() {
    let refused = |text: &str| check_url(&Url::parse(text).unwrap()).unwrap_err();
    assert!(refused("ftp://a.example/").contains("https://"));
    assert!(refused("file:///etc/passwd").contains("https://"));
    assert!(refused("data:text/plain,x").contains("https://"));
    assert!(refused("https://user@a.example/").contains("user name"));
    assert!(refused("https://:pw@a.example/").contains("user name"));
    assert!(refused("https://a.example/#x").contains("fragment"));
    assert!(refused("https://a.example:0/").contains("port 0"));
    assert!(refused("https://a`b/").contains("cannot carry"));
    for good in [
        "https://a.example",
        "http://127.0.0.1:8080/x?y={z}|^`",
        "https://[::1]:9/ä",
        "https://bücher.example/",
    ] {
        assert_eq!(check_url(&Url::parse(good).unwrap()), Ok(()), "{good}");
    }
}

proptest! {
    /// Whatever a path or query holds, it can be sent.
    #[test]
    fn every_path_and_query_can_be_carried(text in "https?://[a-z_.ä-]{1,12}(:[1-9][0-9]{0,3})?[/?][!-~ä\u{80}-\u{ff}]{0,30}") {
        if let Ok(url) = Url::parse(&text) && url.fragment().is_none() {
            prop_assert_eq!(check_url(&url), Ok(()), "{}", url);
        }
    }

    /// What the URL parser calls the host is what is dialled, whatever else the URL holds.
    #[test]
    fn the_dialled_host_is_the_checked_host(text in "https?://[!-~äß①。]{1,12}(:[0-9]{1,5})?[/?][ -~ä]{0,30}") {
        if let Ok(url) = Url::parse(&text) && check_url(&url).is_ok() {
            let uri = uri(&url).unwrap();
            prop_assert_eq!(uri.host(), url.host_str());
            prop_assert_eq!(uri.port_u16(), url.port());
            prop_assert_eq!(uri.scheme_str(), Some(url.scheme()));
        }
    }
}
