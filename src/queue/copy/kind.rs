//! PURE. What a record is, by its key; and how a fault names its place.

use serde::Serialize;

use crate::model::Sequence;
use crate::queue::key;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the model")]
pub enum Kind {
    Org,
    Webhook,
    Client,
    Source,
    State,
    Delivery,
    DeadLetter,
    DeadLetterTime,
    Attempt,
    Chunk,
    SeenId,
    Request,
    Requests,
    Meta,
    Quarantined,
}

/// Every kind, in the order in which they are told.
pub(super) const KINDS: [Kind; 15] = [
    Kind::Org,
    Kind::Webhook,
    Kind::Client,
    Kind::Source,
    Kind::State,
    Kind::Delivery,
    Kind::DeadLetter,
    Kind::DeadLetterTime,
    Kind::Attempt,
    Kind::Chunk,
    Kind::SeenId,
    Kind::Request,
    Kind::Requests,
    Kind::Meta,
    Kind::Quarantined,
];

/// Something that is not as it must be, by its place: never by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The tree that it lies in; `store` for the store as a whole.
    pub tree: String,
    /// What it is, if its key says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The number of its org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<u32>,
    /// Its delivery's sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
    /// What is wrong with it.
    pub why: String,
}

/// What the key says that its record is; `None` for a key that nothing of ours has.
pub(super) fn kind_of(tree: &[u8], key: &[u8]) -> Option<Kind> {
    let (kind, length) = match (tree, key.first()?) {
        (key::META_TREE, _) => return Some(Kind::Meta),
        (key::QUARANTINE_TREE, _) => (Kind::Quarantined, 12),
        (key::ORGS_TREE, 1) => (Kind::Org, 5),
        (key::ORGS_TREE, 2) => (Kind::Webhook, 21),
        (key::ORGS_TREE, 3) => (Kind::Client, 21),
        (key::ORGS_TREE, 4) => (Kind::Source, 21),
        (key::DEAD_TREE, 1) => (Kind::DeadLetter, 13),
        (key::DEAD_TREE, 2) => (Kind::DeadLetterTime, 21),
        (key::DEAD_TREE, 3) => (Kind::Chunk, 17),
        (key::DEAD_TREE, 4) => (Kind::Attempt, 17),
        (key::ORGS_TREE | key::DEAD_TREE, _) => return None,
        (_, 1) => (Kind::State, 5),
        (_, 2 | 8) => (Kind::Delivery, 13),
        (_, 3 | 9) => (Kind::Chunk, 17),
        (_, 4) => (Kind::Attempt, 17),
        (_, 5) => (Kind::SeenId, 25),
        (_, 6) => (Kind::Request, 25),
        (_, 7) => (Kind::Requests, 5),
        _ => return None,
    };
    (key.len() == length).then_some(kind)
}

/// The fault of the record under this key.
pub(super) fn fault_at(tree: &[u8], key: &[u8], why: String) -> Fault {
    let kind = kind_of(tree, key);
    let (org, sequence) = match kind {
        Some(Kind::DeadLetterTime) => key::by_time_in(key).map(|(_, id)| (id.org, id.sequence)).unzip(),
        Some(Kind::Meta) => (key::deleted_org_in(key).filter(|_| key.starts_with(key::DELETED)), None),
        Some(Kind::Quarantined) | None => (None, None),
        Some(Kind::Delivery | Kind::DeadLetter | Kind::Chunk | Kind::Attempt) => {
            (key::org_in(key), key::sequence_in(key))
        }
        Some(_) => (key::org_in(key), None),
    };
    let org = org.map(|org| org.0);
    Fault { tree: String::from_utf8_lossy(tree).into_owned(), kind, org, sequence, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OrgNumber;
    use crate::queue::key::InQueue;

    #[test]
    fn a_key_says_what_its_record_is_or_is_none_of_ours() {
        let sequence = key::of_sequence(InQueue::Delivery as u8, OrgNumber(7), Sequence(9));
        assert_eq!(kind_of(b"queue/0007", &sequence), Some(Kind::Delivery));
        assert_eq!(kind_of(b"queue/0007", &sequence[..12]), None);
        assert_eq!(kind_of(b"dead", &key::of_part(4, OrgNumber(7), Sequence(9), 1)), Some(Kind::Attempt));
        assert_eq!(kind_of(b"dead", &[5, 0, 0, 0, 0]), None);
        let fault = fault_at(b"queue/0007", &sequence, "torn".to_owned());
        assert_eq!((fault.org, fault.sequence), (Some(7), Some(Sequence(9))));
    }
}
