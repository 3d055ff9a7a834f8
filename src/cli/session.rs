//! What `queue`, `why`, `shape`, `dead-letter` and `history` work on: a running daemon, or with `--data` the store of a stopped one, opened
//! here and served by the daemon's own router without a socket in between.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;

use super::exit::{Exit, Failure, Result};
use super::transport::Transport;
use super::{Context, output};
use crate::api::{self, App, Settings, Socket};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::operate::key;
use crate::queue::{OpenError, Queue, Retention, StoreOptions};

/// A way to the API that may have to be closed.
pub(super) struct Session {
    pub(super) api: Transport,
    store: Option<Store>,
}

struct Store {
    queue: Queue,
    dir: PathBuf,
}

impl Context {
    /// The daemon's socket, or the store that `--data` names. `POSTRIDER_DATA` does not count: it says where the state
    /// is, not that the daemon is stopped.
    pub(super) async fn admin_or_store(&self) -> Result<Session> {
        if self.global.data.is_none() {
            return Ok(Session { api: self.admin()?, store: None });
        }
        let context = self.clone();
        let opened = tokio::task::spawn_blocking(move || context.open_store()).await;
        opened.unwrap_or_else(|error| Err(Failure::failed(format!("opening the store failed: {error}"))))
    }

    fn open_store(&self) -> Result<Session> {
        let (config, options) = self.stopped_store()?;
        let dir = options.data_dir.clone();
        let opened = Queue::open(&options);
        hand_back(&dir);
        let (queue, _) = opened.map_err(not_opened)?;
        let app = App::new(queue.clone(), None, Settings::of(&config, Catalogue::shipped()));
        let api = Transport::InProcess(api::router(Arc::new(app), Socket::Admin));
        Ok(Session { api, store: Some(Store { queue, dir }) })
    }
}

impl Context {
    /// The configuration, and the store that `--data` names, with its key. It must be there.
    pub(super) fn stopped_store(&self) -> Result<(Config, StoreOptions)> {
        let config = self.config()?;
        let paths = self.paths()?;
        let dir = paths.data_dir.path.clone();
        // Opening would create one.
        if !Queue::has_store(&dir) {
            return Err(Failure::failed(format!("{} holds no store", dir.display())));
        }
        let options = self.options(&config, dir)?;
        Ok((config, options))
    }

    /// What a store in this directory is opened with.
    pub(super) fn options(&self, config: &Config, dir: PathBuf) -> Result<StoreOptions> {
        // What is made in a state directory is for its owner.
        rustix::process::umask(Mode::from_raw_mode(0o077));
        let paths = self.paths()?;
        let unusable = |error: key::KeyError| Failure::failed(error.to_string());
        let key = key::find(&key::Place::of(&paths, &self.env)).map_err(unusable)?;
        let previous_key = key::find_previous(&paths, &self.env).map_err(unusable)?;
        let mut options = config.store_options(dir, key, previous_key);
        // Looking at what is kept must not remove any of it.
        options.retention = Retention::default();
        Ok(options)
    }
}

/// Why a command cannot work on a store.
#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
pub(super) fn not_opened(error: OpenError) -> Failure {
    match error {
        OpenError::Locked { .. } => {
            Failure::failed(format!("{error}; without --data, this command asks the running daemon"))
        }
        OpenError::DiskFull(_) => Failure::new(Exit::TryAgain, error.to_string()),
        OpenError::Refused(_) => Failure::failed(error.to_string()),
    }
}

impl Session {
    /// Gives the store up, if one was opened.
    pub(super) async fn close(self) {
        if let Some(Store { queue, dir }) = self.store {
            queue.close().await;
            hand_back(&dir);
        }
    }
}

/// When root works on the daemon's store, what is new in it belongs to root, and the daemon could not open it again:
/// it is given to the owner of the state directory.
pub(super) fn hand_back(dir: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let Err(error) = give_to_owner(dir) {
        output::note(&format!(
            "postrider: files in {} could not be given back to its owner: {error}; see to it before the daemon starts",
            dir.display()
        ));
    }
}

fn give_to_owner(dir: &Path) -> std::io::Result<()> {
    let owner = dir.metadata()?;
    let (uid, gid) = (owner.uid(), owner.gid());
    let mut unvisited = vec![dir.to_owned()];
    while let Some(dir) = unvisited.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let found = entry.metadata()?;
            // Links lead elsewhere, and nothing of ours is one.
            if !found.is_symlink() && found.uid() != uid {
                std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid))?;
            }
            if found.is_dir() {
                unvisited.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_belongs_to_the_owner_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        std::fs::write(dir.path().join("store/db"), "").unwrap();
        give_to_owner(dir.path()).unwrap();
        let mine = rustix::process::geteuid().as_raw();
        assert_eq!(dir.path().join("store/db").metadata().unwrap().uid(), mine);
        if mine == 0 {
            std::os::unix::fs::chown(dir.path(), Some(4242), Some(4243)).unwrap();
            give_to_owner(dir.path()).unwrap();
            let db = dir.path().join("store/db").metadata().unwrap();
            assert_eq!((db.uid(), db.gid()), (4242, 4243));
        }
    }
}
