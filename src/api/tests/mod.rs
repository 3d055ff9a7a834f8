//! Calls over a real queue in a temporary directory: through the router, and over real Unix sockets.

mod calls;
mod changes;
mod clients;
mod dead_letters;
mod events;
mod ndjson;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use super::{App, Settings, Socket, router};
use crate::model::{OrgNumber, UnixMs};
use crate::queue::{Claim, MasterKey, Queue, QueueLimits, StoreOptions};

/// An API over a store of its own.
pub(super) struct Fixture {
    pub(super) queue: Queue,
    pub(super) app: Arc<App>,
    pub(super) admin: Router,
    pub(super) submit: Router,
    _dir: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).unwrap() }
    }

    /// Asserts a problem: its type, its status, its field.
    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, code: &str, field: Option<&str>) {
        let json = self.json();
        assert_eq!(self.status, status, "{json}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(json["type"], format!("urn:postrider:{code}"), "{json}");
        assert_eq!(json["status"], status);
        assert_eq!(json.get("field").and_then(Value::as_str), field, "{json}");
        assert!(json["title"].is_string() && json["detail"].is_string());
    }

    #[track_caller]
    pub(super) fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

pub(super) fn store_options(dir: &TempDir) -> StoreOptions {
    StoreOptions {
        data_dir: dir.path().to_owned(),
        key: MasterKey([7; 32]),
        previous_key: None,
        cache_bytes: 4 << 20,
        reserve_bytes: Some(0),
        max_deliveries: 1_000_000,
        max_bytes: 1 << 30,
        max_total: QueueLimits::NONE,
        retention: crate::queue::Retention::default(),
    }
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        Fixture::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _) = Queue::open(&store_options(&dir)).unwrap();
        let app = Arc::new(App::new(queue.clone(), None, settings));
        let (admin, submit) = (router(app.clone(), Socket::Admin), router(app.clone(), Socket::Submit));
        Fixture { queue, app, admin, submit, _dir: dir }
    }

    /// An org `acme` with a webhook `orders` that wants everything.
    pub(super) async fn with_acme(self) -> Fixture {
        self.put("/v1/orgs/acme", json!({})).await.is(201);
        self.put("/v1/orgs/acme/webhooks/orders", json!({"url": "https://example.com/hook"})).await.is(201);
        self
    }

    pub(super) async fn call(&self, request: Request<Body>) -> Answer {
        send(&self.admin, request).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.call(Request::delete(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        let request = Request::put(path).header(header::CONTENT_TYPE, "application/json");
        self.call(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        self.call(request.body(body.into()).unwrap()).await
    }

    /// Hands in an event and answers its id.
    pub(super) async fn event(&self, org: &str, payload: &str) -> String {
        let body = format!(r#"{{"type":"order.created","payload":{payload}}}"#);
        let answer = self.post(&format!("/v1/orgs/{org}/events"), body).await.is(202);
        answer["id"].as_str().unwrap().to_owned()
    }

    /// The head of an org's queue, as the scheduler would claim it.
    pub(super) fn claim(&self, org: &str) -> Claim {
        let number: OrgNumber = self.app.org(org).unwrap().number;
        Claim { org: number, sequence: self.queue.summary(number).head.unwrap().sequence }
    }
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Waits for a condition; fails when it does not come about.
pub(super) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A failed attempt.
pub(super) fn failed_attempt(number: u32) -> crate::model::Attempt {
    crate::model::Attempt {
        number,
        at: UnixMs(1_000),
        duration_ms: 7,
        status: Some(503),
        error: Some(crate::model::FailReason::Status),
        detail: "answered 503".to_owned(),
        excerpt: "busy".to_owned(),
    }
}
