//! The state directory: whose it is, who has it now, and how a store comes into being whole or not at all.
//!
//! ```text
//! postrider.lock   held while the store is open; holds the process id
//! ballast          space given back when a full disk keeps the store from opening
//! store/           sled's directory, published by one rename
//!   COMMITTED      the number of the last commit: see mark.rs
//!   FORMAT         format version and key ids: see format.rs
//! history/         what was delivered: see history/
//! store.made       says that a store was made here: where it is gone, none is made in its place
//! store.new/       a creation or restoration that was cut off; removed
//! `.compact-new/`  a rewriting of the store, and `.compact-old/` what it replaces: see swap.rs
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};

use super::OpenError;
pub(super) use super::format::FORMAT;
use super::format::Keys;
use super::seal::Ring;
use super::swap;

const LOCK: &str = "postrider.lock";
pub(super) const STORE: &str = "store";
const STORE_NEW: &str = "store.new";
const FORMAT_NEW: &str = "FORMAT.new";
const BALLAST: &str = "ballast";
const MADE: &str = "store.made";
const HISTORY: &str = "history";
/// What is set aside for opening and draining on a full disk: opening writes a snapshot and pads the segment at the
/// log's end, draining needs log space for its removals.
const BALLAST_BYTES: u64 = 32 << 20;
/// Free space that is left alone by default: this, or a twentieth of the disk if that is less.
const RESERVE_BYTES: u64 = 512 << 20;
/// The default reserve is never below what two segments of the log take.
const RESERVE_BYTES_MIN: u64 = 16 << 20;

/// How long to wait for sled to let go of its file.
const LOCK_RETRY: Duration = Duration::from_millis(10);
const LOCK_TRIES: u32 = 1000;

/// A locked state directory.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// Held for its lock; the kernel lets go of it however the process ends.
    _lock: File,
}

/// What was found in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// With what its marker says of keys.
    Store(Keys),
}

fn refused(text: String) -> OpenError {
    OpenError::Refused(text)
}

fn trouble(what: &str, path: &Path, error: &io::Error) -> OpenError {
    let mut text = format!("cannot {what} {}: {error}", path.display());
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        text.push_str(
            "; the file system is read-only: make it writable (mount -o remount,rw) and start again",
        );
    }
    if error.kind() == io::ErrorKind::StorageFull { OpenError::DiskFull(text) } else { refused(text) }
}

