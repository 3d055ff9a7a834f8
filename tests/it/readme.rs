//! What the README shows is what happens: its commands are run as written, its tables are held against the program.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::Site;
use crate::support::daemon::BINARY;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// How many blocks of shell commands are recipes; each has a test.
const RECIPES: usize = 5;

/// The blocks of shell commands, in order.
fn shell_blocks() -> Vec<String> {
    let readme = readme();
    let blocks = readme.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn readme_shows_two_commands_and_a_walk_by_hand() {
    let blocks = shell_blocks();
    // The first two need a build of their own; `demo.rs` runs what the first does, and this is the second.
    assert_eq!(blocks[0], "cargo run --release -- demo\n");
    assert_eq!(blocks[1], "cargo test\n");
    assert_eq!(blocks.len(), 4 + RECIPES, "a new block of commands has no test: {:?}", blocks.last());
    let ci = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    assert!(ci.lines().any(|line| line == "step cargo test"), "CI does not run the README's test command");
}

#[test]
fn readme_walk_works_as_written() {
    let site = Site::new();
    let said = walk(&site, &shell_blocks()[2..4].concat());
    assert!(
        said.contains("\"sequence\":3") && said.contains("\"deliveries\":1"),
        "the answer to curl: {said}"
    );
    let sink = ["{\"order\": 7}", "{\"order\": 8}", "{\"order\": 9}"];
    assert!(sink.iter().all(|payload| said.contains(payload)), "what the sink got: {said}");
    assert!(said.contains(" delivered acme  order.created, "), "what tail heard: {said}");
    assert!(said.contains("\nORG    ") && said.contains("per second  accepted "), "shape and top: {said}");
}

/// Runs commands of the README, from the build on, until everything that was handed in is delivered. Answers what they said.
#[track_caller]
fn walk(site: &Site, commands: &str) -> String {
    let bin = site.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(BINARY, bin.join("postrider")).unwrap();
    let [sink, sources] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, sources_port] = [&sink, &sources].map(|listener| listener.local_addr().unwrap().port());
    drop((sink, sources));
    let place = site.dir().join("walk");
    // What a test cannot have as written: a release build, a place and a port that other tests use as well.
    let mut script = commands.to_owned();
    for (shown, here) in [
        ("cargo build --release\n", String::new()),
        ("$PWD/target/release", bin.display().to_string()),
        ("/tmp/postrider", place.display().to_string()),
        ("127.0.0.1:8099", format!("127.0.0.1:{port}")),
        ("127.0.0.1:7410", format!("127.0.0.1:{sources_port}")),
    ] {
        assert!(script.contains(shown), "the walk no longer has {shown}");
        script = script.replace(shown, &here);
    }
    // Before everything is stopped.
    let end =
        "until postrider status --json | tr -d ' \\n' | grep -q '\"deliveries\":0'; do sleep 0.1; done\n";
    let script = format!("set -euo pipefail\ntrap 'kill $(jobs -p); wait' EXIT\n{script}{end}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", site.dir())
        .current_dir(site.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}\n{said}\n{complained}\n{script}", output.status);
    said
}

/// The recipe of a product, from the quick start's daemon on: each of `lines` is the beginning of one that the sink prints,
/// after the time, in this order, and there are no others.
#[track_caller]
fn check_recipe(product: &str, lines: &[&str]) -> String {
    let site = Site::new();
    let readme = readme();
    let start = shell_blocks()[2].split("postrider org put acme").next().unwrap().to_owned();
    let page = readme.split(&format!("### {product}\n")).nth(1).expect("the product has a recipe");
    let recipe = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let said = walk(&site, &format!("{start}{recipe}"));
    let got: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("Z POST ")).map(|(_, what)| what).collect();
    assert_eq!(got.len(), lines.len(), "{got:#?}\n{said}");
    for (got, words) in got.iter().zip(lines) {
        for word in words.split(" … ") {
            assert!(got.contains(word), "{word} is not in {got}");
        }
    }
    said
}

#[test]
fn readme_recipe_of_timetime_works_as_written() {
    check_recipe(
        "TimeTime",
        &[
            "/timetime … \"calendarId\": \"c1\"",
            "/timetime … {\"type\":\"CalendarEventChanged\",\"new\":{\"id\": \"e1\" … \"semanticDiff\":[{\"type\":\"CalendarEventStatusChanged\",\"new\":\"CONFIRMED\",\"old\":\"TENTATIVE\"},{\"type\":\"CalendarEventAttendeeReplyChange\",\"attendee\":{\"id\": \"a1\", \"status\": \"ACCEPTED\"",
        ],
    );
}

#[test]
fn readme_recipe_of_timekit_works_as_written() {
    let booking = "/timekit/c3c071de-6901-422f-bde6-86f5eaaf8476";
    check_recipe(
        "Timekit",
        &[
            &format!("{booking} … \"confirmed\""),
            &format!("{booking} … \"confirmed\" … \"completed\": false"),
            &format!("{booking} … \"cancelled_by_customer\" … \"completed\": true"),
        ],
    );
}

#[test]
fn readme_recipe_of_trackingtime_works_as_written() {
    check_recipe(
        "TrackingTime",
        &[
            "/trackingtime … \"webhook_id\": 42",
            "\"event_name\":\"task.track\",\"account_id\":1725,\"user_id\":79634",
            "\"event_name\":\"task.update\" … \"name\": \"Landing page, done\"",
            "\"event_name\":\"task.stop\"",
            "\"event_name\":\"task.close\"",
        ],
    );
}

