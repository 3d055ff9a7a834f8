//! Reading, on threads that may block, while the committer writes: up to where it has written.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::format::{self, HEADER, Header, MAGIC};
use super::{History, Segment};
use crate::model::{Delivered, EventId, HistoryId, OrgId, OrgNumber, UnixMs, WebhookId};
use crate::queue::Directory;
use crate::queue::record::HistoryRecord;
use crate::queue::seal::Unreadable;

/// Read at a time when entries are passed over.
pub(super) const READ_BYTES: usize = 128 << 10;
/// Entries opened for one page, and what they may take: bounds the time of a call whose filter matches little.
const OPENED_PER_PAGE_MAX: usize = 20_000;
const BYTES_PER_PAGE_MAX: u64 = 32 << 20;

/// Which entries of the history; what is left out means any.
#[derive(Debug, Clone, Default)]
pub struct HistoryFilter {
    /// Of this org.
    pub org: Option<OrgId>,
    /// For this webhook.
    pub webhook: Option<WebhookId>,
    /// Events of one of these types; none at all means any.
    pub event_types: Vec<String>,
    /// The event with this id.
    pub event_id: Option<EventId>,
    /// Replays only, or none.
    pub replay: Option<bool>,
    /// Delivered at or after this.
    pub since: Option<UnixMs>,
    /// Delivered before this.
    pub until: Option<UnixMs>,
}

/// A page of the history, oldest first.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The entries, without payload.
    pub items: Vec<Delivered>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<HistoryId>,
}

/// The entries of a segment, one after the other, up to where they are not whole.
pub(super) struct Walk {
    file: BufReader<File>,
    at: u64,
    end: u64,
}

impl Walk {
    /// From the entry at `offset` on, or from the first, so many bytes at a time. `None` if the segment is gone, or too short to be one.
    pub(super) fn open(path: &Path, offset: u64, end: u64, read_bytes: usize) -> io::Result<Option<Walk>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut magic = [0; MAGIC.len()];
        match file.read_exact_at(&mut magic, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no segment"));
        }
        let at = offset.max(MAGIC.len() as u64);
        let mut file = BufReader::with_capacity(read_bytes, file);
        file.seek(SeekFrom::Start(at))?;
        Ok(Some(Walk { file, at, end }))
    }

    /// Where the next entry begins, or what is whole ends.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next entry's place and header; it must be [read](Walk::sealed) or [passed over](Walk::pass).
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Header)>> {
        if self.at + HEADER as u64 > self.end {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        self.file.read_exact(&mut bytes)?;
        let header = Header::read(&bytes).filter(|header| header.end(self.at) <= self.end);
        Ok(header.map(|header| (self.at, header)))
    }

    pub(super) fn pass(&mut self, header: &Header) -> io::Result<()> {
        self.file.seek_relative(i64::from(header.length))?;
        self.at = header.end(self.at);
        Ok(())
    }

    pub(super) fn sealed(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let mut sealed = vec![0; header.length as usize];
        self.file.read_exact(&mut sealed)?;
        self.at = header.end(self.at);
        Ok(sealed)
    }
}

/// What a page has cost.
#[derive(Default)]
struct Taken {
    opened: usize,
    bytes: u64,
}

/// A look at the history.
pub(super) struct Reader<'a> {
    history: &'a History,
    directory: &'a Directory,
}

