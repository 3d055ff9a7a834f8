//! Damaged files: whatever happened to the store's files, the daemon refuses loudly or sets the damage aside. It never
//! sends a wrong body, never loses something without a word, never starts empty where a store has been, and a torn
//! temporary file of sled's keeps nothing from opening.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::http::Connection;
use crate::rig::ledger::{Broken, Ledger};
use crate::rig::load;
use crate::rig::receiver::{ATTEMPTS, Receiver, SharedLedger, lock};
use crate::rig::{alone, inspect};

/// Orgs whose deliveries all wait; those of the others die.
const PAUSED: [&str; 3] = ["acme", "blue", "coop"];

/// A store with some hundred deliveries waiting and some dead letters, and the ledger of how it came about.
struct Sample {
    dir: TempDir,
    ledger: SharedLedger,
    _receiver: Receiver,
    options: Options,
}

impl Sample {
    fn make() -> Sample {
        let dir = tempfile::tempdir().expect("a directory");
        let key_file = dir.path().join("key");
        inspect::write_key(&key_file);
        let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
        let receiver = Receiver::start(Arc::clone(&ledger));
        receiver.refuse_all(true);
        let options = Options { key_file: Some(key_file), ..Options::default() };
        let daemon = Daemon::start(&dir.path().join("data"), &options);
        load::configure(&daemon, &receiver);
        for org in PAUSED {
            assert_eq!(daemon.admin("POST", &format!("/v1/orgs/{org}/pause"), "{}").status, 200);
        }
        let mut connection = Connection::open(&daemon.submit_socket()).expect("a socket");
        for number in 0..200 {
            let org = load::ORGS[number % load::ORGS.len()];
            let id = format!("{org}-{number}");
            assert_eq!(load::enqueue(&mut connection, &ledger, org, &id).expect("an answer"), 202);
        }
        wait_until("some are dead", || {
            daemon.admin("GET", "/v1/dead-letters", "").body["items"].as_array().is_some_and(|i| i.len() > 3)
        });
        assert!(daemon.stop().success());
        receiver.refuse_all(false);
        Sample { dir, ledger, _receiver: receiver, options }
    }

    /// A copy of the data directory, to damage.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a directory");
        copy_dir(&self.dir.path().join("data"), &copy.path().join("data"));
        copy
    }

    /// Opens a damaged copy: what the store then says although it is not so. `None` if it refused to open.
    fn believes(&self, copy: &Path) -> Option<Vec<Broken>> {
        let found = match inspect::inspect(&copy.join("data")) {
            Ok(found) => found,
            Err(error) if error == inspect::PANICKED => panic!("{error}"),
            Err(_) => return None,
        };
        let mut broken = lock(&self.ledger).judge(&found, ATTEMPTS);
        let reported = found.quarantined > 0;
        broken.retain(|broken| match broken {
            Broken::Unreadable(_) => false,
            // What was set aside is missing, its org goes on behind it, and no one hides it.
            Broken::Lost(_) | Broken::RanAhead(_) | Broken::Miscounted { .. } => !reported,
            _ => true,
        });
        Some(broken)
    }

    /// The real daemon on a damaged copy ends by itself, with an error and a reason.
    #[track_caller]
    fn refuses(&self, copy: &Path, what: &str) {
        let mut daemon = Daemon::spawn(&copy.join("data"), &self.options);
        let status = daemon.wait_for_exit();
        assert!(!status.success(), "{what}: {status}\n{}", daemon.log());
        assert!(daemon.log().contains("store"), "{what}: it does not say what is wrong:\n{}", daemon.log());
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// The files of the store, whose names start like this.
fn store_files(copy: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
    let named = |name: &str| name.starts_with(prefix);
    let mut files: Vec<_> = walk(&copy.join("data/store"))
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| named(&name.to_string_lossy())))
        .collect();
    files.sort();
    files
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        if entry.file_type().expect("a type").is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

fn the_log(copy: &Path) -> std::path::PathBuf {
    store_files(copy, "db").pop().expect("a log")
}

