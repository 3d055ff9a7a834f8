//! kill -9 at no particular moment while the store is copied: what is left opens, and is what it was, or is not there.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{fill, seen, stopped, text};
use crate::cli::run;
use crate::support::{Receiver, Site, kills, wait_until};

/// Runs the command once to its end to know how long it takes, and then `kills` times to a random moment within that.
fn killed_at_random(
    (kills, seed): (u64, u64),
    make: impl Fn() -> Command,
    prepare: impl Fn(),
    check: impl Fn(),
) {
    let run = |until: Option<Duration>| {
        let mut child = make().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if let Some(until) = until {
            std::thread::sleep(until);
            child.kill().unwrap();
        }
        child.wait().unwrap()
    };
    prepare();
    let start = Instant::now();
    assert!(run(None).success());
    let whole = start.elapsed();
    check();
    let mut rng = fastrand::Rng::with_seed(seed);
    for number in 0..kills {
        prepare();
        // The end, where names change, as often as all the rest.
        let share = if number % 2 == 0 { rng.f64() } else { 0.7 + 0.3 * rng.f64() };
        run(Some(whole.mul_f64(share)));
        check();
    }
}

/// A daemon with something of everything, gone; and what was seen of it.
fn gone(site: &Site) -> serde_json::Value {
    let receiver = Receiver::start();
    let daemon = site.start();
    fill(&daemon, &receiver);
    let before = seen(&daemon);
    daemon.kill();
    before
}

#[test]
fn compacting_survives_kill_9_at_any_moment() {
    let site = Site::new();
    let before = gone(&site);
    let make = || {
        let mut command = site.command("compact");
        command.args(["--data", text(&site.data_dir())]);
        command
    };
    let (kills, seed) = kills::asked(12);
    println!("seed {seed}");
    killed_at_random((kills, seed), make, || {}, || drop(stopped(&site, &["verify"]).exits(0)));
    assert_eq!(seen(&site.start()), before);
}

#[test]
fn restoring_survives_kill_9_at_any_moment() {
    let site = Site::new();
    let before = gone(&site);
    let file = site.dir().join("backup");
    stopped(&site, &["backup", text(&file)]).exits(0);
    let store = site.data_dir().join("store");
    let make = || {
        let mut command = site.command("restore");
        command.arg(&file).args(["--data", text(&site.data_dir())]);
        command
    };
    let clear = || {
        if store.exists() {
            std::fs::remove_dir_all(&store).unwrap();
        }
    };
    let check = || {
        if store.exists() {
            stopped(&site, &["verify"]).exits(0);
        }
    };
    let (kills, seed) = kills::asked(12);
    println!("seed {seed}");
    killed_at_random((kills, seed), make, clear, check);
    clear();
    stopped(&site, &["restore", text(&file)]).exits(0);
    assert!(!site.data_dir().join("store.new").exists());
    assert_eq!(seen(&site.start()), before);
}

#[test]
fn a_start_that_compacts_survives_kill_9_at_any_moment() {
    let site = Site::new();
    let before = gone(&site);
    let (kills, seed) = kills::asked(8);
    let mut rng = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    for _ in 0..kills {
        std::fs::write(site.data_dir().join("compact.asked"), "").unwrap();
        let daemon = site.spawn(&mut site.serve_command());
        std::thread::sleep(Duration::from_millis(rng.u64(1..400)));
        daemon.kill();
        stopped(&site, &["verify"]).exits(0);
    }
    assert_eq!(seen(&site.start()), before);
}

#[test]
fn a_backup_that_is_cut_off_leaves_no_file_of_its_name() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    fill(&daemon, &receiver);
    let file = site.dir().join("backup");
    let whole = |file: &Path| run(&site, &["verify", "--backup", text(file)]).exits(0);
    let make = || {
        let mut command = site.command("backup");
        command.arg(&file);
        command
    };
    let clear = || drop(std::fs::remove_file(&file));
    let check = || {
        if file.exists() {
            whole(&file);
        }
        // Whoever was killed holds up nobody.
        wait_until("the next one is let in", || {
            daemon.admin("GET", "/v1/verify", &serde_json::Value::Null).status == 200
        });
    };
    let (kills, seed) = kills::asked(12);
    println!("seed {seed}");
    killed_at_random((kills, seed), make, clear, check);
    // The daemon's end as well.
    clear();
    let mut backup = make().stderr(Stdio::piped()).spawn().unwrap();
    daemon.kill();
    let ended = backup.wait().unwrap();
    assert_eq!(ended.success(), file.exists());
    if ended.success() {
        whole(&file);
    }
}