impl<'a> Reader<'a> {
    pub(super) fn new(history: &'a History, directory: &'a Directory) -> Reader<'a> {
        Reader { history, directory }
    }

    /// Where the history ends: no entry that is written from now on lies before this.
    pub(super) fn end(&self) -> HistoryId {
        let last = self.history.segments().last_key_value().map(|(number, segment)| (*number, segment.end));
        last.map_or(HistoryId { segment: 0, offset: 0 }, |(segment, offset)| HistoryId { segment, offset })
    }

    /// A page of the entries that match, of those after `after` and before `before`.
    pub(super) fn list(
        &self,
        filter: &HistoryFilter,
        (after, before): (Option<HistoryId>, Option<HistoryId>),
        limit: usize,
    ) -> HistoryPage {
        let mut page = HistoryPage { items: Vec::new(), next: None };
        let number = match &filter.org {
            Some(org) => match self.directory.org(org) {
                Some(org) => Some(org.number),
                None => return page,
            },
            None => None,
        };
        let mut taken = Taken::default();
        for (segment, shown) in self.segments_of(filter, after) {
            match self.list_in(
                (segment, &shown),
                filter,
                number,
                (after, before),
                (&mut page, &mut taken, limit),
            ) {
                Ok(true) => {}
                Ok(false) => return page,
                // What is damaged costs itself; the others are shown.
                Err(error) => {
                    tracing::warn!(%error, segment = %format::file_name(segment), "a part of the history cannot be read");
                }
            }
        }
        page.next = None;
        page
    }

    /// Takes what matches in one segment. Whether the next one is to follow.
    fn list_in(
        &self,
        (segment, shown): (u64, &Segment),
        filter: &HistoryFilter,
        number: Option<OrgNumber>,
        (after, before): (Option<HistoryId>, Option<HistoryId>),
        (page, taken, limit): (&mut HistoryPage, &mut Taken, usize),
    ) -> io::Result<bool> {
        let from = after.filter(|after| after.segment == segment).map_or(0, |after| after.offset);
        let Some(mut walk) = Walk::open(&self.history.path(segment), from, shown.end, READ_BYTES)? else {
            return Ok(true);
        };
        while let Some((offset, header)) = walk.next()? {
            let id = HistoryId { segment, offset };
            if before.is_some_and(|before| id >= before) {
                page.next = None;
                return Ok(false);
            }
            let passed = after.is_some_and(|after| id <= after);
            if passed || !may_match(filter, number, &header) {
                walk.pass(&header)?;
                continue;
            }
            if page.items.len() == limit
                || taken.opened >= OPENED_PER_PAGE_MAX
                || taken.bytes >= BYTES_PER_PAGE_MAX
            {
                return Ok(false);
            }
            taken.opened += 1;
            taken.bytes += u64::from(header.length);
            let sealed = walk.sealed(&header)?;
            page.items
                .extend(self.opened(id, &header, &sealed, false).filter(|entry| matches(filter, entry)));
            page.next = Some(id);
        }
        Ok(true)
    }

    /// The segments that may hold what is asked for, oldest first.
    fn segments_of(&self, filter: &HistoryFilter, after: Option<HistoryId>) -> Vec<(u64, Segment)> {
        let first = after.map_or(0, |after| after.segment);
        let too_early = |segment: &Segment| {
            let newest = segment.times.map(|(_, newest)| newest);
            newest.zip(filter.since).is_some_and(|(newest, since)| newest < since)
        };
        let segments = self.history.segments();
        let wanted = segments.range(first..).filter(|(_, segment)| !too_early(segment));
        wanted.map(|(number, segment)| (*number, *segment)).collect()
    }

    /// One entry; `None` if there is none of this id, or its org is gone.
    pub(super) fn find(&self, id: HistoryId, payload: bool) -> io::Result<Option<(OrgNumber, Delivered)>> {
        let Some(shown) = self.history.segments().get(&id.segment).copied() else { return Ok(None) };
        if !(MAGIC.len() as u64..shown.end).contains(&id.offset) {
            return Ok(None);
        }
        let Some(mut walk) = Walk::open(&self.history.path(id.segment), id.offset, shown.end, HEADER)? else {
            return Ok(None);
        };
        let Some((_, header)) = walk.next()? else { return Ok(None) };
        let sealed = walk.sealed(&header)?;
        Ok(self.opened(id, &header, &sealed, payload).map(|entry| (header.org, entry)))
    }

    /// Opens an entry. One that does not open is passed over, and one whose org is no longer there is nobody's.
    fn opened(&self, id: HistoryId, header: &Header, sealed: &[u8], payload: bool) -> Option<Delivered> {
        match self.unseal(id, header, sealed, payload) {
            Ok(entry) => {
                let org = self.directory.by_number(header.org)?;
                (org.id == entry.org).then_some(entry)
            }
            Err(why) => {
                tracing::debug!(%id, %why, "an entry of the history is unreadable");
                None
            }
        }
    }

    fn unseal(
        &self,
        id: HistoryId,
        header: &Header,
        sealed: &[u8],
        payload: bool,
    ) -> Result<Delivered, Unreadable> {
        let key = format::key(id.offset, header.org, header.delivered_at);
        let (version, plain) = self.history.sealer.open(format::tree(id.segment).as_bytes(), &key, sealed)?;
        let (record, body) = HistoryRecord::read(version, &plain)?;
        let payload = if payload { Bytes::copy_from_slice(body) } else { Bytes::new() };
        record.into_delivered(id, header.delivered_at, payload)
    }
}

/// Whether an entry with this header may match, of the org with this number if one is asked for.
fn may_match(filter: &HistoryFilter, org: Option<OrgNumber>, header: &Header) -> bool {
    org.is_none_or(|org| org == header.org)
        && filter.since.is_none_or(|since| header.delivered_at >= since)
        && filter.until.is_none_or(|until| header.delivered_at < until)
}

fn matches(filter: &HistoryFilter, entry: &Delivered) -> bool {
    let delivery = &entry.delivery;
    filter.webhook.as_ref().is_none_or(|webhook| *webhook == delivery.webhook)
        && (filter.event_types.is_empty()
            || filter.event_types.iter().any(|wanted| wanted == delivery.event_type.as_str()))
        && filter.event_id.as_ref().is_none_or(|id| *id == delivery.event_id)
        && filter.replay.is_none_or(|replay| replay == delivery.replay)
}