/// How far into the file something is written.
fn used_bytes(path: &Path) -> usize {
    let bytes = fs::read(path).expect("a file");
    bytes.iter().rposition(|byte| *byte != 0).expect("a file with something in it")
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("a byte written");
}

#[test]
fn damaged_files_are_refused_or_set_aside() {
    let _alone = alone();
    let sample = Sample::make();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let log = fs::read(the_log(sample.dir.path())).expect("a log");
    let used = used_bytes(&the_log(sample.dir.path()));
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..40 {
        let copy = sample.copy();
        let file = the_log(copy.path());
        let what = if round % 4 == 3 {
            let length = random.usize(1..used) as u64;
            fs::OpenOptions::new()
                .write(true)
                .open(&file)
                .and_then(|file| file.set_len(length))
                .expect("cut");
            format!("seed {seed}: cut to {length} of {used} bytes")
        } else {
            let written: usize =
                std::iter::repeat_with(|| random.usize(..used)).find(|at| log[*at] != 0).unwrap_or(0);
            flip(&file, written as u64);
            format!("seed {seed}: byte {written} of {used} flipped")
        };
        match sample.believes(copy.path()) {
            None => refused += 1,
            Some(broken) if broken.is_empty() => harmless += 1,
            Some(broken) => panic!("{what}: opened without a word, and {broken:?}"),
        }
    }
    println!("{refused} refused, {harmless} harmless or set aside, seed {seed}");
    assert!(refused > 0, "no damage was ever noticed");
}

#[test]
fn a_log_full_of_flipped_bytes_is_refused_with_a_reason() {
    let _alone = alone();
    let sample = Sample::make();
    let copy = sample.copy();
    let file = the_log(copy.path());
    let used = used_bytes(&file);
    for at in (used / 2..used).step_by(used / 50) {
        flip(&file, at as u64);
    }
    for start in 1..=2 {
        sample.refuses(copy.path(), &format!("start {start} on a log full of flipped bytes"));
    }
}

#[test]
fn a_missing_log_is_never_replaced_by_an_empty_one() {
    let _alone = alone();
    let sample = Sample::make();
    for prefixes in [&["db"][..], &["db", "snap"], &["db", "snap", "conf"]] {
        let copy = sample.copy();
        for path in prefixes.iter().flat_map(|prefix| store_files(copy.path(), prefix)) {
            fs::remove_file(path).expect("a file removed");
        }
        sample.refuses(copy.path(), &format!("without {prefixes:?}"));
        sample.refuses(copy.path(), &format!("without {prefixes:?}, once more"));
    }
}

#[test]
fn a_torn_temporary_snapshot_keeps_nothing_from_opening() {
    let _alone = alone();
    let sample = Sample::make();
    let copy = sample.copy();
    let snapshot = store_files(copy.path(), "snap").pop().expect("a snapshot");
    let whole = fs::read(&snapshot).expect("a snapshot");
    let torn = snapshot.with_file_name("snap.FFFFFFFFFFFFFFF0.generating");
    fs::write(torn, &whole[..whole.len() / 2]).expect("a torn snapshot");
    let found = inspect::inspect(&copy.path().join("data")).expect("a store that opens");
    assert_eq!(lock(&sample.ledger).judge(&found, ATTEMPTS), []);
}

/// A snapshot says which segments of the log are free and have been overwritten: without it, sled would take the rest of
/// the log for torn and wipe it. So the log is left alone.
#[test]
fn a_store_without_its_snapshot_is_refused_and_left_as_it_is() {
    let _alone = alone();
    let sample = Sample::make();
    for damage in ["flipped", "removed"] {
        let copy = sample.copy();
        let snapshot = store_files(copy.path(), "snap").pop().expect("a snapshot");
        match damage {
            "flipped" => flip(&snapshot, 20),
            _ => fs::remove_file(&snapshot).expect("a file removed"),
        }
        let log = fs::read(the_log(copy.path())).expect("a log");
        sample.refuses(copy.path(), damage);
        assert!(fs::read(the_log(copy.path())).expect("a log") == log, "{damage}: the log was changed");
    }
}
