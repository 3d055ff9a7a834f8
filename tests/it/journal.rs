//! The log in the journal: a socket that listens where journald does, in a mount namespace of the daemon's own.

use std::os::linux::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, retry};
use crate::support::{Answer, Daemon, PATIENCE, Receiver, Site};

/// Puts a directory in the place of the journal's and becomes the daemon.
const SCRIPT: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd && ln -s \"$1\" /run/systemd/journal && \
                      exec \"$0\" serve";

struct Journal(UnixDatagram);

impl Journal {
    fn new(site: &Site) -> Journal {
        std::fs::create_dir(site.dir().join("journal")).unwrap();
        let socket = UnixDatagram::bind(site.dir().join("journal/socket")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Journal(socket)
    }

    /// `serve` with this as its journal. Needs the right to mount.
    fn serve(site: &Site) -> Command {
        let serve = site.serve_command();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, BINARY]).arg(site.dir().join("journal")).env_clear();
        command.envs(serve.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
        command.stderr(site.log_append());
        command
    }

    /// The next line that has `word` in its text.
    #[track_caller]
    fn line(&self, word: &str) -> String {
        let mut datagram = vec![0; 64 << 10];
        loop {
            let length = self.0.recv(&mut datagram).unwrap_or_else(|error| panic!("no {word}: {error}"));
            let line = String::from_utf8_lossy(&datagram[..length]).into_owned();
            if line.lines().next().is_some_and(|text| text.contains(word)) {
                return line;
            }
        }
    }
}

#[track_caller]
fn has(line: &str, fields: &[&str]) {
    for field in fields {
        assert!(line.lines().any(|one| one == *field), "{field} is not in:\n{line}");
    }
}

fn dies(daemon: &Daemon<'_>, receiver: &Receiver) {
    receiver.always("/", Answer::Status(503));
    daemon.org("acme", &receiver.url("/?key=c4nary"), &retry(3, 5, 1.0, 5));
    daemon.enqueue("acme", &json!({"type": "t", "id": "evt-1", "payload": {"secret": "c4nary"}}));
}

#[test]
fn journal_gets_lines_with_fields_and_one_for_each_change_of_state() {
    let (site, receiver) = (
        Site::with("[egress]\nallow_http = [\"127.0.0.1/32\"]\n[log]\nformat = \"journald\"\n"),
        Receiver::start(),
    );
    let journal = Journal::new(&site);
    let daemon = site.start_command(Journal::serve(&site));
    has(
        &journal.line("ready"),
        &["PRIORITY=6", "SYSLOG_IDENTIFIER=postrider", "POSTRIDER_TARGET=postrider::cli::serve"],
    );
    dies(&daemon, &receiver);
    let first = journal.line("acme");
    has(&first, &["POSTRIDER_ORG=acme", "POSTRIDER_AUDIT=true", "POSTRIDER_STATUS=201"]);
    let names =
        ["POSTRIDER_ORG=acme", "POSTRIDER_EVENT_ID=evt-1", "POSTRIDER_WEBHOOK=main", "POSTRIDER_SEQUENCE=1"];
    let retry = journal.line("evt-1");
    has(&retry, &[&names[..], &["PRIORITY=6", "POSTRIDER_ATTEMPT=1", "POSTRIDER_STATUS=503"]].concat());
    // Its head has been failing since; the next line is that it was given up.
    let dead = journal.line("evt-1");
    has(
        &dead,
        &[&names[..], &["PRIORITY=4", "POSTRIDER_ATTEMPT=3", "POSTRIDER_REASON=attempts-exhausted"]].concat(),
    );
    assert!(dead.starts_with("MESSAGE=dead letter org=\"acme\" event_id=evt-1"), "{dead}");
    for action in ["pause", "resume"] {
        daemon.admin("POST", &format!("/v1/orgs/acme/{action}"), &json!({})).expect(200);
        has(&journal.line(&format!("/{action}")), &["POSTRIDER_ORG=acme", "POSTRIDER_AUDIT=true"]);
    }
    // What fails and then gets through is said twice: when it began, and when it was over.
    receiver.then("/", [503, 503].map(Answer::Status));
    receiver.always("/", Answer::Status(200));
    daemon.enqueue("acme", &json!({"type": "t", "id": "evt-2", "payload": 1}));
    has(&journal.line("evt-2"), &["POSTRIDER_ATTEMPT=1"]);
    let through = journal.line("evt-2");
    assert!(through.starts_with("MESSAGE=delivered after it had failed"), "{through}");
    daemon.signal(rustix::process::Signal::HUP);
    has(&journal.line("configuration reloaded"), &["PRIORITY=6"]);
    assert!(![first, retry, dead, through].concat().contains("c4nary"));
    assert!(daemon.terminate().success());
    assert_eq!(site.log(), "", "nothing goes to stderr");
}

#[test]
fn journal_is_found_where_stderr_is_its_stream() {
    let (site, receiver) = (Site::with("[egress]\nallow_http = [\"127.0.0.1/32\"]\n"), Receiver::start());
    let journal = Journal::new(&site);
    let stderr = site.log_append().metadata().unwrap();
    let mut command = Journal::serve(&site);
    command.env("JOURNAL_STREAM", format!("{}:{}", stderr.st_dev(), stderr.st_ino()));
    let daemon = site.start_command(command);
    dies(&daemon, &receiver);
    has(&journal.line("dead letter"), &["POSTRIDER_ORG=acme"]);
    daemon.kill();
    assert_eq!(site.log(), "");

    // Without a socket of the journal's, stderr is the journal all the same: text, with priorities.
    std::fs::remove_dir_all(site.dir().join("journal")).unwrap();
    let mut command = Journal::serve(&site);
    command.env("JOURNAL_STREAM", format!("{}:{}", stderr.st_dev(), stderr.st_ino()));
    let daemon = site.start_command(command);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    assert!(site.log().contains("<6>changed by a caller audit=true"), "{}", site.log());
    daemon.kill();
    let mut command = Journal::serve(&site);
    command.env("POSTRIDER_LOG_FORMAT", "journald");
    let daemon = site.start_command(command);
    assert!(site.log().contains("the journal is not there: lines go to stderr"), "{}", site.log());
    assert_eq!(daemon.get("/v1/orgs/acme")["queue"]["paused"]["reason"], Value::Null);
}
