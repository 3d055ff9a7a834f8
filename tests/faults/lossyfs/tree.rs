//! PURE. What the file system holds, twice: the live state, which programs see, and the durable state, which is sure to
//! be there after a power cut. What lies between the two is a list of changes in the order in which they were made.
//!
//! The rules follow ext4 with ordered data, made as hostile as it may legally be:
//! - data written since the file's last fsync survives sector by sector, each by chance, in any order; within one sector
//!   a later write never survives without the earlier one (a sector goes to the disk whole);
//! - a change of size survives by chance; what was written beyond a lost shrink is lost with it;
//! - changes of a directory survive in order, up to a random point (a journal has an order);
//! - fsync of a file makes its data and size durable and, if it never was, its entry, with all earlier changes of that
//!   directory (they are in the same journal transaction); fsync of a directory makes its entries durable.
//!
//! It is no file system of its own: `fuse.rs` serves it, `mod.rs` mounts it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The unit in which a disk writes: all of it or nothing.
pub const SECTOR: usize = 512;
/// The root directory's inode number, as FUSE wants it.
pub const ROOT: u64 = 1;

/// A file or directory.
#[derive(Debug)]
pub struct Node {
    /// What it holds.
    pub body: Body,
    /// The permission bits.
    pub mode: u32,
    /// The directory it lives in, and its name there.
    pub parent: u64,
    /// Its name in the live state.
    pub name: OsString,
    /// Whether its entry has ever been made durable.
    anchored: bool,
}

/// What a node holds.
#[derive(Debug)]
pub enum Body {
    /// Bytes.
    File(File),
    /// Names.
    Dir(Dir),
}

/// A regular file.
#[derive(Debug, Default)]
pub struct File {
    /// What a read answers.
    pub live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<FileChange>,
}

/// A directory.
#[derive(Debug, Default)]
pub struct Dir {
    /// What a listing answers.
    pub live: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
    pending: Vec<DirChange>,
}

#[derive(Debug)]
enum FileChange {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

#[derive(Debug)]
enum DirChange {
    Link(OsString, u64),
    Unlink(OsString),
    Rename(OsString, OsString, u64),
}

impl DirChange {
    fn apply(&self, entries: &mut BTreeMap<OsString, u64>) {
        match self {
            DirChange::Link(name, ino) => {
                entries.insert(name.clone(), *ino);
            }
            DirChange::Unlink(name) => {
                entries.remove(name);
            }
            DirChange::Rename(from, to, ino) => {
                entries.remove(from);
                entries.insert(to.clone(), *ino);
            }
        }
    }

    fn adds(&self, wanted: u64) -> bool {
        matches!(self, DirChange::Link(_, ino) | DirChange::Rename(_, _, ino) if *ino == wanted)
    }
}

fn write_at(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let end = at + piece.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(piece);
}

/// Splits a write at sector borders: offset and bytes of each piece.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let head = (SECTOR - at % SECTOR).min(bytes.len());
    let (first, rest) = bytes.split_at(head);
    let aligned = at + head;
    std::iter::once((at, first))
        .chain(rest.chunks(SECTOR).enumerate().map(move |(n, piece)| (aligned + n * SECTOR, piece)))
        .filter(|(_, piece)| !piece.is_empty())
}

impl File {
    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                FileChange::Write { at, bytes } => write_at(&mut self.durable, at, &bytes),
                FileChange::Resize(size) => self.durable.resize(size, 0),
            }
        }
    }

    /// One legal content after a power cut; `keeps` rolls for each sector and each change of size.
    fn after_cut(&self, keeps: &mut dyn FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mut lost = HashSet::new();
        let mut lost_from = usize::MAX;
        for change in &self.pending {
            match change {
                FileChange::Resize(size) if keeps() => bytes.resize(*size, 0),
                FileChange::Resize(size) => lost_from = lost_from.min(*size),
                FileChange::Write { at, bytes: written } => {
                    for (at, piece) in sectors(*at, written) {
                        let sector = at / SECTOR;
                        if lost.contains(&sector) {
                            continue;
                        }
                        if at + piece.len() <= lost_from && keeps() {
                            write_at(&mut bytes, at, piece);
                        } else {
                            lost.insert(sector);
                        }
                    }
                }
            }
        }
        bytes
    }
}

