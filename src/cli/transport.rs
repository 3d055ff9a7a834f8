//! How commands reach the API: over a Unix socket, or in-process over the store of a stopped daemon. Every command is
//! written once and works over both.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tower::ServiceExt;

use super::exit::{Exit, Failure, Result};
use super::output;

/// The socket that takes events.
pub const SUBMIT_SOCKET: &str = "postrider.sock";
/// The socket that takes everything.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// A way to the API.
#[derive(Debug, Clone)]
pub enum Transport {
    /// A daemon's socket.
    Socket(PathBuf),
    /// The daemon's own router over a store opened here.
    InProcess(axum::Router),
}

impl Transport {
    /// Makes a request and answers whatever comes, problems included.
    pub async fn send(&self, request: Request<Body>) -> Result<Response> {
        match self {
            Transport::InProcess(router) => match router.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            Transport::Socket(path) => send_over(path, request).await,
        }
    }

    /// Makes a request with an optional JSON body. A problem is a failure; no content is `null`.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map_or_else(Bytes::new, |value| Bytes::from(value.to_string()));
        let (_, answer) = self.call_raw(method, path, body).await?;
        Ok(answer)
    }

    /// The same with the bytes of a JSON body, and the status beside the answer.
    pub async fn call_raw(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Value)> {
        let (status, bytes) = self.fetch(method, path, body).await?;
        let answer = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        let answer =
            answer.map_err(|error| Failure::failed(format!("the daemon's answer is not JSON: {error}")))?;
        Ok((status, answer))
    }

    /// `GET` of JSON text as the API wrote it: reading and writing it again could change a payload.
    pub async fn get_text(&self, path: &str) -> Result<Bytes> {
        Ok(self.fetch(Method::GET, path, Bytes::new()).await?.1)
    }

    /// A call whose answer is JSON text, as the API wrote it.
    pub async fn call_text(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        Ok(self.fetch(method, path, body).await?.1)
    }

    /// A call without a body whose answer is read as it comes. A problem is a failure.
    pub async fn stream(&self, method: Method, path: &str) -> Result<Body> {
        let request = Request::builder().method(method).uri(path).header(http::header::HOST, "postrider");
        let request = request
            .body(Body::empty())
            .map_err(|error| Failure::failed(format!("the request cannot be made: {error}")))?;
        let response = self.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let bytes = response.into_body().collect().await.map_err(|error| cut_off(&error))?.to_bytes();
        Err(refused(status, &bytes))
    }

    async fn fetch(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(method).uri(path).header(http::header::HOST, "postrider");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| Failure::failed(format!("the request cannot be made: {error}")))?;
        let response = self.send(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| cut_off(&error))?.to_bytes();
        if status.is_success() { Ok((status, bytes)) } else { Err(refused(status, &bytes)) }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }
}

async fn send_over(path: &Path, request: Request<Body>) -> Result<Response> {
    let stream = UnixStream::connect(path).await.map_err(|error| unreachable(path, &error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| cut_off(&error))?;
    // The connection ends with its response; its errors reach the caller through the sender and the body.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| cut_off(&error))?;
    Ok(response.map(Body::new))
}

fn unreachable(path: &Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    let message = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "the daemon is not reachable at {path}: {error}\nUnder systemd, `systemctl status postrider` says why and `systemctl \
             start postrider` starts it. Else start it with `postrider serve`, or say where it is with --runtime-dir or \
             POSTRIDER_RUNTIME_DIR"
        ),
        ErrorKind::PermissionDenied => format!(
            "the daemon's socket {path} may not be opened: {error}\nYour user must be in the socket's group"
        ),
        _ => format!("the daemon is not reachable at {path}: {error}"),
    };
    Failure::new(Exit::Unreachable, message)
}

/// The connection ended before the answer did: what was asked may have been done.
pub(super) fn cut_off(error: &dyn std::error::Error) -> Failure {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(Exit::TryAgain, format!("the connection to the daemon broke: {error}{cause}"))
}

