//! Verifying: every record of every tree is opened and judged, and nothing is changed.
//!
//! **Running**: the records are read beside the work that goes on. What looks wrong may have been caught half-way, so it is
//! judged again by the committer, where nothing changes meanwhile; only what is wrong there is a fault.
//!
//! **Stopped**: opening the store alone would change it (sled trims its log, recovery mends), so a copy of its files is
//! opened. The copy lies beside the store for as long as it takes, and costs as much space; on file systems that can
//! share blocks, none.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::judge::{Judge, Judged};
use super::kind::{Fault, KINDS, Kind, fault_at, kind_of};
use crate::queue::place::Place;
use crate::queue::store::{SealedTree, Store, Trouble};
use crate::queue::{OpenError, Queue, Refused, StoreHealth, StoreOptions};

/// Faults that are told one by one; the rest are counted.
const FAULTS_MAX: usize = 1000;
/// Suspects judged by the committer at a time: bounds how long a change waits for them.
const SUSPECTS_PER_STEP: usize = 32;
/// Suspects remembered: a store with more is beyond telling apart, and all of them are judged all the same.
const SUSPECTS_MAX: usize = 100_000;
/// Records between two looks at whether to go on.
const ROWS_PER_LOOK: u64 = 1024;
/// Where a stopped store is copied to.
pub(super) const COPY: &str = ".verify";

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Records looked at.
    pub records: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Records by kind.
    pub counts: BTreeMap<Kind, u64>,
    /// Records that a crash left for the next start to finish or sweep.
    pub unfinished: u64,
    /// How many faults there are.
    pub faults_total: u64,
    /// The first of them.
    pub faults: Vec<Fault>,
}

impl Verified {
    fn new() -> Verified {
        Verified { counts: KINDS.map(|kind| (kind, 0)).into(), ..Verified::default() }
    }

    fn fault(&mut self, fault: Fault) {
        self.faults_total += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// Of the store as a whole.
    fn fault_of_store(&mut self, why: String) {
        self.fault(Fault { tree: "store".to_owned(), kind: None, org: None, sequence: None, why });
    }
}

/// A record to be judged again.
struct Suspect {
    tree: Vec<u8>,
    key: Vec<u8>,
    why: String,
}

impl Queue {
    /// Checks every record beside the work that goes on.
    pub async fn verify(&self) -> Result<Verified, Refused> {
        let health = self.health();
        let is_open = move || !matches!(*health.borrow(), StoreHealth::Failed(_));
        let walked = self.read_store(move |store| Ok(walk(store, true, &is_open))).await?;
        let closing = || Refused::Unavailable("the store is closing".to_owned());
        let (mut verified, mut suspects) = walked.ok_or_else(closing)?;
        while !suspects.is_empty() {
            let portion = suspects.split_off(suspects.len().saturating_sub(SUSPECTS_PER_STEP));
            let faults = self.commit(0, move |writer| Ok(Ok(judge_again(&writer.store, portion)?))).await?;
            for fault in faults {
                verified.fault(fault);
            }
        }
        Ok(verified)
    }

    /// Checks every record of a stopped store, and leaves the store as it is. Blocking.
    pub fn verify_stopped(options: &StoreOptions) -> Result<Verified, OpenError> {
        let place = Place::claim(&options.data_dir)?;
        let copy = options.data_dir.join(COPY);
        let trouble = |error: io::Error| {
            OpenError::Refused(format!("cannot copy the store to {} to look at it: {error}", copy.display()))
        };
        remove_dir(&copy).map_err(trouble)?;
        let copied = copy_dir(&place.store_dir(), &copy.join("store"));
        let verified = copied.map_err(trouble).and_then(|()| verify_copy(options, &copy));
        remove_dir(&copy).map_err(trouble)?;
        verified
    }
}

/// Opens the store in this directory, which nobody else needs, and checks it.
pub(super) fn verify_copy(options: &StoreOptions, dir: &Path) -> Result<Verified, OpenError> {
    let store = Store::open(&StoreOptions { data_dir: dir.to_owned(), ..options.clone() })?;
    let Some((mut verified, suspects)) = walk(&store, false, &|| true) else {
        return Err(OpenError::Refused("the store was not read to its end".to_owned()));
    };
    for suspect in suspects {
        verified.fault(fault_at(&suspect.tree, &suspect.key, suspect.why));
    }
    if let Err(trouble) = store.last_commit() {
        verified.fault_of_store(trouble.to_string());
    }
    Ok(verified)
}

/// Looks at everything once, as long as it may: a daemon that stops waits for no reader.
fn walk(store: &Store, live: bool, may_go_on: &dyn Fn() -> bool) -> Option<(Verified, Vec<Suspect>)> {
    let (mut verified, mut suspects) = (Verified::new(), Vec::new());
    let judge = Judge::new(store, live);
    for tree in store.all_trees() {
        if let Err(trouble) = walk_tree(tree, &judge, &mut verified, &mut suspects, may_go_on) {
            verified.fault(fault_at(&tree.name(), &[], trouble.to_string()));
        }
    }
    if !may_go_on() {
        return None;
    }
    for name in store.foreign_trees() {
        let why = format!("there is a tree \"{}\", which is not postrider's", name.escape_debug());
        verified.fault_of_store(why);
    }
    match store.place.blob_files() {
        0 => {}
        files => verified.fault_of_store(format!("there are {files} files in blobs, which must be empty")),
    }
    Some((verified, suspects))
}

fn walk_tree(
    tree: &SealedTree,
    judge: &Judge<'_>,
    verified: &mut Verified,
    suspects: &mut Vec<Suspect>,
    may_go_on: &dyn Fn() -> bool,
) -> Result<(), Trouble> {
    for row in tree.rows::<[u8; 0]>(..) {
        let row = row?;
        if verified.records.is_multiple_of(ROWS_PER_LOOK) && !may_go_on() {
            return Ok(());
        }
        verified.records += 1;
        verified.bytes += row.sealed.len() as u64;
        if let Some(kind) = kind_of(&tree.name(), &row.key) {
            *verified.counts.entry(kind).or_default() += 1;
        }
        match judge.judge(tree, &row)? {
            Judged::Sound => {}
            Judged::Unfinished => verified.unfinished += 1,
            Judged::Faulty(why) if suspects.len() < SUSPECTS_MAX => {
                suspects.push(Suspect { tree: tree.name(), key: row.key.to_vec(), why });
            }
            Judged::Faulty(why) => verified.fault(fault_at(&tree.name(), &row.key, why)),
        }
    }
    Ok(())
}

/// What is still wrong with those that are still there. On the committer's thread.
fn judge_again(store: &Store, suspects: Vec<Suspect>) -> Result<Vec<Fault>, Trouble> {
    let judge = Judge::new(store, true);
    let mut faults = Vec::new();
    for Suspect { tree: name, key, .. } in suspects {
        let Some(tree) = store.tree_named(&name) else { continue };
        let Some(row) = tree.row(&key)? else { continue };
        if let Judged::Faulty(why) = judge.judge(tree, &row)? {
            faults.push(fault_at(&name, &key, why));
        }
    }
    Ok(faults)
}

/// Copies files and directories.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Removes a directory, if it is there.
pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