/// A legal tree after a power cut, as plain paths.
#[derive(Debug, Default)]
pub struct CrashState {
    /// Each directory and file with its permission bits; `None` is a directory.
    pub entries: Vec<(PathBuf, u32, Option<Vec<u8>>)>,
}

/// The whole file system.
#[derive(Debug)]
pub struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
}

impl Tree {
    /// Only a root directory, durable.
    pub fn new() -> Tree {
        let root = Node {
            body: Body::Dir(Dir::default()),
            mode: 0o755,
            parent: ROOT,
            name: OsString::new(),
            anchored: true,
        };
        Tree { nodes: HashMap::from([(ROOT, root)]), next: ROOT + 1 }
    }

    /// The node of this number.
    pub fn node(&self, ino: u64) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    /// The node of this number, to change what needs no durability (permission bits).
    pub fn node_mut(&mut self, ino: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&ino)
    }

    /// The live entry `name` of directory `parent`.
    pub fn child(&self, parent: u64, name: &OsStr) -> Option<u64> {
        match &self.nodes.get(&parent)?.body {
            Body::Dir(dir) => dir.live.get(name).copied(),
            Body::File(_) => None,
        }
    }

    fn dir(&mut self, ino: u64) -> Option<&mut Dir> {
        match &mut self.nodes.get_mut(&ino)?.body {
            Body::Dir(dir) => Some(dir),
            Body::File(_) => None,
        }
    }

    fn file(&mut self, ino: u64) -> Option<&mut File> {
        match &mut self.nodes.get_mut(&ino)?.body {
            Body::File(file) => Some(file),
            Body::Dir(_) => None,
        }
    }

    fn change_dir(&mut self, ino: u64, change: DirChange) {
        if let Some(dir) = self.dir(ino) {
            change.apply(&mut dir.live);
            dir.pending.push(change);
        }
    }

    /// Adds an empty file or directory.
    pub fn create(&mut self, parent: u64, name: &OsStr, mode: u32, is_dir: bool) -> u64 {
        let ino = self.next;
        self.next += 1;
        let body = if is_dir { Body::Dir(Dir::default()) } else { Body::File(File::default()) };
        self.nodes.insert(ino, Node { body, mode, parent, name: name.to_owned(), anchored: false });
        self.change_dir(parent, DirChange::Link(name.to_owned(), ino));
        ino
    }

    /// Gives a file a second name.
    pub fn link(&mut self, ino: u64, parent: u64, name: &OsStr) {
        self.change_dir(parent, DirChange::Link(name.to_owned(), ino));
    }

    /// Removes an entry; answers whether it was there.
    pub fn unlink(&mut self, parent: u64, name: &OsStr) -> bool {
        let found = self.child(parent, name).is_some();
        if found {
            self.change_dir(parent, DirChange::Unlink(name.to_owned()));
        }
        found
    }

    /// Renames an entry, replacing what is there; answers whether it was there.
    pub fn rename(&mut self, parent: u64, name: &OsStr, new_parent: u64, new_name: &OsStr) -> bool {
        let Some(ino) = self.child(parent, name) else { return false };
        if parent == new_parent {
            self.change_dir(parent, DirChange::Rename(name.to_owned(), new_name.to_owned(), ino));
        } else {
            self.change_dir(new_parent, DirChange::Link(new_name.to_owned(), ino));
            self.change_dir(parent, DirChange::Unlink(name.to_owned()));
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.parent = new_parent;
            new_name.clone_into(&mut node.name);
        }
        true
    }

    /// Writes into the live state of a file.
    pub fn write(&mut self, ino: u64, at: usize, bytes: &[u8]) {
        if let Some(file) = self.file(ino) {
            write_at(&mut file.live, at, bytes);
            file.pending.push(FileChange::Write { at, bytes: bytes.to_vec() });
        }
    }

    /// Cuts or extends the live state of a file.
    pub fn resize(&mut self, ino: u64, size: usize) {
        if let Some(file) = self.file(ino) {
            file.live.resize(size, 0);
            file.pending.push(FileChange::Resize(size));
        }
    }

    /// Makes a file or directory durable, as fsync does.
    pub fn sync(&mut self, ino: u64) {
        let Some(node) = self.nodes.get_mut(&ino) else { return };
        match &mut node.body {
            Body::File(file) => file.sync(),
            Body::Dir(dir) => {
                dir.pending.clear();
                dir.durable = dir.live.clone();
            }
        }
        let mut ino = ino;
        while let Some(node) = self.nodes.get_mut(&ino)
            && !node.anchored
        {
            node.anchored = true;
            let parent = node.parent;
            if let Some(dir) = self.dir(parent) {
                let upto = dir.pending.iter().rposition(|change| change.adds(ino)).map_or(0, |at| at + 1);
                for change in dir.pending.drain(..upto) {
                    change.apply(&mut dir.durable);
                }
            }
            ino = parent;
        }
    }

    /// What a failed fsync leaves behind on Linux: the pages are marked clean, so the next fsync succeeds, and what was
    /// pending never gets to the disk.
    pub fn forget_pending(&mut self, ino: u64) {
        if let Some(file) = self.file(ino) {
            file.pending.clear();
        }
    }

    /// Makes everything durable.
    pub fn sync_all(&mut self) {
        let all: Vec<_> = self.nodes.keys().copied().collect();
        for ino in all {
            self.sync(ino);
        }
    }

    /// Bytes in all files that have a name.
    pub fn used(&self) -> u64 {
        self.nodes
            .values()
            .map(|node| match &node.body {
                Body::Dir(dir) => dir.live.values().map(|ino| self.file_len(*ino)).sum(),
                Body::File(_) => 0,
            })
            .sum()
    }

    /// A file's length; 0 for a directory.
    pub fn file_len(&self, ino: u64) -> u64 {
        match self.nodes.get(&ino).map(|node| &node.body) {
            Some(Body::File(file)) => file.live.len() as u64,
            _ => 0,
        }
    }

    /// A legal tree after a power cut now. Each unsynced change survives with probability `keep`: 0 is only what was made
    /// durable, 1 is everything. The same seed gives the same tree.
    pub fn after_cut(&self, seed: u64, keep: f64) -> CrashState {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut state = CrashState::default();
        self.dir_after_cut(ROOT, Path::new(""), &mut || random.f64() < keep, &mut state);
        state
    }

    /// The live tree.
    pub fn live(&self) -> CrashState {
        let mut state = CrashState::default();
        self.dir_live(ROOT, Path::new(""), &mut state);
        state
    }

    fn dir_live(&self, ino: u64, path: &Path, state: &mut CrashState) {
        let Some(Node { body: Body::Dir(dir), .. }) = self.nodes.get(&ino) else { return };
        for (name, child) in &dir.live {
            let Some(node) = self.nodes.get(child) else { continue };
            let path = path.join(name);
            match &node.body {
                Body::File(file) => state.entries.push((path, node.mode, Some(file.live.clone()))),
                Body::Dir(_) => {
                    state.entries.push((path.clone(), node.mode, None));
                    self.dir_live(*child, &path, state);
                }
            }
        }
    }

    fn dir_after_cut(&self, ino: u64, path: &Path, keeps: &mut dyn FnMut() -> bool, state: &mut CrashState) {
        let Some(Node { body: Body::Dir(dir), .. }) = self.nodes.get(&ino) else { return };
        let mut entries = dir.durable.clone();
        for change in dir.pending.iter().take_while(|_| keeps()) {
            change.apply(&mut entries);
        }
        for (name, child) in entries {
            let Some(node) = self.nodes.get(&child) else { continue };
            let path = path.join(&name);
            match &node.body {
                Body::File(file) => {
                    let bytes = file.after_cut(keeps);
                    state.entries.push((path, node.mode, Some(bytes)));
                }
                Body::Dir(_) => {
                    state.entries.push((path.clone(), node.mode, None));
                    self.dir_after_cut(child, &path, keeps, state);
                }
            }
        }
    }
}
