//! Where the bench keeps its stores and sockets: temporary, removed at the end and when interrupted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The daemons that run, by process id.
#[derive(Debug, Clone, Default)]
pub struct Children(Arc<Mutex<BTreeSet<u32>>>);

impl Children {
    /// This one runs.
    pub fn add(&self, id: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// This one has ended and was waited for.
    pub fn remove(&self, id: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn kill_all(&self) {
        for id in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(pid) = i32::try_from(*id).ok().and_then(Pid::from_raw) {
                // It may have ended by itself: Ctrl-C reaches it as well.
                kill_process(pid, Signal::KILL).ok();
            }
        }
    }
}

/// Removed with everything in it when dropped.
pub struct Workspace {
    stores: PathBuf,
    runtimes: PathBuf,
    children: Children,
}

impl Workspace {
    /// Makes a directory below `parent`, and one for sockets, whose paths must be short, in the system's temporary
    /// directory.
    pub fn create(parent: &Path) -> anyhow::Result<Workspace> {
        let name = format!("postrider-bench-{}", std::process::id());
        let workspace = Workspace {
            stores: parent.join(&name),
            runtimes: std::env::temp_dir().join(format!("{name}-sockets")),
            children: Children::default(),
        };
        for path in [&workspace.stores, &workspace.runtimes] {
            fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        }
        workspace.remove_when_interrupted()?;
        Ok(workspace)
    }

    fn remove_when_interrupted(&self) -> std::io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (stores, runtimes, children) =
            (self.stores.clone(), self.runtimes.clone(), self.children.clone());
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                children.kill_all();
                drop(fs::remove_dir_all(stores));
                drop(fs::remove_dir_all(runtimes));
                std::process::exit(130);
            }
        });
        Ok(())
    }

    /// Where daemons sign on.
    pub fn children(&self) -> Children {
        self.children.clone()
    }

    /// Where this store goes.
    pub fn store(&self, name: &str) -> PathBuf {
        self.stores.join(name)
    }

    /// Where this daemon's sockets go.
    pub fn runtime(&self, name: &str) -> PathBuf {
        self.runtimes.join(name)
    }

    /// What is odd about the place.
    pub fn warnings(&self) -> Vec<String> {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        let in_memory = rustix::fs::statfs(&self.stores)
            .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == TMPFS_MAGIC));
        let text = || {
            format!(
                "{} is in memory (tmpfs): syncing costs nothing there; choose a real disk with --dir",
                self.stores.display()
            )
        };
        in_memory.then(text).into_iter().collect()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed stays; its name says whose it is.
        drop(fs::remove_dir_all(&self.stores));
        drop(fs::remove_dir_all(&self.runtimes));
    }
}

/// Allows this process, and the daemons it starts, as many descriptors as the system lets it.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With the old limit, the row that needs more fails and says so.
    setrlimit(Resource::Nofile, limit).ok();
}
