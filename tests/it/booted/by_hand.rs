//! The program and the units, installed by hand.

use tempfile::TempDir;

use super::machine::Machine;
use super::{Load, replaced, shown_below, strip};

/// A machine on which the README's commands have installed it, and what they installed it from.
fn installed() -> (Machine, TempDir) {
    let tree = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    strip(&tree.path().join("postrider"));
    let program = tree.path().join("postrider");
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let machine = Machine::boot(&[
        (&program, "/root/postrider/target/release/postrider"),
        (&units, "/root/postrider/systemd"),
    ]);
    machine.must(&format!("cd /root/postrider\n{}", shown_below("**By hand**")));
    (machine, tree)
}

#[test]
fn booted_by_hand_it_works_as_the_readme_says() {
    let (machine, _tree) = installed();
    assert_eq!(machine.service("Type"), "notify");
    assert!(machine.service("StatusText").starts_with("ready"));
    assert_eq!(
        machine.must("stat -c '%A %U %G' /run/postrider/*.sock").lines().collect::<Vec<_>>(),
        ["srw-rw---- root postrider-admin", "srw-rw---- root postrider-submit",]
    );
    // The state is the service's own: a user that is there while it runs, and a directory that nobody else gets into.
    let user = machine.must("stat -c %u /proc/$(systemctl show --property=MainPID --value postrider)");
    assert!((61_184..=65_519).contains(&user.trim().parse::<u32>().unwrap()), "{user} is no dynamic user");
    machine.run("grep -q postrider /etc/passwd").exits(1);
    assert_eq!(
        machine.must("stat -c '%a %u' /var/lib/private/postrider /etc/postrider/postrider.key"),
        format!("700 {user}600 0\n")
    );
    assert_eq!(machine.must("readlink /var/lib/postrider"), "private/postrider\n");

    machine.must(&shown_below("**First events**"));
    let payload = "{\"order\": 7}";
    crate::support::wait_until("the receiver has it", || {
        machine.must("journalctl --no-pager --output=cat --unit=receiver").contains(payload)
    });
    // Who is in neither group gets in nowhere; who may hand in events may nothing else.
    for command in ["enqueue --org acme --type t", "org list"] {
        let refused = machine.run(&format!("echo 1 | runuser -u nobody -- postrider {command}")).exits(69);
        assert!(refused.err.contains("may not be opened"), "{}", refused.err);
    }
    let refused = machine.run("runuser -u www-data -- postrider org list").exits(69);
    assert!(refused.err.contains("admin.sock may not be opened"), "{}", refused.err);
    let journal = machine.journal();
    for line in ["ready version=", "configuration reloaded", "Started postrider.service"] {
        assert!(journal.contains(line), "no {line:?} in the journal:\n{journal}");
    }
}

#[test]
fn booted_a_connection_starts_it() {
    let (machine, _tree) = installed();
    machine.must("systemctl stop postrider.service");
    assert_eq!(machine.service("ActiveState"), "inactive");
    machine.must("postrider org put acme");
    assert_eq!(machine.service("ActiveState"), "active");
    // Without its key it does not start, and makes no other.
    machine.must("mv /etc/postrider/postrider.key /root/; systemctl stop postrider.service");
    machine.run("systemctl start postrider.service").exits(1);
    machine.logged("Failed to set up credentials");
    machine.must("mv /root/postrider.key /etc/postrider/; systemctl reset-failed postrider.service");
    assert!(machine.must("postrider org list").contains("acme"));
    // It goes as it came, and what it kept does not.
    machine.must(&shown_below("**Removing it by hand**"));
    assert_eq!(machine.must("systemctl list-unit-files --no-legend 'postrider*' | wc -l"), "0\n");
    machine.run("test -e /usr/bin/postrider").exits(1);
    machine.must("ls /var/lib/private/postrider/store /etc/postrider/postrider.key");
}

#[test]
fn booted_the_key_may_be_sealed() {
    let (machine, _tree) = installed();
    let load = Load::start(&machine);
    let before = machine.service("MainPID");
    machine.must(&shown_below("**A sealed key"));
    replaced(&machine, &before);
    machine.run("test -e /etc/postrider/postrider.key").exits(1);
    load.producer.goes_on(20);
    load.end(0);
    // It is sealed for this name alone.
    machine
        .run("systemd-creds decrypt --name=other /etc/credstore.encrypted/postrider.key - >/dev/null")
        .exits(1);
}

