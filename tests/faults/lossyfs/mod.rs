//! A file system that forgets what was not synced: mounted for real, so that a real process uses it, and asked at any
//! moment what a power cut now might leave behind. It can also fail, fill up, be slow, or lie about fsync.
//!
//! It needs root and `/dev/fuse`: it mounts with mount(2), without libfuse.

mod fuse;
#[cfg(test)]
mod tests;
mod tree;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use fuse::{Counters, Faults};
use fuse::{Server, State};
use fuser::{BackgroundSession, MountOption};
use tempfile::TempDir;
pub use tree::CrashState;
use tree::{ROOT, Tree};

/// A mounted file system; unmounted on drop, when what it held is gone.
pub struct LossyFs {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
    dir: TempDir,
}

impl LossyFs {
    /// Mounts an empty one.
    pub fn mount() -> LossyFs {
        LossyFs::serve(Tree::new())
    }

    /// Mounts one that holds a durable copy of `dir`.
    pub fn mount_copy_of(dir: &Path) -> LossyFs {
        let mut tree = Tree::new();
        load(&mut tree, ROOT, dir);
        tree.sync_all();
        LossyFs::serve(tree)
    }

    fn serve(tree: Tree) -> LossyFs {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests mount a file system with mount(2): run them as root, on a machine with /dev/fuse"
        );
        let (faults, counters) = (Faults::default(), Counters::default());
        let state = State { tree, faults, counters, honoured: None, last_write: (0, 0, 0) };
        let state = Arc::new(Mutex::new(state));
        let dir = tempfile::Builder::new().prefix("lossyfs").tempdir().expect("a directory to mount on");
        let options = [MountOption::FSName("lossyfs".into()), MountOption::DefaultPermissions];
        let session = fuser::spawn_mount2(Server(Arc::clone(&state)), dir.path(), &options);
        let session = session.unwrap_or_else(|error| {
            panic!("cannot mount a FUSE file system (needs root and /dev/fuse): {error}")
        });
        LossyFs { state, session: Some(session), dir }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a power cut now may leave: each unsynced change survives with probability `keep`.
    pub fn after_cut(&self, seed: u64, keep: f64) -> CrashState {
        self.state().tree.after_cut(seed, keep)
    }

    /// What programs see now.
    pub fn live(&self) -> CrashState {
        self.state().tree.live()
    }

    /// Sets the faults in force from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// What was asked of it so far.
    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    /// Bytes in its files.
    pub fn used(&self) -> u64 {
        self.state().tree.used()
    }
}

impl Drop for LossyFs {
    fn drop(&mut self) {
        // By force, so that what is still waiting for an answer gets an error: a process with a thread in such a wait
        // could not even be killed. Then lazily, so that open files do not keep the mount in the way.
        let umount =
            |how| Command::new("umount").arg(how).arg(self.dir.path()).stderr(Stdio::null()).status();
        let gone = [umount("-f"), umount("-l")].into_iter().flatten().any(|status| status.success());
        assert!(gone || std::thread::panicking(), "cannot unmount {}", self.dir.path().display());
        drop(self.session.take());
    }
}

fn load(tree: &mut Tree, parent: u64, dir: &Path) {
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let entry = entry.expect("a directory entry");
        let meta = entry.metadata().expect("metadata");
        let ino = tree.create(parent, &entry.file_name(), meta.permissions().mode(), meta.is_dir());
        if meta.is_dir() {
            load(tree, ino, &entry.path());
        } else {
            tree.write(ino, 0, &fs::read(entry.path()).expect("a readable file"));
        }
    }
}

impl CrashState {
    /// Writes the tree into a plain directory. Holes stay holes, so that a mostly empty store is cheap to write.
    pub fn write_to(&self, dir: &Path) -> std::io::Result<()> {
        const PAGE: usize = 4096;
        const ZEROS: [u8; PAGE] = [0; PAGE];
        fs::create_dir_all(dir)?;
        for (path, mode, bytes) in &self.entries {
            let path = dir.join(path);
            let Some(bytes) = bytes else {
                fs::create_dir(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
                continue;
            };
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o7777).open(&path)?;
            file.set_len(bytes.len() as u64)?;
            for (number, page) in bytes.chunks(PAGE).enumerate() {
                if page != &ZEROS[..page.len()] {
                    file.write_all_at(page, (number * PAGE) as u64)?;
                }
            }
            file.flush()?;
        }
        Ok(())
    }
}
