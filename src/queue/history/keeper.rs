//! The keeper: a thread that syncs what the committer has written to the history, counts what an earlier process left,
//! and removes what is no longer kept. It ends with the committer, after a last sync.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::expiry::{self, Moment};
use super::read::{READ_BYTES, Walk};
use super::{History, State};
use crate::clock;
use crate::queue::place::sync_dir;

/// How long what was written waits to be synced, and how often the keeper looks what must go.
const EVERY: Duration = Duration::from_secs(1);

/// What the committer tells.
enum Work {
    /// This was written to, for the first time since the last sync.
    Written(Arc<File>),
    /// This will not be written to any more.
    Ended(Arc<File>),
}

/// A handle on the thread, which ends with it.
pub(super) struct Keeper {
    works: Option<Sender<Work>>,
    /// Whether it knows of something that is to be synced.
    told: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<History>) -> io::Result<Keeper> {
        let (works, received) = mpsc::channel();
        let (told, ending) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = Thread {
            shared,
            told: told.clone(),
            ending: ending.clone(),
            began: Instant::now(),
            named: Cell::new(false),
            said: RefCell::default(),
        };
        let thread = std::thread::Builder::new()
            .name("store-history".to_owned())
            .spawn(move || thread.run(&received))?;
        Ok(Keeper { works: Some(works), told, ending, thread: Some(thread) })
    }

    /// Has it sync the file soon.
    pub(super) fn written(&self, file: &Arc<File>) {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.tell(Work::Written(file.clone()));
        }
    }

    /// Has it sync the file at once: what is written from now on is in another.
    pub(super) fn ended(&self, file: Arc<File>) {
        self.told.store(false, Ordering::Relaxed);
        self.tell(Work::Ended(file));
    }

    fn tell(&self, work: Work) {
        if let Some(works) = &self.works {
            // It is gone only if it panicked, and then nothing is synced or removed any more.
            works.send(work).ok();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.works.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Thread {
    shared: Arc<History>,
    told: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    began: Instant,
    /// Whether the names of the file and of its directory are on disk.
    named: Cell<bool>,
    /// The last trouble that the log was told.
    said: RefCell<String>,
}

impl Thread {
    fn run(&self, works: &Receiver<Work>) {
        self.count_unread();
        let mut written: Option<(Arc<File>, Instant)> = None;
        loop {
            let wait = written.as_ref().map_or(EVERY, |(_, since)| EVERY.saturating_sub(since.elapsed()));
            match works.recv_timeout(wait) {
                Ok(Work::Written(file)) => {
                    written.get_or_insert_with(|| (file, Instant::now()));
                }
                Ok(Work::Ended(file)) => {
                    written = None;
                    self.sync(&file);
                    self.named.set(false);
                    self.remove_expired();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some((file, _)) = written.take() {
                        self.sync(&file);
                    }
                    self.remove_expired();
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some((file, _)) = written {
                        self.sync(&file);
                    }
                    return;
                }
            }
        }
    }

    /// Makes what was written durable, with the file's name.
    fn sync(&self, file: &File) {
        // Before, so that what is written meanwhile is synced next time.
        self.told.store(false, Ordering::Relaxed);
        let names = || -> io::Result<()> {
            let dir = self.shared.dir();
            if !self.named.get() {
                sync_dir(dir)?;
                dir.parent().map_or(Ok(()), sync_dir)?;
                self.named.set(true);
            }
            Ok(())
        };
        if let Err(error) = file.sync_data().and_then(|()| names()) {
            self.say(format!("cannot sync {}: {error}", self.shared.dir().display()));
        }
    }

    /// Says once what goes on for long.
    fn say(&self, trouble: String) {
        if *self.said.borrow() != trouble {
            tracing::warn!(trouble, "the history is not kept as it should be; deliveries go on as ever");
            self.said.replace(trouble);
        }
    }

    /// Counts the entries of what an earlier process wrote. A file that is no segment is left where it is.
    fn count_unread(&self) {
        let unread: Vec<_> = {
            let segments = self.shared.segments();
            let unread = segments.iter().filter(|(_, segment)| segment.state == State::Unread);
            unread.map(|(number, segment)| (*number, *segment)).collect()
        };
        for (number, mut segment) in unread {
            match self.count(number, segment.end) {
                Ok(Some(counted)) => segment = counted,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(segment = super::format::file_name(number), %error, "a file of the history cannot be read");
                    self.shared.segments().remove(&number);
                    continue;
                }
            }
            if let Some(shown) = self.shared.segments().get_mut(&number) {
                *shown = segment;
            }
        }
    }

    /// `None` if the keeper is to end.
    fn count(&self, number: u64, end: u64) -> io::Result<Option<super::Segment>> {
        let mut segment = super::Segment::new(0, State::Ended);
        let Some(mut walk) = Walk::open(&self.shared.path(number), 0, end, READ_BYTES)? else {
            return Ok(Some(segment));
        };
        while let Some((_, header)) = walk.next()? {
            if self.ending.load(Ordering::Relaxed) {
                return Ok(None);
            }
            walk.pass(&header)?;
            segment.note(header.delivered_at);
        }
        segment.end = walk.at();
        if segment.end < end {
            let (segment, bytes) = (super::format::file_name(number), end - segment.end);
            tracing::warn!(
                segment,
                bytes,
                "the end of a file of the history cannot be read and is not shown: its process was killed as it wrote, or it was \
                 altered; nothing is to be done, the file goes when it is old enough"
            );
        }
        Ok(Some(segment))
    }

    fn remove_expired(&self) {
        let Some(kept) = self.shared.retention.get().history else { return };
        let at = Moment { now: clock::now(), running: self.began.elapsed() };
        let expired = expiry::expired(self.shared.segments().iter_mut(), kept, at);
        for number in &expired {
            match std::fs::remove_file(self.shared.path(*number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.say(format!("cannot remove {}: {error}", self.shared.path(*number).display()));
                }
                _ => drop(self.shared.segments().remove(number)),
            }
        }
        if !expired.is_empty() {
            tracing::debug!(segments = expired.len(), "the oldest of the history is gone");
        }
    }
}
