//! PURE. The keys of the store: binary, fixed, big-endian, so that their order is the order of the queue.
//!
//! ```text
//! queue/NNNN   (NNNN = org number mod 1024; made when first needed, never dropped)
//!   1 | org u32                              state of the org's queue
//!   2 | org u32 | sequence u64               delivery
//!   3 | org u32 | sequence u64 | part u32    chunk of a payload, under the sequence of its event's first delivery
//!   4 | org u32 | sequence u64 | number u32  attempt of the head
//!   5 | org u32 | day u32 | hash [u8; 16]    seen id of an event or of a change (hashed apart), by the day it was accepted
//!   6 | org u32 | day u32 | hash [u8; 16]    request of a source that was seen, by the day it was accepted
//!   7 | org u32                              what the requests that were seen on one day take
//!   8 | org u32 | sequence u64               delivery before the queue, see front.rs
//!   9 | org u32 | sequence u64 | part u32    chunk of its payload
//! dead
//!   1 | org u32 | sequence u64               dead letter
//!   2 | died_at u64 | org u32 | sequence u64 the same in order of death; no value
//!   3 | org u32 | sequence u64 | part u32    chunk of its payload
//!   4 | org u32 | sequence u64 | number u32  its attempts
//! orgs
//!   1 | org u32                              org
//!   2 | org u32 | hash [u8; 16]              webhook
//!   3 | org u32 | hash [u8; 16]              client
//!   4 | org u32 | hash [u8; 16]              source
//! meta
//!   "next-org"                               the next org number
//!   "hash-key"                               what names are hashed with, see names.rs
//!   "commits"                                the number of the last commit, see mark.rs
//!   "deleted/" org u32                       a deleted org whose rows are not all gone yet
//! quarantine
//!   time u64 | counter u32                   an unreadable record as it was, with its place
//! ```

use crate::model::{DeadLetterId, OrgNumber, Sequence, UnixMs};

/// How many queue trees there are at most: sled rewrites one page with all tree names whenever a tree is made.
pub(super) const QUEUE_TREES: u32 = 1024;
/// A keyed hash where a key needs a name.
pub(super) type KeyHash = [u8; 16];

pub(super) const DEAD_TREE: &[u8] = b"dead";
pub(super) const ORGS_TREE: &[u8] = b"orgs";
pub(super) const META_TREE: &[u8] = b"meta";
pub(super) const QUARANTINE_TREE: &[u8] = b"quarantine";
pub(super) const NEXT_ORG: &[u8] = b"next-org";
pub(super) const COMMITS: &[u8] = b"commits";
pub(super) const HASH_KEY: &[u8] = b"hash-key";

/// What a key of a queue tree names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum InQueue {
    State = 1,
    Delivery = 2,
    Chunk = 3,
    Attempt = 4,
    Seen = 5,
    Request = 6,
    Requests = 7,
    Front = 8,
    FrontChunk = 9,
}

/// Which part of its queue a delivery waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Before the queue: revived there.
    Front,
    /// The queue itself.
    Main,
}

impl Part {
    /// The kind of its deliveries' keys.
    pub(super) fn delivery(self) -> u8 {
        match self {
            Part::Front => InQueue::Front as u8,
            Part::Main => InQueue::Delivery as u8,
        }
    }

    /// The kind of its chunks' keys.
    pub(super) fn chunk(self) -> u8 {
        match self {
            Part::Front => InQueue::FrontChunk as u8,
            Part::Main => InQueue::Chunk as u8,
        }
    }
}

/// What a key of the dead-letter tree names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum InDead {
    Letter = 1,
    ByTime = 2,
    Chunk = 3,
    Attempt = 4,
}

/// What a key of the orgs tree names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum InOrgs {
    Org = 1,
    Webhook = 2,
    Client = 3,
    Source = 4,
}

/// The name of the queue tree that holds an org.
pub(super) fn queue_tree(org: OrgNumber) -> String {
    format!("queue/{:04}", org.0 % QUEUE_TREES)
}

/// The number that stands for all orgs of a queue tree with this name.
pub(super) fn number_of_queue_tree(name: &[u8]) -> Option<OrgNumber> {
    let number = std::str::from_utf8(name).ok()?.strip_prefix("queue/")?.parse().ok()?;
    Some(OrgNumber(number)).filter(|number| queue_tree(*number).as_bytes() == name)
}

/// The prefix of notes on deleted orgs.
pub(super) const DELETED: &[u8] = b"deleted/";

/// The key of the note that an org was deleted.
pub(super) fn deleted(org: OrgNumber) -> Vec<u8> {
    [DELETED, &org.0.to_be_bytes()].concat()
}

/// The org in such a key.
pub(super) fn deleted_org_in(key: &[u8]) -> Option<OrgNumber> {
    u32_at(key, DELETED.len()).map(OrgNumber)
}

