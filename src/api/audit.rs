//! The audit line: whoever has something changed on the admin socket leaves one in the log, and one who was refused as well.
//!
//! It is written here, around every call, so a call that is added is covered without doing anything. What it says is stable:
//! `audit=true`, `call` (method and route), `org` and `id` where the call names them, `touched` (how many things it changed),
//! `dropped` (what went with a deleted org or client), `reason` (of a pause or a skip, as it was given), `status`, `problem` if it was refused, and the peer's `uid` and `pid` as
//! the kernel names them. Names only: nothing of bodies, payloads or secrets. Reads and what producers hand in leave none, nor
//! do tests of webhooks and sources, which have lines of their own, and dry runs.

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::MethodRouter;
use http::{Extensions, Method};

use percent_encoding::percent_decode_str;

use crate::model::OrgId;
use crate::serving::{Peer, Process, problem};

/// What changes nothing although it is posted.
const CHANGES_NOTHING: [&str; 5] = [
    "/v1/orgs/{org}/events",
    "/v1/orgs/{org}/changes",
    "/v1/events",
    "/v1/orgs/{org}/webhooks/{webhook}/test",
    "/v1/orgs/{org}/sources/{source}/test",
];

/// A name longer than this is none of ours.
const NAME_MAX: usize = 128;

/// What a call says of what it did, beside its answer. One that says nothing has touched what it names.
#[derive(Debug, Clone, Default)]
pub(super) struct Did {
    /// How many things it changed.
    pub(super) touched: u64,
    /// What went with them.
    pub(super) dropped: Option<u64>,
    /// The org that the body names.
    pub(super) org: Option<OrgId>,
    /// It only said what it would do.
    pub(super) dry_run: bool,
    /// Why, in the caller's words.
    pub(super) reason: Option<String>,
}

impl Did {
    /// So many things were changed.
    pub(super) fn touched(number: u64) -> Did {
        Did { touched: number, ..Did::default() }
    }

    /// What is named was deleted, and this with it.
    pub(super) fn dropped(number: u64) -> Did {
        Did { dropped: Some(number), ..Did::touched(1) }
    }

    /// The same, to be returned in front of an answer.
    pub(super) fn said(self) -> axum::Extension<Did> {
        axum::Extension(self)
    }
}

/// Has what `call` serves at `route` leave its lines.
pub(super) fn audited<S: Clone + Send + Sync + 'static>(
    route: &'static str,
    call: MethodRouter<S>,
) -> MethodRouter<S> {
    if CHANGES_NOTHING.contains(&route) {
        return call;
    }
    call.layer(from_fn(move |request: Request, next: Next| note(route, request, next)))
}

async fn note(route: &'static str, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (uid, pid) = caller(request.extensions());
    let (org, id) = names(route, &path);
    let call = format!("{method} {route}");
    let mut cut = Cut { call: &call, org: org.as_deref(), id: id.as_deref(), uid, pid, answered: false };
    let response = next.run(request).await;
    cut.answered = true;
    drop(cut);
    let said = response.extensions().get::<Did>().is_some();
    let did = response.extensions().get::<Did>().cloned().unwrap_or_else(|| Did::touched(1));
    if did.dry_run {
        return response;
    }
    let org = org.or_else(|| did.org.as_ref().map(ToString::to_string));
    let status = response.status().as_u16();
    if response.status().is_success() {
        let Did { touched, dropped, reason, .. } = did;
        tracing::info!(
            audit = true,
            call,
            org,
            id,
            touched,
            dropped,
            reason,
            status,
            uid,
            pid,
            "changed by a caller"
        );
    } else {
        let problem = response.extensions().get::<problem::Kind>().map(|kind| kind.code());
        // Refused before its end, it may have done a part.
        let touched = (said && did.touched > 0).then_some(did.touched);
        let message = if touched.is_some() { "changed in part by a caller" } else { "refused to a caller" };
        tracing::info!(audit = true, call, org, id, touched, status, problem, uid, pid, "{message}");
    }
    response
}

/// A call whose connection was closed before its end: what it asked for may be done all the same.
struct Cut<'a> {
    call: &'a str,
    org: Option<&'a str>,
    id: Option<&'a str>,
    uid: Option<u32>,
    pid: Option<i32>,
    answered: bool,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        let Cut { call, org, id, uid, pid, answered } = *self;
        if !answered {
            tracing::info!(audit = true, call, org, id, uid, pid, "cut off for a caller: it may be done");
        }
    }
}

/// Who called; nobody can tell where a command works on the store of a stopped daemon.
fn caller(extensions: &Extensions) -> (Option<u32>, Option<i32>) {
    let uid = match extensions.get::<Peer>() {
        Some(Peer::User(uid)) => Some(*uid),
        _ => None,
    };
    (uid, extensions.get::<Process>().and_then(|process| process.0))
}

/// The org and the other name in a path. What cannot be a name is not repeated.
fn names(route: &str, path: &str) -> (Option<String>, Option<String>) {
    let (mut org, mut id) = (None, None);
    for (part, given) in route.split('/').zip(path.split('/')) {
        let given = percent_decode_str(given).decode_utf8_lossy();
        let fits = given.len() <= NAME_MAX
            && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        match part {
            "{org}" if fits => org = Some(given.into_owned()),
            _ if part.starts_with('{') && fits => id = Some(given.into_owned()),
            _ => {}
        }
    }
    (org, id)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::body::Body;
    use axum::routing::put;
    use futures_util::FutureExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_call_that_is_cut_off_leaves_a_line() {
        let (mut log, writer) = std::io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(Mutex::new(writer)).with_ansi(false).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let (route, call) = ("/v1/orgs/{org}", put(std::future::pending::<()>));
        let router = Router::new().route(route, audited(route, call));
        let request = Request::put("/v1/orgs/%61cme").body(Body::empty()).unwrap();
        // Until it waits for its end, and no longer.
        assert!(router.oneshot(request).now_or_never().is_none());
        drop(guard);
        let log = std::io::read_to_string(&mut log).unwrap();
        let line = "cut off for a caller: it may be done audit=true call=\"PUT /v1/orgs/{org}\" org=\"acme\"";
        assert!(log.contains(line), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }

    #[test]
    fn names_come_from_the_path_and_only_names() {
        let (org, id) =
            names("/v1/orgs/{org}/webhooks/{webhook}/enable", "/v1/orgs/acme/webhooks/main/enable");
        assert_eq!((org.as_deref(), id.as_deref()), (Some("acme"), Some("main")));
        assert_eq!(
            names("/v1/dead-letters/{id}/retry", "/v1/dead-letters/1-2/retry"),
            (None, Some("1-2".into()))
        );
        assert_eq!(
            names("/v1/orgs/{org}", "/v1/orgs/%7Aeta").0.as_deref(),
            Some("zeta"),
            "as the router reads it"
        );
        assert_eq!(names("/v1/orgs/{org}", "/v1/orgs/a%0Ab"), (None, None));
        assert_eq!(names("/v1/orgs/{org}", &format!("/v1/orgs/{}", "a".repeat(129))), (None, None));
        assert_eq!(names("/v1/reload", "/v1/reload"), (None, None));
    }
}
