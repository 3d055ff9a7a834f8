//! How far the log must reach: a small file beside it that holds the number of the last commit.
//!
//! sled ends its recovery at the first part of its log that does not check, as it must after a crash, and so takes a
//! damaged byte for the end of the log: everything after it would be gone without a word. Every commit therefore carries
//! its number in the log, and once the log is on disk that number is written here, unsynced: kill -9 leaves it exact, a
//! power cut leaves an older one, and never is it ahead of the log. A log that ends before it has lost commits that were
//! acknowledged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file in the store's directory: the number, big-endian, and its complement. One sector, so it is never torn.
pub(super) const COMMITTED: &str = "COMMITTED";

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    /// Opens or makes the file in the store's directory.
    pub(super) fn open(store_dir: &Path) -> io::Result<Mark> {
        let path = store_dir.join(COMMITTED);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Mark { file })
    }

    /// The number in it; 0 if it holds none, as in a new store.
    pub(super) fn read(&self) -> u64 {
        let mut bytes = [0; 16];
        if self.file.read_exact_at(&mut bytes, 0).is_err() {
            return 0;
        }
        let both = u128::from_be_bytes(bytes);
        let number = (both >> 64) as u64;
        if both & u128::from(u64::MAX) == u128::from(!number) { number } else { 0 }
    }

    /// Writes the number of a commit that is on disk.
    pub(super) fn write(&self, number: u64) -> io::Result<()> {
        let both = (u128::from(number) << 64) | u128::from(!number);
        self.file.write_all_at(&both.to_be_bytes(), 0)
    }

    /// Makes it durable, for a store that is closed.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Mark::open(dir.path()).unwrap();
        assert_eq!(mark.read(), 0);
        mark.write(7).unwrap();
        mark.write(u64::MAX - 1).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().read(), u64::MAX - 1);
        mark.file.write_all_at(&[0xff], 3).unwrap();
        mark.file.write_all_at(&[0x00], 4).unwrap();
        assert_eq!(mark.read(), 0);
    }
}