#[test]
fn readme_recipe_of_team_trax_works_as_written() {
    check_recipe(
        "Team Trax",
        &["/hr/absences/1?type=HO", "/hr/absences/2?type=VAC … \"APPROVED\"", "/hr/absences/2?type=VAC"],
    );
}

#[test]
fn readme_recipe_of_slack_works_as_written() {
    let said = check_recipe(
        "Slack",
        &[
            "/app … \"event_name\":\"task.track\",\"account_id\":1726 … \"task_name\":\"Landing page\",\"project_name\":\"Website\" … /commands/T0001/1/abc",
            "/commands/T0001/1/abc … {\"response_type\": \"in_channel\", \"text\": \"1 h 30 min on Landing page\"}",
        ],
    );
    assert!(
        said.contains(r#"{"response_type":"ephemeral","text":"Tracking Landing page in Website"}"#),
        "the answer to curl: {said}"
    );
    assert!(
        said.contains("= trackingtime.inbound.task.track (1 delivery)"),
        "the test of the source: {said}"
    );
    assert!(said.contains("counts.accepted"), "what came to the source: {said}");
}

#[test]
fn readme_rules_for_requests_mean_what_it_says() {
    let readme = readme();
    let page = readme.split("### What requests mean\n").nth(1).unwrap();
    let rules = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let site = Site::with("[log]\nlevel = \"debug\"\n");
    let shop = site.dir().join("catalogues/shop");
    std::fs::create_dir_all(&shop).unwrap();
    let types = "product = \"shop\"\n[events.\"shop.order.asked_for\"]\n";
    std::fs::write(shop.join("catalogue.toml"), types).unwrap();
    std::fs::write(shop.join("requests.toml"), rules).unwrap();
    site.configure(&format!("[catalogue]\ndir = {:?}\n", site.dir().join("catalogues")));
    let daemon = site.start();
    daemon.org_only("acme");
    let source = json!({"kind": "slack", "secret": "s3cret", "catalogue": "shop"});
    daemon.admin("PUT", "/v1/orgs/acme/sources/slack", &source).expect(201);
    let test = |text: &str| {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("command", "/order"), ("text", text), ("user_name", "dana")])
            .finish();
        let tested = daemon.admin("POST", "/v1/orgs/acme/sources/slack/test", &json!({"body": body}));
        tested.expect(200).json()
    };
    let tested = test("Tea in the garden for \"Bob\"");
    assert_eq!(tested["events"][0]["payload"], json!({"what": "Tea in the garden", "whom": "Bob"}));
    assert!(tested["answer"].as_str().unwrap().contains("Ordering Tea in the garden"), "{tested}");
    assert_eq!(test("Tea")["events"][0]["payload"], json!({"what": "Tea", "whom": "dana"}));
    let tested = test("");
    assert_eq!((&tested["verdict"], &tested["events"]), (&"unmapped".into(), &json!([])));
    assert!(tested["answer"].as_str().unwrap().contains("Usage: /order [what] for [whom]"), "{tested}");
}

#[test]
fn readme_table_of_settings_is_what_is_in_force_by_default() {
    let site = Site::with("");
    let output = site.command("check-config").arg("--json").output().unwrap();
    assert!(output.status.success());
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let readme = readme();
    let section = readme.split("## Configuration").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    let text = shown.to_string();
    for key in &documented {
        assert!(text.contains(&format!("\"{key}\"")), "{key} is documented, but not a setting: {text}");
    }
    let defaults =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/postrider.toml")).unwrap();
    assert_eq!(documented, keys_of(&defaults));
    for line in defaults.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, value)) = line.split_once(" = ") {
            let row = section.lines().find(|row| row.contains(&format!(".{key}` | `{value}` |")));
            assert!(row.is_some(), "the README does not say that {key} is {value} by default");
        }
    }
}

/// `section.key` of every setting in a file of them.
fn keys_of(text: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn readme_table_of_commands_is_what_there_is() {
    let readme = readme();
    let section = readme.split("## Command line").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows =
        section.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split(" |").next());
    let documented: BTreeSet<_> = rows
        .flat_map(|cell| cell.split('`').filter(|part| !part.trim().is_empty()))
        .map(|part| part.split(' ').next().unwrap().to_owned())
        .collect();
    let help = Command::new(BINARY).arg("help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let there: BTreeSet<_> = commands
        .lines()
        .filter_map(|line| {
            line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   "))
        })
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, there);
}

#[test]
fn readme_and_the_units_agree_where_things_are() {
    let readme = readme();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let service = std::fs::read_to_string(top.join("systemd/postrider.service")).unwrap();
    let program =
        service.lines().find_map(|line| line.strip_prefix("ExecStart=")?.split(' ').next()).unwrap();
    assert!(
        readme.contains(&format!("target/release/postrider {program}\n")),
        "the README installs elsewhere than {program}"
    );
    assert!(
        readme.contains("/etc/postrider/postrider.key") && service.contains(":/etc/postrider/postrider.key")
    );
    for file in readme.split_whitespace().filter(|word| word.starts_with("systemd/") && word.contains('.')) {
        if !file.contains('*') {
            assert!(top.join(file).exists(), "the README names {file}");
        }
    }
    let is_test =
        |word: &&str| Path::new(word).extension().is_some_and(|end| end == "rs") && !word.contains('/');
    for file in readme.split('`').filter(is_test) {
        assert!(top.join("tests/it").join(file).exists(), "the README names {file}");
    }
}
