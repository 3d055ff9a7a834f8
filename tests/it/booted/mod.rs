//! The daemon under a real systemd: on a bare Debian that is booted in a container, installed as the README says.

mod by_hand;
mod machine;
mod package;
mod producer;

use std::path::Path;
use std::process::Command;

use machine::Machine;
use producer::Producer;
use serde_json::json;

use crate::support::daemon::BINARY;
use crate::support::{Receiver, http, wait_until};

/// The commands that the README shows below this.
#[track_caller]
fn shown_below(heading: &str) -> String {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let page = readme.split(heading).nth(1).unwrap_or_else(|| panic!("the README has no {heading:?}"));
    page.split("```\n").nth(1).expect("there are commands below it").to_owned()
}

/// The program as it is shipped: without what only a debugger reads.
fn strip(to: &Path) {
    let strip = Command::new("strip").arg("-o").arg(to).arg(BINARY).status();
    assert!(strip.expect("strip is there: Debian has it in the package binutils").success());
}

/// An org whose events go to a receiver on the machine's loopback, and who hands them in and takes them.
struct Load {
    receiver: Receiver,
    producer: Producer,
}

impl Load {
    const ORG: &str = "acme";

    /// On a machine with a daemon that runs.
    #[track_caller]
    fn start(machine: &Machine) -> Load {
        machine.must(
            "printf '[egress]\\nallow_http = [\"127.0.0.1/32\"]\\n' >> /etc/postrider/postrider.toml; systemctl reload postrider",
        );
        let receiver = machine.in_its_network(Receiver::start);
        let admin = machine.path("/run/postrider/admin.sock");
        for (path, body) in [
            ("/v1/orgs/acme", json!({})),
            ("/v1/orgs/acme/webhooks/main", json!({"url": receiver.url("/acme")})),
        ] {
            let body = body.to_string();
            let body = Some(("application/json", body.as_bytes()));
            http::request(&admin, "PUT", path, body).unwrap().expect(201);
        }
        let producer = Producer::start(machine.path("/run/postrider/postrider.sock"), Load::ORG);
        producer.goes_on(5);
        Load { receiver, producer }
    }

    /// Nobody was refused and nothing was lost; how many events it was. In each crash one connection may break, and its
    /// request comes again.
    #[track_caller]
    fn end(self, crashes: usize) -> usize {
        let account = self.producer.end();
        account.check(&self.receiver, "/acme", crashes);
        account.accepted.len()
    }
}

/// Waits until the service runs as another process than this, and is ready; which.
#[track_caller]
fn replaced(machine: &Machine, before: &str) -> String {
    wait_until("another process is ready", || {
        machine.service("ActiveState") == "active" && machine.service("MainPID") != before
    });
    machine.service("MainPID")
}
