//! Compacting and restoring on a disk that loses what was not synced: cut at any moment, there is the store as it was, or
//! none where none has been.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::lossyfs::LossyFs;
use crate::rig::cut::{Cut, Report};
use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::ledger::Ledger;
use crate::rig::load::{self, Load, Numbers};
use crate::rig::receiver::{Receiver, SharedLedger, lock};
use crate::rig::{alone, inspect};

/// Events that have gone through before.
const EVENTS: usize = 300;
/// States that are looked at.
const STATES: usize = 16;

/// A disk with the store of a stopped daemon in `data`, and what its producers and receivers have seen.
struct Sample {
    fs: LossyFs,
    ledger: SharedLedger,
    options: Options,
    _keys: tempfile::TempDir,
}

impl Sample {
    fn make() -> Sample {
        let keys = tempfile::tempdir().expect("a directory");
        let key_file = keys.path().join("key");
        inspect::write_key(&key_file);
        let options = Options { key_file: Some(key_file), ..Options::default() };
        let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
        let receiver = Receiver::start(Arc::clone(&ledger));
        let fs = LossyFs::mount();
        let daemon = Daemon::start(&fs.path().join("data"), &options);
        load::configure(&daemon, &receiver);
        let load = Load::start(&daemon.submit_socket(), &ledger, &Numbers::default());
        wait_until("enough has gone through", || lock(&ledger).acknowledged.len() > EVENTS);
        load.stop();
        assert!(daemon.stop().success());
        Sample { fs, ledger, options, _keys: keys }
    }

    fn command(&self, arguments: &[&str], data: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command.args(arguments).arg("--data").arg(data);
        command.arg("--key-file").arg(self.options.key_file.as_ref().expect("a key"));
        command.env_clear().env("HOME", "/nonexistent").stdout(Stdio::null());
        command.spawn().expect("a command")
    }

    /// Runs a command, and cuts whenever it has written or synced something, until it has ended.
    fn cut_while(&self, mut command: Child, random: &mut fastrand::Rng) -> Vec<Cut> {
        let (mut cuts, mut before) = (Vec::new(), self.fs.counters());
        wait_until("the command has ended", || {
            if self.fs.counters() != before {
                before = self.fs.counters();
                cuts.push(Cut::now(&self.fs, &lock(&self.ledger), random));
            }
            command.try_wait().expect("a child").is_some_and(|status| {
                assert!(status.success());
                true
            })
        });
        // The end, where names change, and some of the rest.
        let mut chosen = cuts.split_off(cuts.len().saturating_sub(STATES / 2));
        random.shuffle(&mut cuts);
        chosen.extend(cuts.into_iter().take(STATES / 2));
        chosen
    }
}

#[test]
fn compacting_may_be_cut_at_any_moment() {
    let _alone = alone();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let sample = Sample::make();
    let data = sample.fs.path().join("data");
    let cuts = sample.cut_while(sample.command(&["compact"], &data), &mut random);
    let mut report = Report::default();
    for cut in &cuts {
        report.add(cut, Path::new("data"));
    }
    report.add(&Cut::keeping(0.0, &sample.fs, &lock(&sample.ledger), &mut random), Path::new("data"));
    println!("{} crash states", report.states);
    assert!(report.broken.is_empty(), "seed {seed}:\n{}", report.broken.join("\n"));
}

#[test]
fn restoring_may_be_cut_at_any_moment() {
    let _alone = alone();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let sample = Sample::make();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let file = elsewhere.path().join("backup");
    let (data, other) = (sample.fs.path().join("data"), sample.fs.path().join("other"));
    let file = file.to_str().expect("a path");
    assert!(sample.command(&["backup", file], &data).wait().expect("a child").success());
    let mut report = Report::default();
    for cut in sample.cut_while(sample.command(&["restore", file], &other), &mut random) {
        if cut.written_out().path().join("other/store").exists() {
            report.add(&cut, Path::new("other"));
        }
    }
    // Once it has said so, it is there.
    report.add(&Cut::keeping(0.0, &sample.fs, &lock(&sample.ledger), &mut random), Path::new("other"));
    println!("{} crash states with a store", report.states);
    assert!(report.broken.is_empty(), "seed {seed}:\n{}", report.broken.join("\n"));
}
