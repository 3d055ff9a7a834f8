//! The Debian package: installed, upgraded under load, removed, purged.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::machine::Machine;
use super::{Load, replaced, shown_below};
use crate::support::daemon::BINARY;

/// This version, and one that is an upgrade of it.
const VERSIONS: [&str; 2] =
    [concat!(env!("CARGO_PKG_VERSION"), "-1"), concat!(env!("CARGO_PKG_VERSION"), "-2")];

/// The package in both versions, of the program under test; `POSTRIDER_TEST_BINARY` names another, such as a release.
fn packages() -> TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let binary = std::env::var("POSTRIDER_TEST_BINARY").unwrap_or_else(|_| BINARY.to_owned());
    let built = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/debian/build"))
        .args(["--fast", "--binary", &binary])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let [package, newer] = VERSIONS.map(package);
    let again = format!(
        "set -e; dpkg-deb --raw-extract {package} newer; \
         sed -i 's/^Version: .*/Version: {}/' newer/DEBIAN/control; dpkg-deb -Zgzip -z1 --build newer {newer}",
        VERSIONS[1]
    );
    let again = Command::new("sh").args(["-c", &again]).current_dir(dir.path()).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    dir
}

fn package(version: &str) -> String {
    format!("postrider_{version}_amd64.deb")
}

/// Debian's own judge of packages has nothing to say.
#[track_caller]
fn lintian(package: &Path) {
    let judged = Command::new("lintian")
        .args(["--allow-root", "--fail-on=error,warning", "--tag-display-limit=0"])
        .arg(package)
        .output()
        .expect("lintian is installed: Debian has it in a package of its name");
    let said = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success() && said.is_empty(), "{said}{}", String::from_utf8_lossy(&judged.stderr));
}

/// What tells a run of a unit from the next.
fn run_of(machine: &Machine, unit: &str) -> String {
    machine.must(&format!("systemctl show --property=InvocationID --value {unit}"))
}

#[test]
fn package_has_the_version_of_the_program() {
    let changelog = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/debian/changelog");
    let latest = format!("postrider ({}) ", VERSIONS[0]);
    assert!(std::fs::read_to_string(changelog).unwrap().starts_with(&latest), "no {latest}");
}

#[test]
fn booted_the_package_is_installed_upgraded_under_load_removed_and_purged() {
    let packages = packages();
    let judged = packages.path().join(package(VERSIONS[0]));
    let judge = std::thread::spawn(move || lintian(&judged));
    let machine = Machine::boot(&[(packages.path(), "/root/packages")]);
    // What is recommended is somewhere in a network, and this machine has none.
    machine.must("echo 'APT::Install-Recommends \"false\";' > /etc/apt/apt.conf.d/alone");
    let apt = |command: &str| machine.must(&format!("cd /root/packages\n{command} 2>&1"));
    let said = apt(shown_below("**From the package**").trim_end());
    assert!(said.contains("made the key /etc/postrider/postrider.key"), "{said}");
    installed(&machine);
    machine.must(&shown_below("**First events**"));

    upgraded_under_load(&machine, &apt);

    apt("apt-get remove --yes postrider");
    for unit in ["postrider.service", "postrider.socket", "postrider-admin.socket"] {
        assert_eq!(machine.run(&format!("systemctl is-active {unit}")).out, "inactive\n", "{unit}");
    }
    let install = format!("apt-get install ./{}", package(VERSIONS[1]));
    apt(&install);
    is_on(&machine);
    assert!(machine.must("postrider org list").contains("acme"), "removal lost the store");

    let said = apt("apt-get purge --yes postrider");
    for kept in ["/var/lib/private/postrider", "/etc/postrider/postrider.key"] {
        assert!(said.contains(&format!("postrider: kept {kept}")), "{said}");
    }
    machine.run("test -e /etc/postrider/postrider.toml").exits(1);
    apt(&install);
    assert!(machine.must("postrider org list").contains("acme"), "a purge lost the store");

    let said = apt("POSTRIDER_PURGE_DATA=yes apt-get purge --yes postrider");
    assert!(said.contains("postrider: removed the store and its key"), "{said}");
    let left = machine.must(
        "find / -xdev -name '*postrider*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/root/packages*' \
         -not -path '/tmp/*' -not -path '/var/tmp/*'",
    );
    assert_eq!(left, "", "left behind");
    judge.join().unwrap();
}

/// It runs, and will after a boot.
#[track_caller]
fn is_on(machine: &Machine) {
    for unit in ["postrider.service", "postrider.socket", "postrider-admin.socket"] {
        assert_eq!(machine.run(&format!("systemctl is-active {unit}")).out, "active\n", "{unit}");
        assert_eq!(machine.run(&format!("systemctl is-enabled {unit}")).out, "enabled\n", "{unit}");
    }
    machine.run("systemctl is-enabled postrider-sources.socket").exits(1);
}

/// Everything is in its place, and closed to others.
#[track_caller]
fn installed(machine: &Machine) {
    is_on(machine);
    assert_eq!(machine.must("stat -c '%a %U' /etc/postrider/postrider.key"), "600 root\n");
    let files = machine.must("dpkg --listfiles postrider");
    for file in [
        "/etc/postrider/postrider.toml",
        "/usr/bin/postrider",
        "/usr/lib/systemd/system/postrider-sources.socket",
        "/usr/lib/sysusers.d/postrider.conf",
        "/usr/share/bash-completion/completions/postrider",
        "/usr/share/doc/postrider/README.Debian",
        "/usr/share/fish/vendor_completions.d/postrider.fish",
        "/usr/share/man/man1/postrider-queue.1.gz",
        "/usr/share/man/man5/postrider.toml.5.gz",
        "/usr/share/zsh/vendor-completions/_postrider",
    ] {
        assert!(files.lines().any(|line| line == file), "{file} is not in {files}");
    }
    // All keys are there to be read, and none is set.
    let in_force = machine.must("postrider check-config");
    assert!(!in_force.contains("/etc/postrider/postrider.toml"), "{in_force}");
    assert!(machine.must("cat /etc/postrider/postrider.toml").contains("\n#allow_http = []\n"));
}

#[track_caller]
fn upgraded_under_load(machine: &Machine, apt: &impl Fn(&str) -> String) {
    machine.must("postrider org delete acme --discard");
    // What the operator has in it stays, and is not asked about.
    machine.must("printf '[log]\\nlevel = \"debug\"\\n' > /etc/postrider/postrider.toml");
    let load = Load::start(machine);
    let key = machine.must("sha256sum /etc/postrider/postrider.key");
    let socket = run_of(machine, "postrider.socket");
    let starts = || machine.journal().matches("Started postrider.service").count();
    let (pid, started) = (machine.service("MainPID"), starts());
    load.producer.goes_on(20);
    // What the operator switched off stays off, and what runs all the same is restarted.
    machine.must("systemctl disable postrider.service");
    apt(&format!("apt-get install ./{}", package(VERSIONS[1])));
    replaced(machine, &pid);
    load.producer.goes_on(20);
    assert_eq!(machine.must("dpkg-query --show --showformat '${Version}' postrider"), VERSIONS[1]);
    assert_eq!(starts(), started + 1, "one restart");
    machine.run("systemctl is-enabled postrider.service").exits(1);
    machine.must("systemctl enable postrider.service");
    assert_eq!(run_of(machine, "postrider.socket"), socket, "the socket was closed");
    assert_eq!(machine.must("sha256sum /etc/postrider/postrider.key"), key);
    assert!(machine.must("cat /etc/postrider/postrider.toml").contains("level = \"debug\""));
    load.end(0);
}