#[test]
fn booted_another_key_and_another_store_take_over_while_producers_go_on() {
    let (machine, _tree) = installed();
    let load = Load::start(&machine);
    let before = machine.service("MainPID");
    load.producer.goes_on(20);
    machine.must(&shown_below("**Another key"));
    replaced(&machine, &before);
    machine.run("test -e /etc/postrider/postrider-previous.key").exits(1);
    let keys = machine.must("postrider status --json | tr -d ' \\n'");
    assert!(keys.contains("\"previous\":null"), "{keys}");
    load.producer.goes_on(20);
    machine.must(
        "postrider verify && postrider backup /root/postrider.backup &&
         postrider verify --backup /root/postrider.backup --key-file /etc/postrider/postrider.key",
    );
    let before = machine.service("MainPID");
    machine.must("postrider compact && systemctl restart postrider");
    replaced(&machine, &before);
    machine.logged("compact");
    load.producer.goes_on(20);
    load.end(0);

    machine.must("postrider org put after-the-backup");
    machine.must(&shown_below("**Restore"));
    assert_eq!(machine.service("ActiveState"), "active");
    assert!(!machine.must("postrider org list").contains("after-the-backup"));
    machine.must("echo 1 | postrider enqueue --org acme --type t && postrider verify");
}

#[test]
fn booted_a_reload_waits_for_the_verdict_and_fails_on_a_bad_file() {
    let (machine, _tree) = installed();
    let one = "postrider enqueue --org acme --type t --attribute a=1 --attribute b=2 /dev/stdin";
    let enqueue = || machine.run(&format!("echo 1 | {one}"));
    machine.must("postrider org put acme");
    enqueue().exits(0);
    machine.must("printf '[limits]\\nmax_attributes = 1\\n' > /etc/postrider/postrider.toml");
    machine.must("systemctl reload postrider.service");
    enqueue().exits(1);

    machine.must("printf '[limits]\\nmax_attributs = 9\\n' > /etc/postrider/postrider.toml");
    let pid = machine.service("MainPID");
    assert_ne!(machine.run("systemctl reload postrider.service").code, 0);
    machine.logged("max_attributs");
    enqueue().exits(1);
    assert_eq!((machine.service("ActiveState").as_str(), machine.service("MainPID")), ("active", pid));

    // It does not start with it either, and a producer waits at the socket, however often that is tried; once the file is
    // mended it goes on by itself.
    assert_ne!(machine.run("systemctl restart postrider.service").code, 0);
    assert_eq!(machine.service("ExecMainStatus"), "78");
    machine.must(&format!("(echo 1 | {one}; echo $? > /root/waited) >/dev/null 2>&1 &"));
    crate::support::wait_until("it was tried more often than systemd's usual limit", || {
        machine.service("NRestarts").parse::<u32>().unwrap() > 6
    });
    machine.must("systemctl is-active postrider.socket postrider-admin.socket");
    machine.must("rm /etc/postrider/postrider.toml");
    crate::support::wait_until("what waited is accepted", || machine.run("cat /root/waited").out == "0\n");
    enqueue().exits(0);
}

#[test]
fn booted_no_producer_is_refused_through_restarts_kills_and_the_watchdog() {
    let (machine, _tree) = installed();
    // The unit's thirty seconds would only make the test longer.
    machine.must(
        "mkdir -p /run/systemd/system/postrider.service.d
         printf '[Service]\\nWatchdogSec=3\\n' > /run/systemd/system/postrider.service.d/watchdog.conf
         systemctl daemon-reload; systemctl restart postrider.service",
    );
    let load = Load::start(&machine);
    let mut pid = machine.service("MainPID");
    for _ in 0..3 {
        load.producer.goes_on(20);
        machine.must("systemctl restart postrider.service");
        pid = replaced(&machine, &pid);
    }
    for _ in 0..3 {
        load.producer.goes_on(20);
        machine.must("systemctl kill --kill-whom=main --signal=KILL postrider.service");
        pid = replaced(&machine, &pid);
    }
    assert_eq!(machine.service("NRestarts"), "3");
    load.producer.goes_on(20);
    machine.must("systemctl kill --kill-whom=main --signal=STOP postrider.service");
    machine.logged("Watchdog timeout (limit 3s)!");
    replaced(&machine, &pid);
    load.producer.goes_on(20);
    assert_eq!(machine.service("NRestarts"), "4");
    assert!(load.end(4) >= 160);
}
