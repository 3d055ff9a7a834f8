//! Writing, on the committer's thread: an entry is sealed into a buffer, and the buffer of a batch is written at once.
//! Nothing here can fail a delivery: where it fails, the history has a gap.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::format::{self, HEADER, Header, MAGIC};
use super::keeper::Keeper;
use super::{History, Segment, State, expiry};
use crate::clock;
use crate::model::{OrgNumber, UnixMs};
use crate::queue::record::HistoryRecord;
use crate::queue::seal::Unreadable;

/// The buffer is written when it holds this much, in the middle of a batch too.
const BUFFER_BYTES: usize = 1 << 20;
/// What an entry takes beside its payload, about.
const ENTRY_BYTES_HINT: usize = 512;
/// After a failed write nothing is written for so long.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// See the module's documentation. Lives in the committer's writer.
pub(in crate::queue) struct HistoryWriter {
    shared: Arc<History>,
    /// What is written to.
    segment: Option<Current>,
    /// Entries that are to be written, and when each was delivered.
    buffer: Vec<u8>,
    buffered: Vec<UnixMs>,
    try_again_at: Option<Instant>,
    /// Started once there is something to keep.
    keeper: Option<Keeper>,
}

/// The segment that is written to.
struct Current {
    number: u64,
    /// Made with its first write.
    file: Option<Arc<File>>,
    /// Where what is written ends.
    end: u64,
    began: Instant,
}

impl HistoryWriter {
    pub(in crate::queue) fn new(shared: Arc<History>) -> HistoryWriter {
        let mut writer = HistoryWriter {
            shared,
            segment: None,
            buffer: Vec::new(),
            buffered: Vec::new(),
            try_again_at: None,
            keeper: None,
        };
        // What is there already is to be counted, and may have to go.
        if !writer.shared.segments().is_empty() {
            writer.start_keeper();
        }
        writer
    }

    /// Whether entries are taken at this moment.
    pub(in crate::queue) fn takes_entries(&self) -> bool {
        self.shared.is_on() && self.try_again_at.is_none_or(|at| Instant::now() >= at)
    }

    /// An entry that is not taken counts as missed.
    pub(in crate::queue) fn miss(&self, why: &str) {
        self.shared.miss(1, why);
    }

    /// Whether what is delivered is to be kept, and cannot be for a while.
    pub(in crate::queue) fn note_gap(&self) {
        if self.shared.is_on() {
            self.shared.missed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Puts an entry into the buffer.
    pub(in crate::queue) fn push(
        &mut self,
        org: OrgNumber,
        delivered_at: UnixMs,
        record: &HistoryRecord,
        payload: &[u8],
    ) {
        if let Err(why) = self.seal(org, delivered_at, record, payload) {
            self.shared.miss(1, &why.to_string());
        } else if self.buffer.len() >= BUFFER_BYTES {
            self.write();
        }
    }

    fn seal(
        &mut self,
        org: OrgNumber,
        delivered_at: UnixMs,
        record: &HistoryRecord,
        payload: &[u8],
    ) -> Result<(), Unreadable> {
        let (number, end) = match &self.segment {
            Some(segment) => (segment.number, segment.end),
            None => self.begin(),
        };
        let offset = end + self.buffer.len() as u64;
        let sealed = self.shared.sealer.seal(
            format::tree(number).as_bytes(),
            &format::key(offset, org, delivered_at),
            payload.len() + ENTRY_BYTES_HINT,
            |buffer| record.write(payload, buffer),
        )?;
        let length = u32::try_from(sealed.len()).ok().filter(|length| *length <= format::SEALED_BYTES_MAX);
        let length = length.ok_or(Unreadable::Garbled)?;
        self.buffer.reserve(HEADER + sealed.len());
        self.buffer.extend_from_slice(&Header { length, org, delivered_at }.to_bytes());
        self.buffer.extend_from_slice(&sealed);
        self.buffered.push(delivered_at);
        Ok(())
    }

    /// Begins a segment. Its number is a time, and larger than all before, so that it is never given again: not even when
    /// nothing of the history is left.
    fn begin(&mut self) -> (u64, u64) {
        let last = self.shared.segments().last_key_value().map_or(0, |(number, _)| *number);
        let number = u64::try_from(clock::now().0).unwrap_or(0).max(last + 1);
        self.segment = Some(Current { number, file: None, end: 0, began: Instant::now() });
        // Nothing is buffered where there is no segment, unless one was begun in vain.
        self.buffer.clear();
        self.buffer.extend_from_slice(&MAGIC);
        (number, 0)
    }

    /// Writes what is buffered, with one call.
    pub(in crate::queue) fn write(&mut self) {
        if self.buffered.is_empty() {
            return;
        }
        match self.try_write() {
            Ok(()) => {
                self.shared.well();
                self.try_again_at = None;
            }
            Err(error) => {
                let why = format!("cannot write to {}: {error}", self.shared.dir().display());
                self.shared.miss(self.buffered.len() as u64, &why);
                self.try_again_at = Some(Instant::now() + TRY_AGAIN_AFTER);
                self.end_segment();
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(2 * BUFFER_BYTES);
        self.buffered.clear();
        let Some((segment, kept)) = self.segment.as_ref().zip(self.shared.kept()) else { return };
        if segment.end >= expiry::segment_bytes(kept) {
            self.end_segment();
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        self.start_keeper();
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let file = match &segment.file {
            Some(file) => file.clone(),
            None => make(&self.shared, segment.number)?,
        };
        segment.file = Some(file.clone());
        file.write_all_at(&self.buffer, segment.end)?;
        segment.end += self.buffer.len() as u64;
        {
            let mut segments = self.shared.segments();
            let shown = segments.entry(segment.number).or_insert(Segment::new(0, State::Open));
            shown.end = segment.end;
            self.buffered.iter().for_each(|delivered_at| shown.note(*delivered_at));
        }
        if let Some(keeper) = &self.keeper {
            keeper.written(&file);
        }
        Ok(())
    }

    /// Does what time brings: a segment is not written to for ever.
    pub(in crate::queue) fn tick(&mut self) {
        let Some(segment) = &self.segment else { return };
        let over = match self.shared.kept() {
            Some(kept) => segment.began.elapsed() >= expiry::segment_age(kept),
            None => true,
        };
        if over && self.buffered.is_empty() {
            self.end_segment();
        }
    }

    fn end_segment(&mut self) {
        let Some(Current { number, file, .. }) = self.segment.take() else { return };
        if let Some(segment) = self.shared.segments().get_mut(&number) {
            segment.state = State::Ended;
        }
        if let (Some(file), Some(keeper)) = (file, &self.keeper) {
            keeper.ended(file);
        }
    }

    fn start_keeper(&mut self) {
        if self.keeper.is_none() {
            match Keeper::start(self.shared.clone()) {
                Ok(keeper) => self.keeper = Some(keeper),
                Err(error) => tracing::warn!(%error, "the history is not synced: its thread does not start"),
            }
        }
    }
}

impl Drop for HistoryWriter {
    fn drop(&mut self) {
        self.end_segment();
        // It syncs what is left, and ends.
        self.keeper.take();
    }
}

/// Makes a segment's file, and the directory with the first.
fn make(shared: &History, number: u64) -> io::Result<Arc<File>> {
    match DirBuilder::new().mode(0o700).create(shared.dir()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let path = shared.path(number);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(Arc::new)
}
