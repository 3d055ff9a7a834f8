//! Whether one record is as it must be: it opens, it is of the kind that its key says, and what it refers to is there.
//!
//! What a crash may leave and the next start finishes or sweeps is no fault of a stopped store, and is told apart. Each
//! judgement needs one record and what it refers to, so that a running store's can be made again where nothing changes
//! meanwhile.

use std::cell::Cell;
use std::ops::Bound;

use super::kind::{Kind, kind_of};
use crate::model::{DeadLetterId, OrgId, OrgNumber, Sequence, Target, UnixMs};
use crate::queue::front;
use crate::queue::key::{self, InDead, InOrgs, InQueue, Part};
use crate::queue::read;
use crate::queue::record::{
    AttemptRecord, Body, ClientRecord, DeadRecord, DeliveryRecord, OrgRecord, QuarantineRecord, Record,
    RequestRecord, RequestsRecord, SeenRecord, SourceRecord, StateRecord, WebhookRecord,
};
use crate::queue::seal::Unreadable;
use crate::queue::store::{Row, SealedTree, Store, Trouble};

/// What became of a record that was looked at.
pub(super) enum Judged {
    Sound,
    /// A crash left it like this, and the next start sees to it.
    Unfinished,
    Faulty(String),
}

/// Judges records of one store.
pub(super) struct Judge<'a> {
    store: &'a Store,
    /// The store is in use: what the start would have mended must be whole.
    live: bool,
    /// The org asked about last, and whether it is there.
    org: Cell<Option<(OrgNumber, bool)>>,
}

type Judgement = Result<Judged, Trouble>;

#[expect(clippy::unnecessary_wraps, reason = "what every judgement is")]
fn faulty(why: impl Into<String>) -> Judgement {
    Ok(Judged::Faulty(why.into()))
}

/// Goes on with the record, or ends with why it cannot be read.
macro_rules! readable {
    ($read:expr) => {
        match $read {
            Ok(record) => record,
            Err(why) => return faulty(Unreadable::to_string(&why)),
        }
    };
}

