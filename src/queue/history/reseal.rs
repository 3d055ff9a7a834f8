//! Sealing segments anew after a change of keys.
//!
//! Only what earlier processes wrote can be sealed with the previous key. A seal takes the same room with every key, so that
//! a segment keeps its entries where they are; it is written beside itself, synced, and put in its place at once.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::read::Walk;
use super::{History, State, format};
use crate::queue::copy::Rekeyed;

/// What a segment is called until it takes its own place.
const NEW: &str = "new";
/// What is read at a time.
const READ_BYTES: usize = 256 << 10;

/// Whether a file of this name was to take a segment's place, and its process ended before it did.
pub(super) fn is_left_over(name: &str) -> bool {
    let number = name.strip_suffix(NEW).and_then(|name| name.strip_suffix('.')).and_then(format::number_in);
    number.is_some()
}

impl History {
    /// Seals with the current key what another one sealed, segment by segment, and counts into `done`.
    pub(in crate::queue) fn reseal(&self, done: &mut Rekeyed) -> io::Result<()> {
        let ended: Vec<_> = {
            let segments = self.segments();
            let not_written = segments.iter().filter(|(_, segment)| segment.state != State::Open);
            not_written.map(|(number, segment)| (*number, segment.end)).collect()
        };
        for (number, end) in ended {
            if let Some(bytes) = self.resealed(number, end, done)? {
                self.replace(number, &bytes)?;
            }
        }
        Ok(())
    }

    /// The segment as it is to be; `None` if nothing is to be done with it, or it is gone.
    fn resealed(&self, number: u64, end: u64, done: &mut Rekeyed) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(number);
        let Some(mut walk) = Walk::open(&path, 0, end, READ_BYTES)? else { return Ok(None) };
        let (tree, mut bytes) = (format::tree(number), None);
        while let Some((offset, header)) = walk.next()? {
            let sealed = walk.sealed(&header)?;
            done.examined += 1;
            let key = format::key(offset, header.org, header.delivered_at);
            match self.sealer.ring().reseal(tree.as_bytes(), &key, &sealed) {
                Ok(None) => {}
                Ok(Some(anew)) => {
                    let bytes = match &mut bytes {
                        Some(bytes) => bytes,
                        None => bytes.insert(std::fs::read(&path)?),
                    };
                    put(bytes, offset + format::HEADER as u64, &anew)?;
                    done.rewritten += 1;
                }
                Err(_) => done.unreadable += 1,
            }
        }
        Ok(bytes)
    }

    /// Puts these bytes in the segment's place, unless it has expired meanwhile.
    fn replace(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(number);
        let new = path.with_extension(NEW);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let segments = self.segments();
        if segments.contains_key(&number) {
            std::fs::rename(&new, &path)?;
        } else {
            std::fs::remove_file(&new)?;
        }
        drop(segments);
        sync_directory(self.dir())
    }
}

/// Overwrites what is at `at`, of the same length.
fn put(bytes: &mut [u8], at: u64, anew: &[u8]) -> io::Result<()> {
    let cut_short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the segment is shorter than it was");
    let at = usize::try_from(at).map_err(|_| cut_short())?;
    let place = bytes.get_mut(at..at + anew.len()).ok_or_else(cut_short)?;
    place.copy_from_slice(anew);
    Ok(())
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
