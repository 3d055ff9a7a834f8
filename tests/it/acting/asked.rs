//! Every command that takes something away, on a real terminal: it asks, says what goes, and "n" changes nothing.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

/// Runs a command with stdin and stderr on a terminal where `typed` was typed; its exit code and what the terminal shows.
#[track_caller]
fn on_terminal(site: &Site, arguments: &[&str], typed: &str) -> (i32, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = || -> OwnedFd {
        rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap()
    };
    let mut command = site.command(arguments[0]);
    command.args(&arguments[1..]);
    command.stdin(Stdio::from(terminal())).stderr(Stdio::from(terminal())).stdout(Stdio::null());
    let mut master = File::from(master);
    master.write_all(typed.as_bytes()).unwrap();
    let mut child = command.spawn().unwrap();
    // With the last descriptor of the other side gone, what is read ends in an error.
    drop(command);
    let mut shown = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = master.read(&mut piece) {
        shown.extend_from_slice(&piece[..read]);
    }
    (child.wait().unwrap().code().unwrap_or(-1), String::from_utf8(shown).unwrap())
}

/// An org with two webhooks of a client, a source, three dead letters, and two deliveries that wait in a pause.
fn furnish(daemon: &Daemon<'_>, receiver: &Receiver) {
    receiver.always("/in", Answer::Status(500));
    daemon.org_only("acme");
    let client = json!({"base_url": receiver.url("")});
    daemon.admin("PUT", "/v1/orgs/acme/clients/their", &client).expect(201);
    for webhook in ["main", "other"] {
        let mut body = json!({"client": "their", "path": "/in", "signature": {"type": "standard", "secret": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}});
        body["events"] = if webhook == "main" { json!(["*"]) } else { json!(["never"]) };
        body["retry"] = retry(1, 1, 1.0, 1)["retry"].clone();
        daemon.admin("PUT", &format!("/v1/orgs/acme/webhooks/{webhook}"), &body).expect(201);
    }
    daemon.admin("PUT", "/v1/orgs/acme/sources/in", &json!({"kind": "token"})).expect(201);
    for n in 0..3 {
        daemon.enqueue("acme", &json!({"type": "t", "id": format!("dead-{n}"), "payload": n}));
    }
    wait_until("they are dead", || daemon.dead_letters("acme").len() == 3);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    for n in 0..2 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
}

/// Everything that could be lost.
fn all(daemon: &Daemon<'_>) -> Value {
    let token = daemon.get("/v1/orgs/acme/sources/in")["token_at"].clone();
    let secrets = daemon.get("/v1/orgs/acme/webhooks/main")["signature"].clone();
    json!({
        "orgs": daemon.list("/v1/orgs").len(),
        "webhooks": daemon.list("/v1/orgs/acme/webhooks").len(),
        "clients": daemon.list("/v1/orgs/acme/clients").len(),
        "sources": daemon.list("/v1/orgs/acme/sources").len(),
        "waiting": daemon.queue("acme").len(),
        "dead": daemon.dead_letters("acme").len(),
        "paused": daemon.get("/v1/orgs/acme")["queue"]["paused"].is_object(),
        "token": token,
        "secrets": secrets,
    })
}

/// Each such command, and what its question says.
const LOSSES: [(&[&str], &str); 13] = [
    (
        &["queue", "skip", "acme"],
        "Skip delivery 4 of acme (t for main, 0 attempts)? It becomes a dead letter.",
    ),
    (&["queue", "resume", "--all"], "Resume 1 queue?"),
    (&["queue", "pause", "--all"], "Pause 1 queue?"),
    (&["dead-letter", "discard", "dead-0"], "Discard 1 dead letter for good?"),
    (&["dead-letter", "discard", "--org", "acme", "--type", "t"], "Discard 3 dead letters for good?"),
    (&["dead-letter", "discard", "--all"], "Discard 3 dead letters for good?"),
    (&["dead-letter", "retry", "--org", "acme"], "Retry 3 dead letters?"),
    (&["source", "reset-token", "acme", "in"], "Reset the token of in? Senders with the old address"),
    (&["source", "delete", "acme", "in"], "Delete source in of acme? Senders with its address"),
    (
        &["webhook", "rotate-secret", "acme", "main", "--keep", "0s"],
        "Rotate the secret of main of acme? The old one",
    ),
    (
        &["webhook", "delete", "acme", "main"],
        "Delete webhook main of acme? 2 deliveries wait in the org's queue",
    ),
    (&["client", "delete", "acme", "their", "--cascade"], "Delete client their of acme with 2 webhooks?"),
    (&["org", "delete", "acme", "--discard"], "with 2 webhooks, 2 waiting deliveries and 3 dead letters?"),
];

