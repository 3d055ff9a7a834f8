//! sled's snapshots of its page table, and what a crash while opening leaves of them.
//!
//! sled writes a snapshot when it opens: to `snap.LSN.generating`, fsynced, then renamed to `snap.LSN`, then the one before
//! is removed; the directory is never synced. Right after that it overwrites the segments that the new snapshot calls
//! free. From then on the new snapshot is no mere shortcut: with the one before, or with none, sled misses those segments,
//! takes the log for torn, and wipes the rest of it. A power cut may bring the names back to before the rename while what
//! was overwritten stays so. Hence three rules, kept by [`settle`] before sled opens and by a sync of the directory after:
//!
//! - a whole `.generating` is given its name, as sled was about to do;
//! - a torn one is removed: sled had not gone on, and would take it for the newest snapshot and refuse to open for ever;
//! - a store that has had commits is never opened without a snapshot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::sync_dir;

const PREFIX: &str = "snap.";
const UNFINISHED: &str = ".generating";

/// Finishes or removes unfinished snapshots in the store's directory, durably. Answers whether there is a snapshot.
pub(super) fn settle(store_dir: &Path) -> io::Result<bool> {
    let mut any = false;
    for path in snapshots(store_dir)? {
        let Some(name) = path.to_str().and_then(|path| path.strip_suffix(UNFINISHED)) else {
            any = true;
            continue;
        };
        if is_whole(&fs::read(&path)?) {
            fs::rename(&path, name)?;
            any = true;
            tracing::info!(file = name, "finished a snapshot that a crash had interrupted");
        } else {
            fs::remove_file(&path)?;
            tracing::info!(file = %path.display(), "removed an unfinished snapshot");
        }
    }
    sync_dir(store_dir)?;
    Ok(any)
}

fn snapshots(store_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether a snapshot was written to its end: the page table, its length before compression (u64), its CRC-32 (u32), both
/// little-endian.
fn is_whole(bytes: &[u8]) -> bool {
    let Some((table, [_, _, _, _, _, _, _, _, crc @ ..])) = bytes.split_last_chunk::<12>() else {
        return false;
    };
    !table.is_empty() && crc32fast::hash(table) == u32::from_le_bytes(*crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(table: &[u8]) -> Vec<u8> {
        let length = (table.len() as u64).to_le_bytes();
        [table, &length, &crc32fast::hash(table).to_le_bytes()].concat()
    }

    #[test]
    fn only_a_snapshot_with_its_end_is_whole() {
        let whole = snapshot(b"page table");
        assert!(is_whole(&whole));
        for cut in 0..whole.len() {
            assert!(!is_whole(&whole[..cut]), "cut at {cut}");
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            // The length is only of use for compressed snapshots, and sled does not check it either.
            assert!(!is_whole(&flipped) || (10..18).contains(&cut), "flipped at {cut}");
        }
        assert!(!is_whole(&snapshot(b"")));
    }

    #[test]
    fn what_a_crash_left_is_finished_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        put("db", b"");
        put("snap.0A.generating", b"torn");
        assert!(!settle(dir.path()).unwrap());
        put("snap.01", &snapshot(b"old"));
        put("snap.0B.generating", &snapshot(b"new"));
        assert!(settle(dir.path()).unwrap());
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["db", "snap.01", "snap.0B"]);
    }
}
