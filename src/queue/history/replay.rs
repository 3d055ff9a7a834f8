//! Replays: what was delivered is appended to its org's queue again, as a delivery of its own.

use std::collections::VecDeque;
use std::io;

use super::read::Reader;
use crate::model::{Delivered, HistoryId, OrgNumber};
use crate::queue::append::{put_deliveries, room};
use crate::queue::record::{Body, DeliveryRecord};
use crate::queue::store::{Trouble, VALUE_BYTES_MAX};
use crate::queue::writer::{Applied, Writer};
use crate::queue::{HistoryFilter, Queue, Refused};

/// Payload bytes read for one commit: one payload may take it beyond that.
const STEP_BYTES: u64 = 256 << 10;

/// Entries looked for in one step.
const STEP: usize = 500;

/// What a replay of several entries came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// Appended.
    pub replayed: u64,
    /// Entries that are no longer there, or whose org is not.
    pub gone: u64,
    /// The entry that was refused, and why: neither it nor those after it were appended.
    pub refused: Option<(HistoryId, Refused)>,
}

/// What a replay by filter came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayRun {
    /// Entries that matched, up to one that was refused.
    pub matched: u64,
    /// What became of them.
    pub replay: Replay,
}

impl Queue {
    /// Replays every entry that matches, in the order in which they were delivered, or only counts them. What is delivered
    /// meanwhile is not met. Ends at the first that is refused.
    pub async fn replay_matching(&self, filter: HistoryFilter, dry_run: bool) -> Result<ReplayRun, Refused> {
        let before = Some(self.history_end().await?);
        let mut run = ReplayRun::default();
        let mut after = None;
        loop {
            let page = self.history_list(filter.clone(), after, before, STEP).await?;
            run.matched += page.items.len() as u64;
            if !dry_run {
                let step = self.replay(page.items.iter().map(|entry| entry.id).collect()).await?;
                run.replay.replayed += step.replayed;
                run.replay.gone += step.gone;
                run.replay.refused = step.refused;
            }
            after = page.next;
            if after.is_none() || run.replay.refused.is_some() {
                return Ok(run);
            }
        }
    }

    /// Appends these entries of the history to the tails of their orgs' queues in this order, as replays: with the same
    /// event id and fresh attempts. Ends at the first that is refused.
    pub async fn replay(&self, ids: Vec<HistoryId>) -> Result<Replay, Refused> {
        let mut total = Replay::default();
        let mut left = VecDeque::from(ids);
        while !left.is_empty() && total.refused.is_none() {
            let found;
            (found, left) = self.read_history(move |reader| find(reader, left)).await?;
            total.gone += found.gone;
            let (entries, bytes) = (found.entries, usize::try_from(found.bytes).unwrap_or(0));
            let step = self.commit(bytes, move |writer| Ok(Ok(append(writer, entries)?))).await?;
            total.replayed += step.replayed;
            total.gone += step.gone;
            total.refused = step.refused;
        }
        Ok(total)
    }
}

/// Entries for one commit.
#[derive(Default)]
struct Found {
    entries: Vec<(OrgNumber, Delivered)>,
    bytes: u64,
    gone: u64,
}

/// Takes as many off the list as make a commit. Answers the rest as well.
fn find(reader: &Reader<'_>, mut ids: VecDeque<HistoryId>) -> io::Result<(Found, VecDeque<HistoryId>)> {
    let mut found = Found::default();
    while found.bytes < STEP_BYTES
        && let Some(id) = ids.pop_front()
    {
        match reader.find(id, true)? {
            Some((org, entry)) => {
                found.bytes += entry.delivery.size;
                found.entries.push((org, entry));
            }
            None => found.gone += 1,
        }
    }
    Ok((found, ids))
}

fn append(writer: &mut Writer, entries: Vec<(OrgNumber, Delivered)>) -> Result<Replay, Trouble> {
    let mut step = Replay::default();
    for (org, entry) in entries {
        let id = entry.id;
        match append_one(writer, org, entry) {
            Ok(Ok(())) => step.replayed += 1,
            Ok(Err(Refused::UnknownOrg)) => step.gone += 1,
            Ok(Err(refused)) => {
                step.refused = Some((id, refused));
                break;
            }
            // Of an earlier format, and too long by what this one adds.
            Err(Trouble::TooLarge { .. }) => {
                step.refused = Some((id, Refused::TooLarge(VALUE_BYTES_MAX)));
                break;
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(step)
}

fn append_one(writer: &mut Writer, number: OrgNumber, entry: Delivered) -> Applied<()> {
    let Some(org) = writer.org(&entry.org).filter(|org| org.number == number) else {
        return Ok(Err(Refused::UnknownOrg));
    };
    let delivery = entry.delivery;
    let size = delivery.size;
    let (first, bytes_before) = match room(writer, &org, 1, size, size)? {
        Ok(place) => place,
        Err(refused) => return Ok(Err(refused)),
    };
    let record = DeliveryRecord {
        event_id: delivery.event_id.into(),
        event_type: delivery.event_type.into(),
        webhook: String::new(),
        attributes: delivery.attributes.into_iter().collect(),
        accepted_at_ms: delivery.accepted_at.0,
        size,
        bytes_before,
        alone: true,
        replay: true,
        seen: None,
        body: Body::Inline(Vec::new()),
    };
    let webhook = [delivery.webhook.as_str().to_owned()];
    put_deliveries(writer, number, first, record, &webhook, &delivery.payload)?;
    Ok(Ok(()))
}
