//! Putting a rewritten store in the place of the old one, by two renames that any crash leaves either undone or to be
//! finished.
//!
//! | in the state directory | what happened | what is done |
//! |---|---|---|
//! | `store`, `.compact-new` | the rewriting was cut off | `.compact-new` goes |
//! | `.compact-old`, `.compact-new`, no `store` | the swap was cut off; the new store is whole and on disk | it becomes `store`, `.compact-old` goes |
//! | `store`, `.compact-old` | the swap is done | `.compact-old` goes |
//! | `.compact-old` alone | somebody removed the new one | it becomes `store` again |
//!
//! The directory is synced between the renames, so a power cut cannot bring about anything else.

use std::fs;
use std::io;
use std::path::Path;

use super::place::{STORE, sync_dir};

/// Where the store is rewritten.
pub(super) const COMPACT: &str = ".compact-new";
/// Where the old one waits until the new one is in its place.
pub(super) const OLD: &str = ".compact-old";

/// Whether there is a store in this state directory, be it in the middle of a swap.
pub(super) fn has_store(dir: &Path) -> bool {
    dir.join(STORE).exists() || dir.join(OLD).exists()
}

/// Finishes or undoes what was cut off.
pub(super) fn settle(dir: &Path) -> io::Result<()> {
    let [store, new, old] = [STORE, COMPACT, OLD].map(|name| dir.join(name));
    if !store.exists() && old.exists() {
        tracing::info!("finishing the swap of a rewritten store");
        fs::rename(if new.exists() { &new } else { &old }, &store)?;
        sync_dir(dir)?;
    }
    for left_over in [new, old] {
        match fs::remove_dir_all(&left_over) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(()) => sync_dir(dir)?,
        }
    }
    Ok(())
}

/// Puts the rewritten store, which is whole and on disk, in the place of the old one, and removes that.
pub(super) fn swap(dir: &Path) -> io::Result<()> {
    fs::rename(dir.join(STORE), dir.join(OLD))?;
    sync_dir(dir)?;
    settle(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is there when a crash comes, one store remains, and it is the right one.
    #[test]
    fn every_cut_is_finished_or_undone() {
        for (there, remains) in [
            (&["store"][..], "store"),
            (&["store", COMPACT], "store"),
            (&[OLD, COMPACT], COMPACT),
            (&["store", OLD], "store"),
            (&[OLD], OLD),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for name in there {
                fs::create_dir(dir.path().join(name)).unwrap();
                fs::write(dir.path().join(name).join("db"), name).unwrap();
            }
            assert!(has_store(dir.path()));
            for _ in 0..2 {
                settle(dir.path()).unwrap();
                let names: Vec<_> =
                    fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                assert_eq!(names, ["store"], "{there:?}");
                assert_eq!(fs::read_to_string(dir.path().join("store/db")).unwrap(), remains, "{there:?}");
            }
        }
    }
}
