//! A store that cannot be opened is left exactly as it is, and the message says what to do. Never empty where one has been.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Receiver, Site, wait_until};

/// A stopped store with something in it.
fn stopped_store() -> Site {
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", "https://example.com/", &Value::Null);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({}));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    assert!(daemon.terminate().success());
    site
}

fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else if path.file_name().unwrap() != "postrider.lock" {
            // The lock says who tried last, and is none of the store's content.
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn write_key(path: &Path, byte: u8, mode: u32) {
    std::fs::write(path, [byte; 32]).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Refused with `words`, and not a byte of the store changed.
#[track_caller]
fn check_refused(site: &Site, words: &[&str], configure: impl FnOnce(&mut std::process::Command)) {
    let before = content(&site.data_dir());
    let (code, said) = site.serve_refused(configure);
    assert_eq!(code, 1, "{said}");
    for word in words {
        assert!(said.contains(word), "no {word} in: {said}");
    }
    let after = content(&site.data_dir());
    let names = |content: &BTreeMap<PathBuf, Vec<u8>>| content.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    let changed: Vec<_> =
        before.iter().filter(|(path, bytes)| after[*path] != **bytes).map(|(path, _)| path).collect();
    assert!(changed.is_empty(), "{changed:?} changed");
}

#[test]
fn store_refused_with_the_wrong_key() {
    let site = stopped_store();
    let wrong = site.dir().join("wrong.key");
    write_key(&wrong, 0xEE, 0o600);
    check_refused(&site, &["key"], |command| {
        command.env("POSTRIDER_KEY_FILE", &wrong);
    });
    let daemon = site.start();
    assert_eq!(daemon.queue("acme").len(), 1, "with the right key everything is there");
}

#[test]
fn store_refused_without_its_key_and_no_new_one_is_made() {
    let site = stopped_store();
    let (key, away) = (site.data_dir().join("postrider.key"), site.dir().join("away"));
    std::fs::rename(&key, &away).unwrap();
    check_refused(&site, &["key"], |_| {});
    std::fs::rename(&away, &key).unwrap();
    assert_eq!(site.start().queue("acme").len(), 1);
}

#[test]
fn store_refused_with_a_key_file_that_others_can_read() {
    let site = stopped_store();
    let key = site.data_dir().join("postrider.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    check_refused(&site, &["chmod 600"], |_| {});
}

#[test]
fn store_refused_where_a_foreign_directory_is_in_its_place() {
    let site = Site::new();
    std::fs::create_dir_all(site.data_dir().join("store")).unwrap();
    std::fs::write(site.data_dir().join("store/thesis.tex"), "years of work").unwrap();
    write_key(&site.data_dir().join("postrider.key"), 0xF7, 0o600);
    check_refused(&site, &["store"], |_| {});
}

#[test]
fn store_refused_where_other_files_are() {
    let site = Site::new();
    std::fs::create_dir_all(site.data_dir()).unwrap();
    std::fs::write(site.data_dir().join("thesis.tex"), "years of work").unwrap();
    check_refused(&site, &["thesis.tex", "--data"], |_| {});
}

#[test]
fn store_refused_if_a_newer_version_wrote_it() {
    let site = stopped_store();
    let marker = site.data_dir().join("store/FORMAT");
    let text = std::fs::read_to_string(&marker).unwrap();
    let newer = text.replace("format 5", "format 6");
    assert_ne!(text, newer);
    std::fs::write(&marker, newer).unwrap();
    check_refused(&site, &["newer", "format 6"], |_| {});
}

#[test]
fn store_is_made_with_a_key_of_its_own_and_a_warning() {
    let site = stopped_store();
    let key = site.data_dir().join("postrider.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let warnings =
        site.log().lines().filter(|line| line.contains("WARN") && line.contains("postrider.key")).count();
    assert!(warnings >= 1, "{}", site.log());
}

#[test]
fn store_may_be_sealed_with_a_key_from_elsewhere() {
    let site = Site::new();
    let receiver = Receiver::start();
    let key = site.dir().join("elsewhere.key");
    write_key(&key, 0x99, 0o600);
    let serve = || {
        let mut command = site.serve_command();
        command.env("POSTRIDER_KEY_FILE", &key);
        command
    };
    let daemon = site.start_command(serve());
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    assert!(!site.data_dir().join("postrider.key").exists());
    daemon.kill();
    let daemon = site.start_command(serve());
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    wait_until("it is delivered", || receiver.count() == 1);
}
