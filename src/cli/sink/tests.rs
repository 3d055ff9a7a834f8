//! The sink over real sockets, asked by the delivery client, and its lines.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::delivery::testing::{self, delivery, webhook};
use crate::delivery::{Client, ClientSettings, EgressPolicy};
use crate::model::{Attempt, FailReason, UnixMs};

fn received(path: &str, body: &[u8], status: Option<u16>) -> Received {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
    headers.insert("postrider-attempt", HeaderValue::from_static("2"));
    headers.insert("postrider-sequence", HeaderValue::from_static("7"));
    headers.append("x-two", HeaderValue::from_static("a"));
    headers.append("x-two", HeaderValue::from_static("b"));
    headers.insert("x-tt-webhook-password", HeaderValue::from_static("s3cret"));
    Received {
        at: UnixMs(0),
        method: Method::POST,
        path: path.to_owned(),
        headers,
        body: Bytes::copy_from_slice(body),
        status,
    }
}

#[test]
fn a_line_says_who_what_and_how_it_went() {
    let shown = line(&received("/p?x=1", br#"{"n":1}"#, Some(503)), 200);
    assert_eq!(shown, r#"1970-01-01T00:00:00.000Z POST /p?x=1 id=evt_1 attempt=2 sequence=7 503 {"n":1}"#);
    let shown = line(&received("/", b"a\nb\x1b[31m0123456789", None), 12);
    assert!(shown.ends_with("sequence=7 - a\\nb\\u{1b}[3 …"), "{shown}");
    assert!(!shown.contains("s3cret"));
    let mut bare = received("/", b"", Some(200));
    bare.headers.clear();
    assert!(line(&bare, 200).ends_with(" / id=- attempt=- sequence=- 200 "));
}

#[test]
fn a_json_line_has_everything() {
    let shown = json_line(&received("/p", "ü".repeat(1000).as_bytes(), None), 3);
    let value: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(value["body"], "ü".repeat(1000));
    assert_eq!(value["status"], Value::Null);
    assert_eq!(value["sequence"], 7);
    assert_eq!(value["headers"]["x-two"], "a, b");
    assert_eq!(value["headers"]["x-tt-webhook-password"], "s3cret");
    assert_eq!(value["at"], "1970-01-01T00:00:00.000Z");
    let binary: Value = serde_json::from_str(&json_line(&received("/p", b"\xff", Some(200)), 0)).unwrap();
    assert_eq!(binary["body_base64"], "/w==");
    assert_eq!(binary.get("body"), None);
}

async fn sink(plan: Plan) -> (Sink, mpsc::UnboundedReceiver<Received>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sink::bind("127.0.0.1:0".parse().unwrap(), plan, sender).await.unwrap(), receiver)
}

fn client() -> Client {
    let egress = EgressPolicy::parse(&["127.0.0.1/32".to_owned()], &[]).unwrap();
    Client::new(ClientSettings { egress, ..ClientSettings::default() }).unwrap()
}

async fn post(client: &Client, sink: &Sink, path: &str, timeout: Duration) -> Attempt {
    let mut webhook = webhook(&sink.url(path));
    webhook.timeout = timeout;
    testing::attempt(client, &delivery(7, "evt_1", br#"{"n":1}"#), &webhook, 2).await
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn it_hands_on_what_it_gets_before_it_answers() {
    let (sink, mut requests) = sink(Plan::default()).await;
    let made = post(&client(), &sink, "/p?x=1", LONG).await;
    assert_eq!((made.status, made.error, made.excerpt.as_str()), (Some(200), None, ""));
    let got = requests.recv().await.unwrap();
    assert_eq!((got.method.as_str(), got.path.as_str(), got.status), ("POST", "/p?x=1", Some(200)));
    assert_eq!(got.body, br#"{"n":1}"#.as_slice());
    assert_eq!((got.webhook_id(), got.attempt(), got.sequence()), (Some("evt_1"), Some(2), Some(7)));
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn it_fails_as_often_as_told_and_each_named_path_counts_for_itself() {
    let plan = Plan::new(Behaviour { fail: Some(2), ..Behaviour::default() })
        .with_rules(&["/p=fail:1,status:429".parse().unwrap()]);
    let (sink, _requests) = sink(plan).await;
    let client = client();
    let mut statuses = Vec::new();
    for path in ["/a", "/p", "/b", "/p", "/a", "/status/404"] {
        statuses.push(post(&client, &sink, path, LONG).await.status);
    }
    assert_eq!(statuses, [Some(500), Some(429), Some(500), Some(200), Some(200), Some(404)]);
}

#[tokio::test]
async fn it_delays_and_hangs() {
    let (sink, mut requests) = sink(Plan::default()).await;
    let client = client();
    let delayed = post(&client, &sink, "/delay/200ms", LONG).await;
    assert!(delayed.error.is_none() && delayed.duration_ms >= 200, "{delayed:?}");
    requests.recv().await.unwrap();
    let hung = post(&client, &sink, "/hang", Duration::from_secs(1)).await;
    assert_eq!(hung.error, Some(FailReason::Timeout));
    assert_eq!(requests.recv().await.unwrap().status, None);
}

#[tokio::test]
async fn a_dropped_sink_is_gone() {
    let (sink, _requests) = sink(Plan::default()).await;
    let url = sink.url("/");
    let client = client();
    assert_eq!(post(&client, &sink, "/", LONG).await.error, None);
    drop(sink);
    // Its connections end with it; a new one is refused.
    loop {
        let made = testing::attempt(&client, &delivery(1, "e", b"{}"), &webhook(&url), 1).await;
        if made.error == Some(FailReason::Connect) {
            break;
        }
    }
}