#[test]
fn whatever_takes_something_away_asks_on_a_terminal() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    furnish(&daemon, &receiver);
    let before = all(&daemon);
    for (arguments, question) in LOSSES {
        // An org that is not paused, for the one that would pause it.
        let pauses = arguments.contains(&"pause");
        if pauses {
            daemon.admin("PUT", "/v1/orgs/idle", &json!({})).expect(201);
        }
        for typed in ["n\n", "\n", "\u{4}"] {
            let (code, shown) = on_terminal(&site, arguments, typed);
            assert!(shown.contains(question) && shown.contains("[y/N]"), "{arguments:?}: {shown}");
            assert!(shown.contains("nothing was done"), "{arguments:?}: {shown}");
            assert_eq!(code, 1, "{arguments:?}: {shown}");
        }
        if pauses {
            daemon.admin("DELETE", "/v1/orgs/idle", &Value::Null).expect(204);
        }
        assert_eq!(all(&daemon), before, "{arguments:?}");
    }
    // What the API would refuse is not asked; it is refused.
    let (code, shown) = on_terminal(&site, &["org", "delete", "acme"], "y\n");
    assert!(code == 1 && !shown.contains("[y/N]") && shown.contains("waiting"), "{shown}");
    let (code, shown) = on_terminal(&site, &["client", "delete", "acme", "their"], "y\n");
    assert!(code == 1 && !shown.contains("[y/N]") && shown.contains("cascade"), "{shown}");

    let (code, shown) = on_terminal(&site, &["dead-letter", "discard", "dead-0"], "y\n");
    assert!(code == 0 && shown.contains("1 dead letter discarded"), "{shown}");
    let (code, shown) = on_terminal(&site, &["org", "delete", "acme", "--discard", "--yes"], "");
    assert!(code == 0 && !shown.contains("[y/N]") && shown.contains("deleted"), "{shown}");
    assert_eq!(daemon.list("/v1/orgs").len(), 0);
}

#[test]
fn without_a_terminal_one_named_thing_goes_and_many_need_a_yes() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    furnish(&daemon, &receiver);
    let before = all(&daemon);
    for arguments in [
        &["dead-letter", "discard", "--org", "acme"][..],
        &["dead-letter", "discard", "--all"],
        &["dead-letter", "retry", "--all"],
        &["source", "reset-token", "acme", "in"],
        &["queue", "resume", "--all"],
        &["queue", "skip", "acme", "nobody"],
    ] {
        run(&site, arguments).exits(64).says("--yes");
        assert_eq!(all(&daemon), before, "{arguments:?}");
    }
    // A terminal on one side only is none: nobody sees the question, or nobody answers.
    run(&site, &["queue", "skip", "acme"]).exits(0).says("dead letter");
    run_with(&site, &["dead-letter", "discard", "dead-0", "-"], "dead-1\n")
        .exits(0)
        .says("2 dead letters discarded");
    run(&site, &["webhook", "delete", "acme", "other"]).exits(0);
    run(&site, &["source", "delete", "acme", "in"]).exits(0);
    run(&site, &["client", "delete", "acme", "their", "--cascade"]).exits(0);
    run(&site, &["org", "delete", "acme"]).exits(1).says("--discard");
    run(&site, &["org", "delete", "acme", "--discard"]).exits(0);
    assert_eq!(daemon.list("/v1/orgs").len(), 0);
}
