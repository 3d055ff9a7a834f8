//! What is written to the store while somebody copies it: recorded in order, and given out once durable.
//!
//! Off, it costs a write one look at a flag. On, it holds at most [`BYTES_MAX`]: whoever does not fetch fast enough loses
//! the recording, and the store waits for nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What may wait to be fetched.
const BYTES_MAX: usize = 32 << 20;
/// What a change takes beside its key and value.
const CHANGE_BYTES: usize = 96;

/// One write: a key of a tree, and its sealed value or that it was removed.
pub(super) struct Change {
    pub(super) tree: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Tape {
    on: AtomicBool,
    recorded: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    changes: Vec<Change>,
    /// So many of them are durable.
    durable: usize,
    bytes: usize,
    overflowed: bool,
    last_commit: u64,
}

impl Tape {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records from now on. On the committer's thread, as everything that is recorded.
    pub(super) fn start(&self) {
        *self.recorded() = Recorded::default();
        self.on.store(true, Ordering::Relaxed);
    }

    /// Records nothing more, and forgets what was.
    pub(super) fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
        *self.recorded() = Recorded::default();
    }

    /// Whether anybody records.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Records a write, if anybody wants it.
    pub(super) fn note(&self, tree: &[u8], key: &[u8], value: Option<&[u8]>) {
        if !self.is_on() {
            return;
        }
        let mut recorded = self.recorded();
        recorded.bytes += CHANGE_BYTES + key.len() + value.map_or(0, <[u8]>::len);
        recorded.overflowed |= recorded.bytes > BYTES_MAX;
        if recorded.overflowed {
            recorded.changes = Vec::new();
        } else {
            let value = value.map(<[u8]>::to_vec);
            recorded.changes.push(Change { tree: tree.to_vec(), key: key.to_vec(), value });
        }
    }

    /// What was recorded so far is durable.
    pub(super) fn committed(&self, number: u64) {
        if self.is_on() {
            let mut recorded = self.recorded();
            recorded.durable = recorded.changes.len();
            recorded.last_commit = number;
        }
    }

    /// Fetches what is durable, and the number of the commit up to which that is; `None` if the recording is lost.
    pub(super) fn fetch(&self) -> Option<(Vec<Change>, u64)> {
        let mut recorded = self.recorded();
        if recorded.overflowed {
            return None;
        }
        let durable = recorded.durable;
        let rest = recorded.changes.split_off(durable);
        let durable = std::mem::replace(&mut recorded.changes, rest);
        let weigh =
            |change: &Change| CHANGE_BYTES + change.key.len() + change.value.as_ref().map_or(0, Vec::len);
        recorded.bytes -= durable.iter().map(weigh).sum::<usize>();
        recorded.durable = 0;
        Some((durable, recorded.last_commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(tape: &Tape) -> Option<Vec<Vec<u8>>> {
        Some(tape.fetch()?.0.into_iter().map(|change| change.key).collect())
    }

    #[test]
    fn only_what_is_durable_is_given_out_in_order_and_once() {
        let tape = Tape::default();
        tape.note(b"t", b"before", Some(b"1"));
        tape.start();
        tape.note(b"t", b"a", Some(b"1"));
        assert_eq!(keys(&tape), Some(vec![]));
        tape.committed(7);
        tape.note(b"t", b"b", None);
        assert_eq!(tape.fetch().unwrap().1, 7);
        tape.committed(8);
        assert_eq!(keys(&tape), Some(vec![b"b".to_vec()]));
        tape.stop();
        tape.note(b"t", b"after", None);
        tape.committed(9);
        assert_eq!(keys(&tape), Some(vec![]));
    }

    #[test]
    fn a_recording_that_is_not_fetched_is_given_up() {
        let tape = Tape::default();
        tape.start();
        let value = vec![0; 1 << 20];
        (0..31).for_each(|_| tape.note(b"t", b"k", Some(&value)));
        tape.committed(1);
        assert_eq!(keys(&tape).map(|keys| keys.len()), Some(31));
        (0..32).for_each(|_| tape.note(b"t", b"k", Some(&value)));
        tape.committed(2);
        assert!(tape.fetch().is_none());
        assert_eq!(tape.recorded().changes.len(), 0, "it takes memory still");
    }
}
