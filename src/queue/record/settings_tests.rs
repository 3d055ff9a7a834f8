//! Settings come back from the store as they went in, those of earlier formats too.

use super::*;
use crate::model::{
    Authorization, Credentials, Headers, Method, Proxy, ProxyKind, Route, Signature, SigningSecret, Tls,
};

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn encoded(record: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    super::super::encode(record, &mut bytes).unwrap();
    bytes
}

fn route() -> Route {
    Route {
        tls: Some(Tls { ca: Some("CA".into()), certificate: Some("CERT".into()), key: Some(secret("KEY")) }),
        proxy: Some(Proxy {
            kind: ProxyKind::Socks5,
            host: "::1".into(),
            port: 1080,
            credentials: Some(Credentials { username: "u".into(), password: secret("p") }),
        }),
        http2: Some(true),
        bind_address: Some("192.0.2.1".parse().unwrap()),
    }
}

fn webhook() -> Webhook {
    let path = UrlTemplate::new(vec![Piece::Literal("/a/".into()), Piece::Variable("b".into())]);
    let target = Target::Client { client: "hr".parse().unwrap(), path };
    let secrets = vec![
        SigningSecret { secret: secret("new"), until: None },
        SigningSecret { secret: secret("old"), until: Some(UnixMs(5)) },
    ];
    Webhook {
        method: Method::Patch,
        matching: [Condition { attribute: "graph".into(), values: ["instant".into()].into() }].into(),
        password: Some(secret("pw")),
        password_header: Some("x-pw".into()),
        authorization: Some(Box::new(Authorization::Basic { username: "u".into(), password: secret("p") })),
        signature: Some(Box::new(Signature::Hex { header: "x-sig".into(), secrets })),
        headers: Headers([("x-a".into(), secret("1"))].into()),
        route: Some(route().into()),
        retry: Retry {
            schedule: Some([Duration::from_secs(1), Duration::from_secs(5)].into()),
            jitter: 0.5,
            on_exhausted: OnExhausted::Hold,
            ..Retry::default()
        },
        disable_on_gone: true,
        faithful: true,
        profile: Some("timetime".into()),
        ..Webhook::new("orders".parse().unwrap(), target, UnixMs(7))
    }
}

#[test]
fn a_webhook_comes_back_as_it_was() {
    let record = WebhookRecord::from(&webhook());
    assert_eq!(WebhookRecord::read(3, &encoded(&record)).unwrap().into_webhook().unwrap(), webhook());
    let old = WebhookRecord::read(2, &encoded(&record.before)).unwrap().into_webhook().unwrap();
    assert_eq!(old, Webhook { profile: None, ..webhook() });
    let kinds = [
        Authorization::Bearer { token: secret("t") },
        Authorization::Header { name: "x-key".into(), value: secret("v") },
        Authorization::HmacSha256 { secret: secret("s") },
    ];
    for kind in kinds {
        assert_eq!(Authorization::from(AuthorizationRecord::from(&kind)), kind);
    }
    let standard = Signature::Standard { secrets: Vec::new() };
    assert_eq!(Signature::from(SignatureRecord::from(&standard)), standard);
}

#[test]
fn a_client_comes_back_as_it_was() {
    let client = Client {
        id: "hr".parse().unwrap(),
        base_url: "https://hr.example/base".parse().unwrap(),
        authorization: Some(Box::new(Authorization::HmacSha256 { secret: secret("s") })),
        headers: Headers([("x-a".into(), secret("1"))].into()),
        route: route(),
        profile: Some("absence".into()),
        description: "d".into(),
        created_at: UnixMs(1),
        updated_at: UnixMs(2),
    };
    let record = ClientRecord::from(&client);
    assert_eq!(ClientRecord::read(3, &encoded(&record)).unwrap().into_client().unwrap(), client);
    let old = ClientRecord::read(2, &encoded(&record.before)).unwrap().into_client().unwrap();
    assert_eq!(old, Client { profile: None, ..client });
}

#[test]
fn a_webhook_of_the_first_format_keeps_its_meaning() {
    let old = WebhookRecord1 {
        id: "orders".into(),
        url: "https://a.example/?x={y}".into(),
        events: vec!["*".into()],
        password: Some("pw".into()),
        attempts: 3,
        first_delay_ms: 1,
        factor: 2.0,
        max_delay_ms: 9,
        timeout_ms: 100,
        enabled: false,
        description: "d".into(),
        created_at_ms: 1,
        updated_at_ms: 2,
    };
    let webhook = WebhookRecord::read(1, &encoded(&old)).unwrap().into_webhook().unwrap();
    assert_eq!(webhook.target, Target::Url(UrlTemplate::fixed("https://a.example/?x={y}")));
    assert_eq!((webhook.method, webhook.retry.attempts, webhook.enabled), (Method::Post, 3, false));
    assert_eq!(webhook.retry_after_max, RETRY_AFTER_MAX_DEFAULT);
}

#[test]
fn an_org_comes_back_as_it_was() {
    let settings = OrgSettings {
        plan: Some("pro".into()),
        description: "d".into(),
        max_deliveries: Some(5),
        max_bytes: None,
        max_webhooks: Some(40),
        created_at: UnixMs(1),
        updated_at: UnixMs(2),
    };
    let id: OrgId = "acme".parse().unwrap();
    let record = OrgRecord::new(&id, &settings);
    assert_eq!(
        OrgRecord::read(3, &encoded(&record)).unwrap().into_parts().unwrap(),
        (id.clone(), settings.clone())
    );
    let known = OrgSettings { max_webhooks: None, ..settings };
    for version in [1, 2] {
        let old = OrgRecord::read(version, &encoded(&record.before)).unwrap();
        assert_eq!(old.into_parts().unwrap(), (id.clone(), known.clone()));
    }
}
