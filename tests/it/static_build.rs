//! A build that needs nothing of the system it runs on: linked statically, in a directory that has nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::BINARY;
use crate::support::{Receiver, http, wait_until};

/// The library under test, linked as `-C target-feature=+crt-static` does it. What was compiled stays as it is: the flag
/// decides what the program is linked with.
fn link(to: &Path) {
    let deps = Path::new(BINARY).parent().unwrap().join("deps");
    let libraries = std::fs::read_dir(&deps).unwrap().map(|entry| entry.unwrap().path());
    let ours = libraries.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libpostrider-") && name.ends_with(".rlib")
    });
    let newest = ours.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).expect("it was built");
    let linked = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()))
        .args(["--edition=2024", "--crate-name=postrider", "--crate-type=bin"])
        .args(["-Ctarget-feature=+crt-static", "-Cstrip=symbols"])
        .arg(format!("-Ldependency={}", deps.display()))
        .arg(format!("--extern=postrider={}", newest.display()))
        .arg("-o")
        .arg(to)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs"))
        .output()
        .unwrap();
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
}

/// A root with nothing in it but the program and the devices that randomness comes from. `POSTRIDER_TEST_STATIC` names one that is linked already.
fn bare_root() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    match std::env::var_os("POSTRIDER_TEST_STATIC") {
        Some(linked) => drop(std::fs::copy(linked, root.join("postrider")).unwrap()),
        None => link(&root.join("postrider")),
    }
    std::fs::create_dir(root.join("dev")).unwrap();
    for (name, minor) in [("random", "8"), ("urandom", "9")] {
        let made = Command::new("mknod").arg(root.join("dev").join(name)).args(["c", "1", minor]).status();
        assert!(made.unwrap().success(), "making a device takes root");
    }
    (dir, root)
}

#[test]
fn static_build_delivers_from_a_root_that_has_nothing_else() {
    let (_dir, root) = bare_root();
    let postrider = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(&root).arg("/postrider").args(arguments).args(["--runtime-dir=/run", "--data=/data"]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    };
    let version = postrider(&["--version"]).output().unwrap();
    assert!(version.status.success(), "{version:?}");
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("postrider {}\n", env!("CARGO_PKG_VERSION"))
    );

    // It opens its store only if sync_file_range is its own: that is what is linked in a way that could go wrong.
    let log = root.join("log");
    let serve = ["serve", "--set=egress.allow_http=127.0.0.1/32", "--set=store.reserve_bytes=1MiB"];
    let mut daemon = postrider(&serve).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let admin = root.join("run/admin.sock");
    let said = || std::fs::read_to_string(&log).unwrap();
    wait_until("it is ready", || {
        assert!(daemon.try_wait().unwrap().is_none(), "{}", said());
        http::request(&admin, "GET", "/readyz", None).is_ok_and(|reply| reply.status == 200)
    });
    let receiver = Receiver::start();
    let put = |path: &str, body: &Value| {
        let body = body.to_string();
        http::request(&admin, "PUT", path, Some(("application/json", body.as_bytes()))).unwrap().expect(201)
    };
    put("/v1/orgs/acme", &json!({}));
    put("/v1/orgs/acme/webhooks/main", &json!({"url": receiver.url("/")}));
    std::fs::write(root.join("payload"), "{\"order\": 7}").unwrap();
    let handed_in = postrider(&["enqueue", "--org=acme", "--type=t", "/payload"]).output().unwrap();
    assert!(handed_in.status.success(), "{handed_in:?}\n{}", said());
    wait_until("it is delivered", || receiver.count() == 1);
    assert_eq!(receiver.received()[0].body, "{\"order\": 7}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
