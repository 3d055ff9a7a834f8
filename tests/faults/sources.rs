//! Requests of sources on failing and slow disks: what was answered 200 is kept, what cannot be kept in time is answered
//! 503, and one that is sent again runs once.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::lossyfs::{Faults, LossyFs};
use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::http::{read_head, read_sized};
use crate::rig::{alone, inspect};

/// What sled calls its log.
const LOG: &str = "db";

/// A daemon with a source, on a file system that can fail. Its org is paused: what came is in its queue.
struct Site {
    fs: LossyFs,
    options: Options,
    port: u16,
    path: String,
    _keys: TempDir,
}

impl Site {
    /// With the daemon on it.
    fn new() -> (Site, Daemon) {
        let keys = tempfile::tempdir().expect("a directory");
        let key_file = keys.path().join("key");
        inspect::write_key(&key_file);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let options = Options {
            key_file: Some(key_file),
            reserve_bytes: Some("0".to_owned()),
            sources_port: Some(port),
            ..Options::default()
        };
        let fs = LossyFs::mount();
        let daemon = Daemon::start(&fs.path().join("data"), &options);
        for (method, path, body) in [
            ("PUT", "/v1/orgs/acme", "{}"),
            ("PUT", "/v1/orgs/acme/webhooks/app", r#"{"url":"https://example.com/"}"#),
            ("POST", "/v1/orgs/acme/pause", "{}"),
        ] {
            let status = daemon.admin(method, path, body).status;
            assert!((200..300).contains(&status), "{method} {path}: {status}");
        }
        let source = r#"{"kind":"token","id_header":"x-id"}"#;
        let url = daemon.admin("PUT", "/v1/orgs/acme/sources/in", source).body["url"].clone();
        let url = url.as_str().expect("a url");
        let path = url.split_once(&format!(":{port}")).expect("the port").1.to_owned();
        (Site { fs, options, port, path, _keys: keys }, daemon)
    }

    /// Posts a request with this id. Answers the status and the ids of its events.
    fn post(&self, id: &str) -> io::Result<(u16, Vec<String>)> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port))?);
        stream.get_ref().set_read_timeout(Some(Duration::from_secs(30)))?;
        let body = format!(r#"{{"id":"{id}"}}"#);
        write!(
            stream.get_mut(),
            "POST {} HTTP/1.1\r\nhost: x\r\nx-id: {id}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            body.len()
        )?;
        let head = read_head(&mut stream)?;
        let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let answer: Value = serde_json::from_slice(&read_sized(&mut stream, &head)?)?;
        let events = answer["events"].as_array().into_iter().flatten();
        Ok((status, events.map(|event| event["id"].as_str().expect("an id").to_owned()).collect()))
    }

    /// The ids of the events in the queue.
    fn queued(daemon: &Daemon) -> Vec<String> {
        let page = daemon.admin("GET", "/v1/orgs/acme/queue?limit=1000", "").body;
        let items = page["items"].as_array().expect("items").iter();
        items.map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }
}

/// Posts into a fault until the daemon ends, and looks at what a new one finds.
fn fail(what: &str, faults: Faults) {
    let (site, mut daemon) = Site::new();
    let mut accepted = Vec::new();
    // One that is not accepted is sent again, as its sender would.
    let mut id = 0;
    let mut post = || match site.post(&id.to_string()) {
        Ok((200, events)) => {
            assert_eq!(events.len(), 1, "{what}");
            accepted.extend(events);
            id += 1;
        }
        Ok((503, _)) | Err(_) => {}
        Ok((status, _)) => panic!("{what}: {status}"),
    };
    (0..20).for_each(|_| post());
    site.fs.set_faults(faults);
    while daemon.exited().is_none() {
        post();
    }
    assert!(!daemon.wait_for_exit().success(), "{what}");
    assert!(accepted.len() >= 20, "{what}");
    site.fs.set_faults(Faults::default());
    let daemon = Daemon::start(&site.fs.path().join("data"), &site.options);
    let queued = Site::queued(&daemon);
    assert!(queued.starts_with(&accepted), "{what}: what was answered 200 is there, in order");
    // Every sender sends again what it was not told of, and what it was told of too.
    for id in 0..=id {
        assert_eq!(site.post(&id.to_string()).expect("an answer").0, 200, "{what}");
    }
    let all = Site::queued(&daemon);
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (id + 1, id + 1), "{what}: each of them once");
    assert!(all.starts_with(&queued), "{what}: in the order of acceptance");
}

#[test]
fn what_a_failing_disk_cannot_keep_is_not_answered_as_accepted() {
    let _alone = alone();
    for nth in [1, 3] {
        let log = || Some(LOG.into());
        fail(
            &format!("EIO on fsync {nth}"),
            Faults { only: log(), fail_fsync: Some(nth), ..Faults::default() },
        );
        fail(
            &format!("EIO on write {nth}"),
            Faults { only: log(), fail_write: Some(nth), ..Faults::default() },
        );
    }
}

#[test]
fn a_disk_slower_than_the_sender_s_patience_is_a_503_and_the_repeat_runs_nothing() {
    let _alone = alone();
    let (site, daemon) = Site::new();
    // Longer than the 9 s that are waited, shorter than what the store takes for a hanging disk.
    site.fs.set_faults(Faults { fsync_delay: Duration::from_secs(12), ..Faults::default() });
    let begun = Instant::now();
    assert_eq!(site.post("1").expect("an answer").0, 503);
    assert!(begun.elapsed() < Duration::from_secs(11), "after {:?}", begun.elapsed());
    site.fs.set_faults(Faults::default());
    wait_until("it is durable after all", || Site::queued(&daemon).len() == 1);
    let (status, events) = site.post("1").expect("an answer");
    assert_eq!((status, events), (200, Site::queued(&daemon)), "the answer that it then had");
    assert!(daemon.stop().success());
}
