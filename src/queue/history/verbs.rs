//! The verbs of the history.

use std::io;

use super::read::Reader;
use super::{HistoryFilter, HistoryPage};
use crate::model::{Attempt, Delivered, Delivery, HistoryId, UnixMs};
use crate::queue::copy::Rekeyed;
use crate::queue::key::{self, InQueue};
use crate::queue::record::{AttemptRecord, HistoryRecord};
use crate::queue::settle;
use crate::queue::store::{Store, Trouble};
use crate::queue::writer::Writer;
use crate::queue::{Claim, Queue, Refused, Settled};

impl Queue {
    /// Whether what is delivered is kept: then [`Queue::done_and_keep`] is to be told of it.
    pub fn keeps_history(&self) -> bool {
        self.store().history.is_on()
    }

    /// The head was delivered by `attempt`, which had ended at `at`: remove it, and keep it in the history.
    pub async fn done_and_keep(
        &self,
        claim: Claim,
        delivery: Delivery,
        attempt: Attempt,
        at: UnixMs,
    ) -> Result<Settled, Refused> {
        self.commit(0, move |writer| settle::done_and_keep(writer, claim, &delivery, &attempt, at)).await
    }

    /// Entries that match, oldest first: in the order in which they were delivered. Of those after `after` and, if that is
    /// given, before `before`. A page may hold fewer than `limit` and still have a next one.
    pub async fn history_list(
        &self,
        filter: HistoryFilter,
        after: Option<HistoryId>,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<HistoryPage, Refused> {
        self.read_history(move |reader| Ok(reader.list(&filter, (after, before), limit))).await
    }

    /// Where the history ends now: what is delivered from now on lies behind it.
    pub async fn history_end(&self) -> Result<HistoryId, Refused> {
        self.read_history(|reader| Ok(reader.end())).await
    }

    /// One entry with every attempt.
    pub async fn history_show(&self, id: HistoryId, payload: bool) -> Result<Option<Delivered>, Refused> {
        self.read_history(move |reader| Ok(reader.find(id, payload)?.map(|(_, entry)| entry))).await
    }

    /// Seals with the current key what the previous one sealed, and counts it to what is done.
    pub(in crate::queue) async fn reseal_history(&self, mut done: Rekeyed) -> Result<Rekeyed, Refused> {
        let resealed = move |store: &Store| Ok(store.history.reseal(&mut done).map(|()| done));
        self.read_store(resealed).await?.map_err(|error| {
            tracing::error!(%error, "sealing the history anew failed");
            Refused::Unavailable("sealing the history anew failed; what is done stays done".to_owned())
        })
    }

    /// Reads on a thread that may block.
    pub(super) async fn read_history<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Reader<'_>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Refused> {
        let directory = self.shown().directory.clone();
        let read = self.read_store(move |store| Ok(look(&Reader::new(&store.history, &directory)))).await?;
        read.map_err(|error| {
            tracing::error!(%error, "reading the history failed");
            Refused::Unavailable("reading the history failed".to_owned())
        })
    }
}

/// Puts a head that was delivered into the history, if that takes it.
pub(in crate::queue) fn keep(
    writer: &mut Writer,
    claim: Claim,
    delivery: &Delivery,
    (attempts_before, last): (u32, &Attempt),
    at: UnixMs,
) -> Result<(), Trouble> {
    if !writer.history.takes_entries() {
        writer.history.note_gap();
        return Ok(());
    }
    if writer.disk_is_full(delivery.size) {
        writer.history.miss("free disk space is below the reserve");
        return Ok(());
    }
    let Some(org) = writer.org_name(claim.org) else { return Ok(()) };
    let mut attempts = Vec::new();
    if attempts_before > 0 {
        let tree = writer.store.queue_for_writing(claim.org)?;
        for number in 1..=attempts_before {
            let place = key::of_part(InQueue::Attempt as u8, claim.org, claim.sequence, number);
            let row = tree.row(&place)?;
            attempts.extend(row.and_then(|row| row.read::<AttemptRecord>().ok()));
        }
    }
    attempts.push(AttemptRecord::from(last));
    let record = HistoryRecord::new(org.as_str(), delivery, attempts);
    writer.history.push(claim.org, at, &record, &delivery.payload);
    Ok(())
}
