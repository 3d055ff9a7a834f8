//! The shipped units are well-formed and lock the daemon in as tightly as a sender of HTTP can be.
//!
//! Judged by systemd's own tools, on copies whose program path is a program that is there.

use std::path::Path;
use std::process::Command;

const UNITS: [&str; 5] = [
    "postrider.service",
    "postrider.socket",
    "postrider-admin.socket",
    "postrider-sources.socket",
    "postrider-metrics.socket",
];
/// Ten times the exposure that `systemd-analyze security` may find: 1.1 of 10.
const EXPOSURE_MAX: &str = "--threshold=11";

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn copies() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for unit in UNITS {
        let text = shipped(unit).replace("/usr/bin/postrider", env!("CARGO_BIN_EXE_postrider"));
        std::fs::write(dir.path().join(unit), text).unwrap();
    }
    dir
}

#[track_caller]
fn analyze(args: &[&str], dir: &Path) -> String {
    let output = Command::new("systemd-analyze").args(args).current_dir(dir).output();
    let output = output.expect("systemd-analyze is installed: Debian has it in the package systemd");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "systemd-analyze {args:?}: {said}");
    said
}

#[test]
fn the_units_verify_without_a_word() {
    let dir = copies();
    let units = UNITS.map(|unit| format!("./{unit}"));
    let args: Vec<_> = ["verify", "--man=no"].into_iter().chain(units.iter().map(String::as_str)).collect();
    let said = analyze(&args, dir.path());
    // systemd warns about whatever other units of the machine it loads on the way; ours must not be among them.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("postrider")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn the_service_is_exposed_as_little_as_the_best_of_its_kind() {
    let dir = copies();
    analyze(&["security", "--offline=true", "--no-pager", EXPOSURE_MAX, "./postrider.service"], dir.path());
}

#[test]
fn the_units_agree_with_the_daemon() {
    for (unit, path, name, group) in [
        ("postrider.socket", "postrider.sock", "submit", "postrider-submit"),
        ("postrider-admin.socket", "admin.sock", "admin", "postrider-admin"),
    ] {
        let text = shipped(unit);
        for line in [
            format!("ListenStream=/run/postrider/{path}"),
            format!("FileDescriptorName={name}"),
            format!("SocketGroup={group}"),
            "SocketMode=0660".to_owned(),
            "Service=postrider.service".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{unit} has no {line}");
        }
        let sysusers = shipped("postrider-sysusers.conf");
        assert!(
            sysusers.lines().any(|line| line.split_whitespace().take(2).eq(["g", group])),
            "no group {group}"
        );
    }
    let sources = shipped("postrider-sources.socket");
    for line in ["ListenStream=127.0.0.1:7410", "FileDescriptorName=sources", "Service=postrider.service"] {
        assert!(sources.lines().any(|found| found == line), "postrider-sources.socket has no {line}");
    }
    let metrics = shipped("postrider-metrics.socket");
    for line in ["ListenStream=127.0.0.1:9474", "FileDescriptorName=metrics", "Service=postrider.service"] {
        assert!(metrics.lines().any(|found| found == line), "postrider-metrics.socket has no {line}");
    }
    let service = shipped("postrider.service");
    for line in [
        // systemd before 253 would treat notify-reload as simple.
        "Type=notify",
        "StartLimitIntervalSec=0",
        "LoadCredential=postrider.key:/etc/postrider/postrider.key",
        "SystemCallFilter=~sync_file_range:ENOSYS",
    ] {
        assert!(service.lines().any(|found| found == line), "postrider.service has no {line}");
    }
    // It waits for the verdict, and fails on a bad file; a signal would do neither.
    assert!(service.lines().any(|line| line == "ExecReload=+/usr/bin/postrider reload"));
}
