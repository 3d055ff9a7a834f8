//! P10: only users allowed on the socket can enqueue or administer; deliveries cannot be pointed at the inside of your
//! network unless you allow it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, retry};
use crate::support::{Receiver, Site, http, wait_until};

/// No file of ours belongs to it: the user of last resort.
const NOBODY: u32 = 65_534;

#[test]
fn p10_the_sockets_are_for_their_owner_and_group() {
    let site = Site::new();
    let daemon = site.start();
    for socket in [site.submit_socket(), site.admin_socket()] {
        assert_eq!(socket.metadata().unwrap().mode() & 0o7777, 0o660, "{}", socket.display());
    }
    daemon.org_only("acme");
    if !rustix::process::geteuid().is_root() {
        // Becoming someone else takes root; the modes above are what can be seen without.
        return;
    }
    // Everything on the way is open, so that the sockets alone keep strangers out.
    let binary = site.dir().join("postrider");
    std::fs::copy(BINARY, &binary).unwrap();
    for dir in [site.dir(), &site.run_dir()] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let payload = site.dir().join("payload.json");
    std::fs::write(&payload, "{}").unwrap();
    std::fs::set_permissions(&payload, std::fs::Permissions::from_mode(0o644)).unwrap();
    let payload = payload.to_str().unwrap();
    for (arguments, who, code) in [
        (&["status"][..], 0, 0),
        (&["status"], NOBODY, 69),
        (&["enqueue", "--org", "acme", "--type", "t", payload], NOBODY, 69),
    ] {
        let mut command = std::process::Command::new(&binary);
        command.env_clear().env("POSTRIDER_RUNTIME_DIR", site.run_dir()).env("HOME", "/").args(arguments);
        // Setting a user as root also drops root's further groups.
        command.uid(who).gid(who).stdin(Stdio::null()).current_dir("/");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} as {who}: {said}");
    }
}

#[test]
fn p10_the_submit_socket_takes_events_and_nothing_else() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", "https://example.com/", &Value::Null);
    let body = json!({}).to_string();
    for (method, path) in [
        ("GET", "/v1/orgs"),
        ("PUT", "/v1/orgs/evil"),
        ("DELETE", "/v1/orgs/acme"),
        ("GET", "/v1/orgs/acme/webhooks"),
        ("PUT", "/v1/orgs/acme/webhooks/main"),
        ("GET", "/v1/orgs/acme/queue"),
        ("POST", "/v1/orgs/acme/queue/skip"),
        ("POST", "/v1/orgs/acme/pause"),
        ("GET", "/v1/dead-letters"),
        ("POST", "/v1/dead-letters/discard"),
        ("GET", "/v1/status"),
        ("POST", "/v1/reload"),
    ] {
        let body = (method != "GET").then_some(("application/json", body.as_bytes()));
        let reply = http::request(&site.submit_socket(), method, path, body).unwrap();
        assert!(matches!(reply.status, 403 | 404), "{method} {path} was answered with {}", reply.status);
    }
    assert_eq!(daemon.get("/v1/orgs")["items"].as_array().unwrap().len(), 1);
    for path in ["/healthz", "/readyz"] {
        http::request(&site.submit_socket(), "GET", path, None).unwrap().expect(200);
    }
}

#[test]
fn p10_deliveries_do_not_reach_the_inside_unless_allowed() {
    // What an installation has that allows nothing.
    let site = Site::with("[store]\nreserve_bytes = \"1MiB\"\n");
    let receiver = Receiver::start();
    let port = receiver.port();
    let daemon = site.start();
    daemon.org_only("acme");
    let mut put = 0;
    for (n, host) in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
    ]
    .iter()
    .enumerate()
    {
        for scheme in ["http", "https"] {
            let mut body = retry(1, 10, 1.0, 10);
            body["url"] = json!(format!("{scheme}://{host}:{port}/"));
            let reply = daemon.admin("PUT", &format!("/v1/orgs/acme/webhooks/{scheme}{n}"), &body);
            // Refused when it is saved, or else when it is dialled.
            assert!(matches!(reply.status, 201 | 400 | 422), "{host}: {}", reply.text());
            put += usize::from(reply.status == 201);
        }
    }
    let accepted = daemon.enqueue("acme", &json!({"type": "t", "payload": {}}));
    assert_eq!(accepted["deliveries"], put);
    wait_until("all are given up", || daemon.dead_letters("acme").len() == put);
    for dead in daemon.dead_letters("acme") {
        let error = &dead["last"]["error"];
        assert!(error == "address-not-allowed" || error == "http-not-allowed", "{dead}");
    }
    assert_eq!(receiver.connections(), 0, "not even a connection was made");
}

#[test]
fn p10_what_is_allowed_is_allowed_to_the_letter() {
    let receiver = Receiver::start();
    let allow = format!(
        "[egress]\nallow_http = [\"127.0.0.1/32:{}\"]\n[store]\nreserve_bytes = \"1MiB\"\n",
        receiver.port()
    );
    let site = Site::with(&allow);
    let other = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    daemon.webhook("acme", "other", &other.url("/"), &retry(1, 10, 1.0, 10));
    daemon.enqueue("acme", &json!({"type": "t", "payload": {}}));
    daemon.drained("acme");
    assert_eq!((receiver.count(), other.connections()), (1, 0));
    assert_eq!(daemon.dead_letters("acme").len(), 1);
}

#[test]
fn p10_a_redirect_to_the_inside_is_not_followed() {
    let site = Site::new();
    let receiver = Receiver::start();
    let inside = receiver.url("/inside");
    for (n, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        let headers = vec![("location", inside.clone())];
        receiver.always(&format!("/{n}"), crate::support::Answer::Full(status, headers, bytes::Bytes::new()));
    }
    let daemon = site.start();
    daemon.org_only("acme");
    for n in 0..5 {
        daemon.webhook("acme", &format!("w{n}"), &receiver.url(&format!("/{n}")), &retry(1, 10, 1.0, 10));
    }
    daemon.enqueue("acme", &json!({"type": "t", "payload": {}}));
    wait_until("all are given up", || daemon.dead_letters("acme").len() == 5);
    assert!(receiver.at("/inside").is_empty());
}

#[test]
fn p10_a_kept_connection_does_not_outlive_the_policy_that_allowed_it() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/"), &retry(1, 10, 1.0, 10));
    let event = json!({"type": "t", "payload": {}});
    for _ in 0..2 {
        daemon.enqueue("acme", &event);
        daemon.drained("acme");
    }
    let counts = (receiver.count(), receiver.connections(), receiver.open_connections());
    assert_eq!(counts, (2, 1, 1), "the connection is kept");
    let reload = || {
        let reply = daemon.admin("POST", "/v1/reload", &json!({}));
        assert!((200..300).contains(&reply.status), "{}", reply.text());
    };
    // The same but for the one port: nothing else of the policy has changed.
    let other = format!("allow_http = [\"127.0.0.1/32:{}\"]", receiver.port() ^ 1);
    site.configure(&site.config().replace("allow_http = [\"127.0.0.1/32\"]", &other));
    reload();
    daemon.enqueue("acme", &event);
    daemon.drained("acme");
    assert_eq!(daemon.dead_letters("acme")[0]["last"]["error"], "address-not-allowed");
    wait_until("the connection is closed", || receiver.open_connections() == 0);
    site.configure(site.config());
    reload();
    daemon.enqueue("acme", &event);
    daemon.drained("acme");
    assert_eq!((receiver.count(), receiver.connections()), (3, 2));
    assert_eq!(daemon.dead_letters("acme").len(), 1);
}
