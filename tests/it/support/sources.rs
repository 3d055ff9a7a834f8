//! A site that takes incoming webhooks, and outside services that post there: over TCP, with what headers they like.

use std::io::{Error, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::http::{Reply, read_reply};
use super::{Daemon, PATIENCE, Site};

/// An address to listen on that no other test takes while a daemon restarts: not the one that connections are made from.
pub fn free_address() -> String {
    static TAKEN: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let place = 100 + TAKEN.fetch_add(1, Ordering::Relaxed) % 100;
    let listener = TcpListener::bind(format!("127.{place}.{high}.{low}:0")).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A site that listens for outside services on this address.
pub fn site() -> (Site, String) {
    let address = free_address();
    let base = Site::new();
    (Site::with(&format!("{}[sources]\nlisten = \"{address}\"\n", base.config())), address)
}

/// Creates a source of the org; its URL.
#[track_caller]
pub fn put(daemon: &Daemon<'_>, org: &str, source: &str, settings: &Value) -> String {
    let path = format!("/v1/orgs/{org}/sources/{source}");
    let answer = daemon.admin("PUT", &path, settings).expect(201).json();
    answer["url"].as_str().unwrap().to_owned()
}

/// Posts as an outside service does.
pub fn post(url: &str, headers: &[(String, String)], body: &[u8]) -> Result<Reply, Error> {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    post_on(&mut stream, path, headers, body)
}

/// Posts to a path, without its first slash, on a connection of any kind.
pub fn post_on(
    stream: &mut (impl Read + Write),
    path: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<Reply, Error> {
    let length = body.len();
    let mut head = format!("POST /{path} HTTP/1.1\r\nhost: hooks.example.com\r\nconnection: close\r\n");
    head += &format!("content-length: {length}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
    read_reply(stream)
}

/// Posts JSON with no proof but the URL.
#[track_caller]
pub fn post_json(url: &str, body: &str) -> Reply {
    post(url, &[("content-type".to_owned(), "application/json".to_owned())], body.as_bytes()).unwrap()
}

/// The HMAC-SHA256 of a text in hexadecimal, for requests that are to be believed. (That another implementation makes the
/// same is for the tests of signatures.)
pub fn code(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
