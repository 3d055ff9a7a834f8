//! The recipes of the README's "Act on it", each run as written in the situation that it is for.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::daemon::{BINARY, retry};
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

/// The commands of each recipe.
fn recipes() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let block = readme.split("### Act on it\n").nth(1).unwrap().split("```\n").nth(1).unwrap();
    block.split("\n\n").map(str::to_owned).collect()
}

/// Runs a recipe; what it printed.
#[track_caller]
fn follow(site: &Site, recipe: &str) -> String {
    let bin = site.dir().join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(BINARY, bin.join("postrider")).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", recipe])
        .env_clear()
        .env("PATH", path)
        .env("HOME", site.dir())
        .env("POSTRIDER_RUNTIME_DIR", site.run_dir())
        .current_dir(site.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success(), "{recipe}\n{said}");
    said
}

fn enqueue(daemon: &Daemon<'_>, ids: &[&str]) {
    for id in ids {
        daemon.enqueue("acme", &json!({"type": "t", "id": id, "payload": 1}));
    }
}

#[test]
fn the_recipes_for_operators_do_what_they_say() {
    let recipes = recipes();
    let [outage, poison, secret, farewell] = recipes.as_slice() else { panic!("{recipes:#?}") };
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.org_only("acme");
    let mut settings = retry(1, 1, 1.0, 1);
    settings["signature"] = json!({"type": "standard", "secret": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"});
    daemon.webhook("acme", "orders", &receiver.url("/in"), &settings);

    receiver.then("/in", [500, 500].map(Answer::Status));
    enqueue(&daemon, &["a", "b"]);
    wait_until("two are dead", || daemon.dead_letters("acme").len() == 2);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    enqueue(&daemon, &["c"]);
    let said = follow(&site, outage);
    assert!(
        said.contains("2 dead letters would be retried") && said.contains("2 dead letters retried"),
        "{said}"
    );
    daemon.drained("acme");
    let came: Vec<_> = receiver.received().iter().skip(2).map(|got| got.id().to_owned()).collect();
    assert_eq!(came, ["a", "b", "c"]);

    // From here on there are many attempts, an hour apart.
    settings["retry"] = retry(9, 3_600_000, 1.0, 3_600_000)["retry"].clone();
    daemon.webhook("acme", "orders", &receiver.url("/in"), &settings);
    receiver.then("/in", [Answer::Status(400)]);
    enqueue(&daemon, &["poison", "d"]);
    wait_until("it holds the queue up", || daemon.queue("acme")[0]["attempts"] == 1);
    let said = follow(&site, poison);
    assert!(said.contains("poison") && said.contains("400"), "{said}");
    daemon.drained("acme");
    assert_eq!(receiver.received().last().unwrap().id(), "d");
    assert_eq!(daemon.dead_letters("acme")[0]["event_id"], "poison");

    receiver.then("/in", [Answer::Status(401)]);
    enqueue(&daemon, &["e"]);
    wait_until("it is not believed", || daemon.queue("acme")[0]["attempts"] == 1);
    let before = receiver.received().last().unwrap().header("webhook-signature").to_owned();
    std::fs::write(site.dir().join("new-secret"), "whsec_bmV3IHNlY3JldCBuZXcgc2VjcmV0IG5ldyBz").unwrap();
    let said = follow(&site, secret);
    assert!(said.contains("1 queue to be retried now"), "{said}");
    daemon.drained("acme");
    let last = receiver.received().pop().unwrap();
    assert_eq!((last.id(), last.header("webhook-signature").split(' ').count()), ("e", 1));
    assert_ne!(last.header("webhook-signature"), before);

    receiver.then("/in", [Answer::Late(std::time::Duration::from_millis(300), 200)]);
    enqueue(&daemon, &["f"]);
    let said = follow(&site, farewell);
    assert!(said.contains("skipped") && said.contains("deleted"), "{said}");
    assert_eq!(receiver.received().last().unwrap().id(), "f");
    assert!(daemon.list("/v1/orgs").is_empty());
}