impl Place {
    /// Creates the directory if need be and takes its lock.
    pub(super) fn claim(dir: &Path) -> Result<Place, OpenError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| trouble("create the state directory", dir, &error))?;
        let path = dir.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| trouble("open", &path, &error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let known = lock.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
            return Err(OpenError::Locked { path: dir.display().to_string(), holder });
        }
        let write = |lock: &mut File| -> io::Result<()> {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        // On a full disk the number is missing from a message, nothing more.
        if let Err(error) = write(&mut lock) {
            tracing::debug!(%error, "the lock file does not name this process");
        }
        Ok(Place { dir: dir.to_owned(), _lock: lock })
    }

    /// The state directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where sled works.
    pub(super) fn store_dir(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    /// Where the history is, if there is one.
    pub(super) fn history_dir(&self) -> PathBuf {
        self.dir.join(HISTORY)
    }

    /// Looks what is there and whether it is ours, written in a format and with a key that we have. Changes nothing
    /// but the remains of a creation that was cut off.
    pub(super) fn inspect(&self, ring: &Ring) -> Result<Found, OpenError> {
        swap::settle(&self.dir)
            .map_err(|error| trouble("finish the swap of the store in", &self.dir, &error))?;
        let store = self.store_dir();
        if !store.exists() {
            refuse_foreign(&self.dir)?;
            if self.dir.join(MADE).exists() {
                return Err(refused(format!(
                    "{} held a store and its directory {STORE} is gone: restore it from a backup, or remove the file \
                     {MADE} to start empty",
                    self.dir.display()
                )));
            }
            // Its numbers of orgs would be given to others.
            if self.history_dir().exists() {
                return Err(refused(format!(
                    "{} holds the history of a store that is gone: restore that from a backup, or move the directory \
                     {HISTORY} away to start empty",
                    self.dir.display()
                )));
            }
            self.remove_unfinished()?;
            return Ok(Found::Nothing);
        }
        let marker = store.join(FORMAT);
        let text = fs::read_to_string(&marker).map_err(|error| {
            refused(format!(
                "{} was not made by postrider ({FORMAT}: {error}): choose another --data directory",
                store.display()
            ))
        })?;
        let keys = Keys::read(&text, &store)?;
        keys.check(ring, &store.display().to_string())?;
        for part in ["db", "conf"] {
            if !store.join(part).exists() {
                return Err(refused(format!(
                    "{} holds the marker of a store but its file {part} is missing: restore the directory from a \
                     backup, or move it away to start empty",
                    store.display()
                )));
            }
        }
        Ok(Found::Store(keys))
    }

    /// Removes what a creation or restoration that was cut off left.
    pub(super) fn remove_unfinished(&self) -> Result<(), OpenError> {
        let remains = self.dir.join(STORE_NEW);
        if remains.exists() {
            fs::remove_dir_all(&remains).map_err(|error| trouble("remove", &remains, &error))?;
        }
        Ok(())
    }

    /// Builds a store with `make` beside its final place and publishes it by a rename, everything synced.
    pub(super) fn create(
        &self,
        keys: &Keys,
        make: impl FnOnce(&Path) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let new = self.dir.join(STORE_NEW);
        make(&new)?;
        let publish = || -> io::Result<()> {
            fs::write(new.join(FORMAT), keys.text())?;
            sync_tree(&new)?;
            fs::rename(&new, self.store_dir())?;
            fs::write(self.dir.join(MADE), "")?;
            sync_dir(&self.dir)?;
            // The directory itself may be new, and those above it. Only what we may not read cannot be ours.
            for parent in fs::canonicalize(&self.dir)?.ancestors().skip(1) {
                match sync_dir(parent) {
                    Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        };
        publish().map_err(|error| trouble("create the store in", &self.dir, &error))
    }

    /// Marks the store as one of this binary's format and these keys, before the first record of it is written: an older
    /// binary, and whoever lacks a key, then refuses it as a whole instead of setting records aside.
    pub(super) fn mark_format(&self, keys: &Keys) -> Result<(), OpenError> {
        let (store, marker) = (self.store_dir(), keys.text());
        let (path, new) = (store.join(FORMAT), store.join(FORMAT_NEW));
        let raise = || -> io::Result<()> {
            if fs::read_to_string(&path)? == marker {
                return Ok(());
            }
            fs::write(&new, marker)?;
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &path)?;
            sync_dir(&store)
        };
        raise().map_err(|error| trouble("write", &path, &error))
    }

    /// Waits until sled's own lock is free. We hold the directory, so only a thread of this very process that sled has
    /// not ended yet can have it, after a store was closed here a moment ago.
    pub(super) fn wait_for_sled(&self) -> Result<(), OpenError> {
        Place::wait_for_sled_in(&self.store_dir())
    }

    /// The same of another directory of sled's.
    pub(super) fn wait_for_sled_in(dir: &Path) -> Result<(), OpenError> {
        let path = dir.join("db");
        let file = File::open(&path).map_err(|error| trouble("open", &path, &error))?;
        for _ in 0..LOCK_TRIES {
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOCK_RETRY);
        }
        Err(refused(format!("{} is locked by another program: stop it first", path.display())))
    }

    /// Makes what sled created, renamed and removed while it opened the store durable.
    pub(super) fn sync_store_dir(&self) -> Result<(), OpenError> {
        let dir = self.store_dir();
        sync_dir(&dir).map_err(|error| trouble("sync", &dir, &error))
    }

    /// Files in sled's blob directory. sled never syncs them; the sizes chosen here keep it empty.
    pub(super) fn blob_files(&self) -> u64 {
        fs::read_dir(self.store_dir().join("blobs")).map_or(0, |entries| entries.count() as u64)
    }

    /// Bytes the store takes on disk.
    pub(super) fn allocated_bytes(&self) -> u64 {
        allocated_in(&self.store_dir())
    }

    /// Free bytes on its disk.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let disk = statvfs(&self.dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// The reserve when the configuration names none.
    pub(super) fn default_reserve_bytes(&self) -> io::Result<u64> {
        let disk = statvfs(&self.dir)?;
        let twentieth = disk.f_blocks.saturating_mul(disk.f_frsize) / 20;
        Ok(twentieth.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES))
    }

    /// Gives the ballast's space back; whether there was one.
    pub(super) fn drop_ballast(&self) -> bool {
        fs::remove_file(self.dir.join(BALLAST)).is_ok()
    }

    /// Lays the ballast down if it is not there and the disk has room for it beside `reserve_bytes`. Best effort: some
    /// file systems cannot reserve space.
    pub(super) fn lay_ballast(&self, reserve_bytes: u64) {
        let path = self.dir.join(BALLAST);
        let room = self.free_bytes().is_ok_and(|free| free > reserve_bytes.saturating_add(2 * BALLAST_BYTES));
        if path.exists() || !room {
            return;
        }
        let lay = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES)?;
            file.sync_all()
        };
        if let Err(error) = lay() {
            tracing::debug!(%error, "no ballast on this file system");
            self.drop_ballast();
        }
    }
}

/// A directory that holds other things and no store is somebody else's: better to ask than to settle in it.
pub(super) fn refuse_foreign(dir: &Path) -> Result<(), OpenError> {
    if swap::has_store(dir) {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(|error| trouble("read", dir, &error))? {
        let name = entry.map_err(|error| trouble("read", dir, &error))?.file_name();
        if !is_ours(&name.to_string_lossy()) {
            return Err(refused(format!(
                "{} holds \"{}\", which is not postrider's: choose an empty directory with --data",
                dir.display(),
                name.to_string_lossy().escape_debug()
            )));
        }
    }
    Ok(())
}

/// What the files in a directory take on disk, in bytes.
pub(super) fn allocated_in(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let size = |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.metadata().ok()?.blocks() * 512);
    fs::read_dir(dir).map_or(0, |entries| entries.filter_map(size).sum())
}

/// Names that a state directory may hold before a store is made in it: ours, and what people keep beside it.
fn is_ours(name: &str) -> bool {
    let known = [
        LOCK,
        STORE_NEW,
        swap::COMPACT,
        MADE,
        BALLAST,
        HISTORY,
        "postrider.key",
        "postrider.key.new",
        "postrider.sock",
        "admin.sock",
    ];
    let suffixes = [".toml", ".log", ".key", ".sock", ".pid"];
    known.contains(&name)
        || name == "lost+found"
        || name.starts_with('.')
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// Syncs a directory's entries.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Syncs every file and directory below `dir`, and `dir` itself.
pub(super) fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    sync_dir(dir)
}
