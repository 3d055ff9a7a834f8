//! A moment at which the power went, and a tally of what was found after many of them.

use std::path::Path;

use tempfile::TempDir;

use super::inspect;
use super::ledger::{Broken, Ledger};
use super::receiver::ATTEMPTS;
use crate::lossyfs::{CrashState, LossyFs};

/// What survives of the unsynced: nothing, some of it torn, nearly all, all.
const KEEPS: [f64; 5] = [0.0, 0.3, 0.7, 0.95, 1.0];

/// A moment at which the power went.
pub struct Cut {
    state: CrashState,
    /// What producers and receivers had seen by then.
    pub ledger: Ledger,
    seed: u64,
    keep: f64,
}

impl Cut {
    /// Cuts now. The ledger is locked: the receiver writes a request down before it answers, so whatever the daemon has
    /// made of an answer, the ledger has that answer.
    pub fn now(fs: &LossyFs, ledger: &Ledger, random: &mut fastrand::Rng) -> Cut {
        Cut::keeping(KEEPS[random.usize(..KEEPS.len())], fs, ledger, random)
    }

    /// The same, keeping this share of what was not synced.
    pub fn keeping(keep: f64, fs: &LossyFs, ledger: &Ledger, random: &mut fastrand::Rng) -> Cut {
        let seed = random.u64(..);
        Cut { state: fs.after_cut(seed, keep), ledger: ledger.clone(), seed, keep }
    }

    /// The disk as the power cut left it.
    pub fn written_out(&self) -> TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        self.state.write_to(dir.path()).expect("a state written");
        dir
    }

    /// A file system that holds what the power cut left.
    pub fn mount(&self) -> LossyFs {
        LossyFs::mount_copy_of(self.written_out().path())
    }

    /// What time goes on from: what came after the cut has not happened.
    pub fn ledger_after(&self) -> Ledger {
        Ledger { crashes: self.ledger.crashes + 1, ..self.ledger.clone() }
    }

    /// Opens the store below `data` and compares.
    fn judge(&self, data: &Path) -> Vec<Broken> {
        match inspect::inspect(&self.written_out().path().join(data)) {
            Ok(found) => self.ledger.judge(&found, ATTEMPTS),
            Err(error) => vec![Broken::NotOpened(error)],
        }
    }
}

/// What a run of crash states found.
#[derive(Default)]
pub struct Report {
    /// States that were opened.
    pub states: u64,
    /// Of these, those that had lost something acknowledged.
    pub lost: u64,
    /// Of these, those that did not open.
    pub unopened: u64,
    /// A line for each state with a broken promise.
    pub broken: Vec<String>,
}

impl Report {
    /// Opens the store below `data` as the cut left it and notes what is broken.
    pub fn add(&mut self, cut: &Cut, data: &Path) {
        let broken = cut.judge(data);
        self.states += 1;
        self.lost += u64::from(broken.iter().any(|broken| matches!(broken, Broken::Lost(_))));
        self.unopened += u64::from(broken.iter().any(|broken| matches!(broken, Broken::NotOpened(_))));
        if !broken.is_empty() {
            // To be looked at: the state itself, as it was before it was opened.
            if let Some(dir) = std::env::var_os("POSTRIDER_TEST_KEEP") {
                let dir = Path::new(&dir).join(format!("state-{}-{}", self.states, cut.seed));
                cut.state.write_to(&dir).expect("a state kept");
            }
            let few: Vec<String> = broken.iter().take(5).map(ToString::to_string).collect();
            let (acknowledged, requests) = (cut.ledger.acknowledged.len(), cut.ledger.requests.len());
            self.broken.push(format!(
                "state {} (seed {}, keep {}, {acknowledged} acknowledged, {requests} requests): {} broken: {}",
                self.states,
                cut.seed,
                cut.keep,
                broken.len(),
                few.join(", ")
            ));
        }
    }
}
