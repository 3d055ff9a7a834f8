//! Changes of entities, handed in as text: what they fire is compared byte for byte.

use serde_json::Value;

use super::http::{self, Reply};
use super::{Receiver, Site};

/// Hands in a change, on the socket of producers.
pub fn change(site: &Site, org: &str, body: &str) -> Reply {
    let path = format!("/v1/orgs/{org}/changes");
    http::request(&site.submit_socket(), "POST", &path, Some(("application/json", body.as_bytes()))).unwrap()
}

/// Hands in a change that must be accepted; the types of the events that it fired, in order.
#[track_caller]
pub fn fires(site: &Site, org: &str, entity: &str, old: &str, new: &str) -> Vec<String> {
    fires_by(site, org, entity, old, new, "null")
}

/// The same, and who did it.
#[track_caller]
pub fn fires_by(site: &Site, org: &str, entity: &str, old: &str, new: &str, actor: &str) -> Vec<String> {
    let body = format!(r#"{{"entity":"{entity}","old":{old},"new":{new},"actor":{actor}}}"#);
    let answer = change(site, org, &body).expect(202).json();
    let events = answer["events"].as_array().unwrap_or_else(|| panic!("no events in {answer}"));
    events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// What came in from the request of this number on: method, path and body.
pub fn calls(receiver: &Receiver, from: usize) -> Vec<(String, String, String)> {
    let call = |request: super::Received| {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        (request.method, request.path, body)
    };
    receiver.received().into_iter().skip(from).map(call).collect()
}

/// The names of the headers that a request had, apart from those that HTTP itself needs.
pub fn headers(request: &super::Received) -> Vec<&str> {
    request
        .headers
        .keys()
        .map(String::as_str)
        .filter(|name| !["host", "content-length"].contains(name))
        .collect()
}

/// Why deliveries were given up, and after how many attempts.
pub fn reasons(dead_letters: &[Value]) -> Vec<(String, u64)> {
    let reason =
        |dead: &Value| (dead["reason"].as_str().unwrap().to_owned(), dead["attempts"].as_u64().unwrap());
    dead_letters.iter().map(reason).collect()
}