/// A problem answer as a failure.
pub(super) fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    refusal(status.as_u16(), &problem)
}

/// A problem answer as a failure: its exit code and its words.
pub(super) fn refusal(status: u16, problem: &Value) -> Failure {
    let is = |kind: &str| problem.get("type").and_then(Value::as_str) == Some(kind);
    let exit = match status {
        404 => Exit::NotFound,
        429 | 503 | 507 => Exit::TryAgain,
        // There is no head to act on: what was asked is not so.
        409 if is("urn:postrider:queue-empty") => Exit::NotFound,
        409 if is("urn:postrider:upkeep-busy") => Exit::TryAgain,
        // What `serve` would say of the same file.
        422 if is("urn:postrider:reload-failed") => Exit::BadConfig,
        _ => Exit::Failed,
    };
    Failure::new(exit, describe(status, problem))
}

/// Title, detail and the field at fault of a problem, on one line; the title only if it says more than the detail.
fn describe(status: u16, problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).map(output::plain);
    let mut message = text("title").unwrap_or_else(|| format!("the daemon answered {status}"));
    if let Some(detail) = text("detail").filter(|detail| !detail.eq_ignore_ascii_case(&message)) {
        message = if begin_alike(&message, &detail) { detail } else { format!("{message}: {detail}") };
    }
    if let Some(field) = text("field").filter(|field| !field.is_empty()) {
        message = format!("{message} (field {field})");
    }
    let candidates = problem.get("candidates").and_then(Value::as_array);
    for candidate in candidates.into_iter().flatten().filter_map(Value::as_str) {
        message = format!("{message}\n  {}", output::plain(candidate));
    }
    message
}

/// Whether both say of the same thing that it is not there, as "There is no such org" and "there is no org \"acme\"" do.
fn begin_alike(title: &str, detail: &str) -> bool {
    let absent = "there is no ";
    [title, detail]
        .iter()
        .all(|text| text.get(..absent.len()).is_some_and(|start| start.eq_ignore_ascii_case(absent)))
}

/// `path?name=value&…` with what has a value.
pub(super) fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_told_in_one_line() {
        let problem = json!({"type": "urn:postrider:unknown-org", "title": "Unknown org", "status": 404,
            "detail": "there is no org \"x\"", "field": "/org"});
        assert_eq!(describe(404, &problem), "Unknown org: there is no org \"x\" (field /org)");
        let problem = json!({"title": "There is no such org", "detail": "there is no org \"x\""});
        assert_eq!(describe(404, &problem), "there is no org \"x\"");
        assert_eq!(describe(500, &Value::Null), "the daemon answered 500");
        assert_eq!(describe(400, &json!({"title": "A", "detail": "b\u{1b}"})), "A: b\\u{1b}");
    }

    #[test]
    fn statuses_become_exit_codes() {
        for (status, exit) in [
            (400, Exit::Failed),
            (403, Exit::Failed),
            (404, Exit::NotFound),
            (409, Exit::Failed),
            (413, Exit::Failed),
            (422, Exit::Failed),
            (429, Exit::TryAgain),
            (500, Exit::Failed),
            (503, Exit::TryAgain),
            (507, Exit::TryAgain),
        ] {
            assert_eq!(refusal(status, &Value::Null).exit, exit, "{status}");
        }
        let empty = json!({"type": "urn:postrider:queue-empty"});
        assert_eq!(refusal(409, &empty).exit, Exit::NotFound);
        let bad_file = json!({"type": "urn:postrider:reload-failed"});
        assert_eq!(refusal(422, &bad_file).exit, Exit::BadConfig);
    }

    #[test]
    fn queries_are_escaped_and_leave_out_what_is_not_there() {
        let parameters = [("org", Some("a&b".to_owned())), ("type", None), ("since", Some("1+2".to_owned()))];
        assert_eq!(with_query("/x", &parameters), "/x?org=a%26b&since=1%2B2");
        assert_eq!(with_query("/x", &[("org", None)]), "/x");
    }
}