/// Joins parts into a key.
fn join<const N: usize>(kind: u8, parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    let bytes = std::iter::once(&kind).chain(parts.iter().copied().flatten());
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    key
}

/// A key of one org's single record, and the prefix of its records of that kind.
pub(super) fn of_org(kind: u8, org: OrgNumber) -> [u8; 5] {
    join(kind, &[&org.0.to_be_bytes()])
}

/// A key by org and sequence.
pub(super) fn of_sequence(kind: u8, org: OrgNumber, sequence: Sequence) -> [u8; 13] {
    join(kind, &[&org.0.to_be_bytes(), &sequence.0.to_be_bytes()])
}

/// A key by org, sequence and number within it.
pub(super) fn of_part(kind: u8, org: OrgNumber, sequence: Sequence, part: u32) -> [u8; 17] {
    join(kind, &[&org.0.to_be_bytes(), &sequence.0.to_be_bytes(), &part.to_be_bytes()])
}

/// The key of a seen id, of an event or of a change.
pub(super) fn seen(org: OrgNumber, day: u32, hash: &KeyHash) -> [u8; 25] {
    join(InQueue::Seen as u8, &[&org.0.to_be_bytes(), &day.to_be_bytes(), hash])
}

/// The key of a request that was seen.
pub(super) fn request(org: OrgNumber, day: u32, hash: &KeyHash) -> [u8; 25] {
    join(InQueue::Request as u8, &[&org.0.to_be_bytes(), &day.to_be_bytes(), hash])
}

/// The key of a webhook, a client or a source.
pub(super) fn of_name(kind: InOrgs, org: OrgNumber, hash: &KeyHash) -> [u8; 21] {
    join(kind as u8, &[&org.0.to_be_bytes(), hash])
}

/// The key of a dead letter in the order of death. Times before 1970 sort as 1970.
pub(super) fn by_time(died_at: UnixMs, id: DeadLetterId) -> [u8; 21] {
    let at = u64::try_from(died_at.0).unwrap_or(0);
    join(InDead::ByTime as u8, &[&at.to_be_bytes(), &id.org.0.to_be_bytes(), &id.sequence.0.to_be_bytes()])
}

fn u32_at(key: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(key: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?))
}

/// The org in a key that has one right after its kind.
pub(super) fn org_in(key: &[u8]) -> Option<OrgNumber> {
    u32_at(key, 1).map(OrgNumber)
}

/// The sequence in a key by org and sequence.
pub(super) fn sequence_in(key: &[u8]) -> Option<Sequence> {
    u64_at(key, 5).map(Sequence)
}

/// The day in a key of what was seen.
pub(super) fn day_in(key: &[u8]) -> Option<u32> {
    u32_at(key, 5)
}

/// Time and dead letter in a key of the order of death.
pub(super) fn by_time_in(key: &[u8]) -> Option<(UnixMs, DeadLetterId)> {
    let died_at = UnixMs(i64::try_from(u64_at(key, 1)?).ok()?);
    let id = DeadLetterId { org: OrgNumber(u32_at(key, 9)?), sequence: Sequence(u64_at(key, 13)?) };
    Some((died_at, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_bytes_and_read_back() {
        let (org, sequence) = (OrgNumber(0x0102_0304), Sequence(0x0506));
        let key = of_part(InQueue::Chunk as u8, org, sequence, 7);
        assert_eq!(key, [3, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 5, 6, 0, 0, 0, 7]);
        assert_eq!((org_in(&key), sequence_in(&key)), (Some(org), Some(sequence)));
        let id = DeadLetterId { org, sequence };
        assert_eq!(by_time_in(&by_time(UnixMs(9), id)), Some((UnixMs(9), id)));
        assert_eq!(day_in(&seen(org, 12, &[1; 16])), Some(12));
    }

    #[test]
    fn order_of_keys_is_order_of_the_queue() {
        let kind = InQueue::Delivery as u8;
        let mut keys: Vec<_> = [(2, 1), (1, 256), (1, 255), (1, u64::MAX)]
            .map(|(org, sequence)| of_sequence(kind, OrgNumber(org), Sequence(sequence)))
            .to_vec();
        keys.sort_unstable();
        let order: Vec<_> = keys.iter().map(|k| (org_in(k).unwrap().0, sequence_in(k).unwrap().0)).collect();
        assert_eq!(order, [(1, 255), (1, 256), (1, u64::MAX), (2, 1)]);
    }

    #[test]
    fn orgs_share_trees_only_beyond_1024() {
        assert_eq!(queue_tree(OrgNumber(1)), "queue/0001");
        assert_eq!(queue_tree(OrgNumber(1025)), "queue/0001");
        assert_eq!(number_of_queue_tree(b"queue/0001"), Some(OrgNumber(1)));
        assert_eq!(number_of_queue_tree(b"queue/1025"), None);
    }
}