impl<'a> Judge<'a> {
    pub(super) fn new(store: &'a Store, live: bool) -> Judge<'a> {
        Judge { store, live, org: Cell::new(None) }
    }

    /// Judges a row of this tree.
    pub(super) fn judge(&self, tree: &SealedTree, row: &Row<'_>) -> Judgement {
        let Some(kind) = kind_of(&tree.name(), &row.key) else {
            return faulty("nothing that postrider stores has such a key");
        };
        let (org, sequence) = (key::org_in(&row.key), key::sequence_in(&row.key));
        match (kind, org, sequence) {
            (Kind::Meta, ..) => self.meta(row),
            (Kind::Quarantined, ..) => readable_as::<QuarantineRecord>(row),
            (Kind::Org | Kind::Webhook | Kind::Client | Kind::Source, Some(org), _) => {
                self.setting(kind, row, org)
            }
            (Kind::DeadLetter, Some(org), Some(sequence)) => self.dead_letter(row, org, sequence),
            (Kind::DeadLetterTime, ..) => self.dead_letter_time(row),
            (Kind::Chunk, ..) => Ok(row.opens().map_or_else(of_unreadable, |()| Judged::Sound)),
            (Kind::Attempt, ..) => {
                let attempt = row.read::<AttemptRecord>().and_then(AttemptRecord::into_attempt);
                Ok(attempt.map_or_else(of_unreadable, |_| Judged::Sound))
            }
            (Kind::State, Some(org), _) => self.state(tree, row, org),
            (Kind::Delivery, Some(org), Some(sequence))
                if row.key.first() == Some(&Part::Front.delivery()) =>
            {
                self.delivery_in_front(tree, row, org, sequence)
            }
            (Kind::Delivery, Some(org), Some(sequence)) => self.delivery(tree, row, org, sequence),
            (Kind::SeenId, ..) => readable_as::<SeenRecord>(row),
            (Kind::Request, ..) => readable_as::<RequestRecord>(row),
            (Kind::Requests, ..) => readable_as::<RequestsRecord>(row),
            _ => faulty("its key is cut short"),
        }
    }

    /// What only a stopped store may have.
    fn left_by_a_crash(&self, why: &str) -> Judgement {
        if self.live { faulty(why) } else { Ok(Judged::Unfinished) }
    }

    /// Whether the org is there, or is known to be on its way out.
    fn has_org(&self, org: OrgNumber) -> Result<bool, Trouble> {
        if let Some((known, there)) = self.org.get()
            && known == org
            && there
        {
            return Ok(true);
        }
        let there = self.store.orgs.contains(&key::of_org(InOrgs::Org as u8, org))?
            || self.store.meta.contains(&key::deleted(org))?;
        self.org.set(Some((org, there)));
        Ok(there)
    }

    fn meta(&self, row: &Row<'_>) -> Judgement {
        if row.key == key::NEXT_ORG {
            let next = readable!(row.read::<u32>());
            let mut orgs =
                self.store.orgs.rows::<[u8; 5]>(..key::of_org(InOrgs::Webhook as u8, OrgNumber(0)));
            let last = orgs.next_back().transpose()?.and_then(|row| key::org_in(&row.key));
            return match last {
                Some(last) if last.0 >= next => {
                    faulty(format!("the next org would have the number {next}, and org {} is there", last.0))
                }
                _ => Ok(Judged::Sound),
            };
        }
        if row.key == key::COMMITS {
            return readable_as::<u64>(row);
        }
        if row.key == key::HASH_KEY {
            return Ok(row.opens().map_or_else(of_unreadable, |()| Judged::Sound));
        }
        if row.key.starts_with(key::DELETED) && row.key.len() == key::deleted(OrgNumber(0)).len() {
            return Ok(Judged::Sound);
        }
        faulty("nothing that postrider stores has such a key")
    }

    fn setting(&self, kind: Kind, row: &Row<'_>, org: OrgNumber) -> Judgement {
        let (name, client) = match kind {
            Kind::Webhook => {
                let webhook = readable!(row.read::<WebhookRecord>().and_then(WebhookRecord::into_webhook));
                let client = match webhook.target {
                    Target::Client { client, .. } => Some(client),
                    Target::Url(_) => None,
                };
                (webhook.id.as_str().to_owned(), client)
            }
            Kind::Client => {
                let client = readable!(row.read::<ClientRecord>().and_then(ClientRecord::into_client));
                (client.id.as_str().to_owned(), None)
            }
            Kind::Source => {
                let source = readable!(row.read::<SourceRecord>().and_then(SourceRecord::into_source));
                (source.id.as_str().to_owned(), None)
            }
            _ => {
                readable!(row.read::<OrgRecord>().and_then(OrgRecord::into_parts));
                return Ok(Judged::Sound);
            }
        };
        if row.key.get(5..) != Some(&self.store.sealer.hash([name.as_bytes()])[..]) {
            return faulty("it lies where another name belongs");
        }
        if !self.store.orgs.contains(&key::of_org(InOrgs::Org as u8, org))? {
            return self.left_by_a_crash("its org is not there");
        }
        if let Some(client) = client {
            let place =
                key::of_name(InOrgs::Client, org, &self.store.sealer.hash([client.as_str().as_bytes()]));
            if !self.store.orgs.contains(&place)? {
                return faulty("its client is not there");
            }
        }
        Ok(Judged::Sound)
    }

    fn state(&self, tree: &SealedTree, row: &Row<'_>, org: OrgNumber) -> Judgement {
        let state = readable!(row.read::<StateRecord>());
        if !self.has_org(org)? {
            return faulty("its org is not there");
        }
        let kind = InQueue::Delivery as u8;
        let all = key::of_sequence(kind, org, Sequence(0))..=key::of_sequence(kind, org, Sequence(u64::MAX));
        let last = tree.rows(all).next_back().transpose()?;
        let last = last.and_then(|row| key::sequence_in(&row.key));
        if let Some(last) = last.filter(|last| last.0.saturating_add(1) < state.next_sequence) {
            return faulty(format!(
                "the deliveries after {} up to {} are missing",
                last.0,
                state.next_sequence - 1
            ));
        }
        if let Some(head) = state.head {
            let head_is_there = front::find(tree, org, Sequence(head.sequence))?.is_some();
            for number in 1..=head.attempts {
                let place = key::of_part(InQueue::Attempt as u8, org, Sequence(head.sequence), number);
                if head_is_there && !tree.contains(&place)? {
                    return faulty(format!("attempt {number} of its head {} is missing", head.sequence));
                }
            }
        }
        Ok(Judged::Sound)
    }

    fn delivery(&self, tree: &SealedTree, row: &Row<'_>, org: OrgNumber, sequence: Sequence) -> Judgement {
        let record = readable!(row.read::<DeliveryRecord>());
        if !self.has_org(org)? {
            return faulty("its org is not there");
        }
        let Some(state) = tree.row(&key::of_org(InQueue::State as u8, org))? else {
            // The state of a deleted org goes last, and of one that is there it comes first.
            return faulty("the state of its queue is missing");
        };
        let committed = match state.read::<StateRecord>() {
            Ok(state) => record.alone || sequence.0 < state.next_sequence,
            // Told of the state itself.
            Err(_) => true,
        };
        if !committed {
            return Ok(Judged::Unfinished);
        }
        if let Some(fault) = self.gap_before(tree, org, sequence)? {
            return faulty(fault);
        }
        if let Body::Chunks { at, last, .. } = record.body
            && !(at..=last).contains(&sequence.0)
        {
            return faulty("its payload is that of other deliveries");
        }
        self.payload_of(Part::Main, record, org, sequence)
    }

    /// One that was revived before its queue counts once its dead letter is gone.
    fn delivery_in_front(
        &self,
        tree: &SealedTree,
        row: &Row<'_>,
        org: OrgNumber,
        sequence: Sequence,
    ) -> Judgement {
        let record = readable!(row.read::<DeliveryRecord>());
        if !self.has_org(org)? {
            return faulty("its org is not there");
        }
        if !tree.contains(&key::of_org(InQueue::State as u8, org))? {
            return faulty("the state of its queue is missing");
        }
        if self.store.dead.contains(&key::of_sequence(InDead::Letter as u8, org, sequence))? {
            return self.left_by_a_crash("it is a dead letter as well");
        }
        self.payload_of(Part::Front, record, org, sequence)
    }

    /// The last of a delivery's judgement: it is whole.
    fn payload_of(
        &self,
        part: Part,
        mut record: DeliveryRecord,
        org: OrgNumber,
        sequence: Sequence,
    ) -> Judgement {
        let payload = readable!(self.store.payload(org, part, &mut record)?);
        if payload.len() as u64 != record.size {
            return faulty(format!("its payload has {} bytes, not {}", payload.len(), record.size));
        }
        readable!(record.into_delivery(sequence, payload.into()));
        Ok(Judged::Sound)
    }

    /// Only the head ever leaves: behind any delivery there is the next.
    fn gap_before(
        &self,
        tree: &SealedTree,
        org: OrgNumber,
        sequence: Sequence,
    ) -> Result<Option<String>, Trouble> {
        let kind = InQueue::Delivery as u8;
        let before = Sequence(sequence.0.saturating_sub(1));
        if before < Sequence::FIRST {
            return Ok(None);
        }
        if tree.contains(&key::of_sequence(kind, org, before))? {
            return Ok(None);
        }
        let lower = (
            Bound::Included(key::of_sequence(kind, org, Sequence(0))),
            Bound::Excluded(key::of_sequence(kind, org, before)),
        );
        let lower = tree.rows::<[u8; 13]>(lower).next_back().transpose()?;
        let lower = lower.and_then(|row| key::sequence_in(&row.key));
        // One that is a dead letter already lacks only its removal.
        let is_dead =
            |lower: Sequence| self.store.dead.contains(&key::of_sequence(InDead::Letter as u8, org, lower));
        match lower {
            Some(lower) if self.live || !is_dead(lower)? => {
                Ok(Some(format!("the deliveries after {} up to {} are missing", lower.0, before.0)))
            }
            _ => Ok(None),
        }
    }

    fn dead_letter(&self, row: &Row<'_>, org: OrgNumber, sequence: Sequence) -> Judgement {
        let mut letter = readable!(row.read::<DeadRecord>());
        readable!(letter.reason());
        readable!(letter.org.parse::<OrgId>().map_err(|_| Unreadable::Garbled));
        if !self.has_org(org)? {
            return faulty("its org is not there");
        }
        let id = DeadLetterId { org, sequence };
        let payload = readable!(read::dead_payload(self.store, id, &mut letter.delivery)?);
        if payload.len() as u64 != letter.delivery.size {
            return faulty(format!("its payload has {} bytes, not {}", payload.len(), letter.delivery.size));
        }
        readable!(letter.delivery.into_delivery(sequence, payload.into()));
        let last = key::of_part(InDead::Attempt as u8, org, sequence, letter.attempts_made);
        if letter.attempts_made > 0 && !self.store.dead.contains(&last)? {
            return faulty(format!("its attempt {} is missing", letter.attempts_made));
        }
        if !self.store.dead.contains(&key::by_time(UnixMs(letter.died_at_ms), id))? {
            return self.left_by_a_crash("its place in the order of death is missing");
        }
        Ok(Judged::Sound)
    }

    fn dead_letter_time(&self, row: &Row<'_>) -> Judgement {
        let Some((_, id)) = key::by_time_in(&row.key) else { return faulty("its key is no time") };
        if self.store.dead.contains(&key::of_sequence(InDead::Letter as u8, id.org, id.sequence))? {
            return Ok(Judged::Sound);
        }
        self.left_by_a_crash("its dead letter is not there")
    }
}

fn of_unreadable(why: Unreadable) -> Judged {
    Judged::Faulty(why.to_string())
}

#[expect(clippy::unnecessary_wraps, reason = "what every judgement is")]
fn readable_as<T: Record>(row: &Row<'_>) -> Judgement {
    Ok(row.read::<T>().map_or_else(of_unreadable, |_| Judged::Sound))
}
