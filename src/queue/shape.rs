//! Where queues and dead letters stand by age, without reading them: what operators of mail queues know as qshape.
//!
//! Deliveries of an org have consecutive sequences, and were accepted in their order. So where an age begins is found by
//! halving, with some ten reads for each age that occurs, whatever the depth; what lies between two deliveries of one age is
//! counted and not read. A clock that was set, or a dead letter that was revived with the time at which it was first
//! accepted, moves deliveries to a neighbouring age; none is counted twice or left out.
//!
//! Dead letters are counted by the keys of their order of death, newest first, without opening one.

use std::collections::HashMap;

use super::Queue;
use super::Refused;
use super::key::{self, InDead, InQueue};
use super::ledger::{Span, Waiting};
use super::record::DeliveryRecord;
use super::store::{SealedTree, Store, Trouble};
use crate::model::{OrgId, OrgNumber, Sequence, UnixMs};

/// Up to how many minutes the ages reach, each from the one before it. The last one, beyond these, has no end.
pub const AGES_MIN: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];
/// Deliveries that are read for one shape: bounds its time where a great many orgs have a queue.
const READS_MAX: u64 = 50_000;
/// Dead letters that are counted for one shape.
const LETTERS_MAX: u64 = 1_000_000;
/// Records that cannot be read are passed over, so many in a row.
const UNREADABLE_MAX: usize = 8;

/// How many there are of each age: those of [`AGES_MIN`], and of what is older.
pub type Ages = [u64; AGES_MIN.len() + 1];

/// How much waits, or is dead, by org and age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The orgs that have most.
    pub orgs: Vec<(OrgId, Ages)>,
    /// Of all orgs, but for what is left out.
    pub total: Ages,
    /// How many orgs that is.
    pub orgs_total: u64,
    /// What was not looked at, since there is too much: of how many orgs, and how many.
    pub left_out: (u64, u64),
}

impl Queue {
    /// Deliveries that wait, by the time since they were accepted; of at most `limit` orgs by name.
    pub async fn shape(&self, now: UnixMs, limit: usize) -> Result<Shape, Refused> {
        let mut waiting = self.shown().published.waiting();
        waiting.sort_unstable_by_key(|waiting| (std::cmp::Reverse(waiting.depth()), waiting.org.0));
        let shown = self.shown().clone();
        let named = move |org| shown.directory.by_number(org).map(|org| org.id.clone());
        self.read_store(move |store| of_waiting(store, &waiting, now, limit, named)).await
    }

    /// Dead letters, by the time since they died; of at most `limit` orgs by name.
    pub async fn shape_of_dead(&self, now: UnixMs, limit: usize) -> Result<Shape, Refused> {
        let (_, _, all) = self.shown().published.totals();
        let shown = self.shown().clone();
        let named = move |org| shown.directory.by_number(org).map(|org| org.id.clone());
        self.read_store(move |store| of_dead(store, all, now, limit, named)).await
    }
}

fn of_waiting(
    store: &Store,
    waiting: &[Waiting],
    now: UnixMs,
    limit: usize,
    named: impl Fn(OrgNumber) -> Option<OrgId>,
) -> Result<Shape, Trouble> {
    let mut shape = Shape::default();
    let mut reads = 0;
    for one in waiting {
        let Some(tree) = store.queue(one.org) else { continue };
        if reads >= READS_MAX {
            shape.left_out.0 += 1;
            shape.left_out.1 += one.depth();
            continue;
        }
        let Span { first, next, front } = one.span;
        let mut ages = by_age((first, next), |sequence| {
            reads += 1;
            Ok(age_of(accepted_at(tree, one.org, sequence, next)?.unwrap_or(now), now))
        })?;
        // What is before the queue has no order of ages to halve by.
        let mut before = 0;
        for row in tree.rows_with(&key::of_org(InQueue::Front as u8, one.org)) {
            if reads >= READS_MAX {
                shape.left_out.1 += front.saturating_sub(before);
                break;
            }
            (reads, before) = (reads + 1, before + 1);
            let accepted_at =
                row?.read::<DeliveryRecord>().map_or(now, |record| UnixMs(record.accepted_at_ms));
            if let Some(count) = ages.get_mut(age_of(accepted_at, now)) {
                *count += 1;
            }
        }
        shape.add(named(one.org), ages, limit);
    }
    Ok(shape)
}

/// When the delivery was accepted, or the next one that is there and can be read.
fn accepted_at(
    tree: &SealedTree,
    org: OrgNumber,
    sequence: Sequence,
    until: Sequence,
) -> Result<Option<UnixMs>, Trouble> {
    let kind = InQueue::Delivery as u8;
    let range = key::of_sequence(kind, org, sequence)..key::of_sequence(kind, org, until);
    for row in tree.rows(range).take(UNREADABLE_MAX) {
        if let Ok(record) = row?.read::<DeliveryRecord>() {
            return Ok(Some(UnixMs(record.accepted_at_ms)));
        }
    }
    Ok(None)
}

fn of_dead(
    store: &Store,
    all: u64,
    now: UnixMs,
    limit: usize,
    named: impl Fn(OrgNumber) -> Option<OrgId>,
) -> Result<Shape, Trouble> {
    let mut by_org = HashMap::<OrgNumber, Ages>::new();
    let mut counted = 0;
    let range = vec![InDead::ByTime as u8]..vec![InDead::ByTime as u8 + 1];
    for row in store.dead.rows(range).rev() {
        if counted == LETTERS_MAX {
            break;
        }
        let Some((died_at, id)) = key::by_time_in(&row?.key) else { continue };
        counted += 1;
        if let Some(count) = by_org.entry(id.org).or_default().get_mut(age_of(died_at, now)) {
            *count += 1;
        }
    }
    let mut orgs: Vec<_> = by_org.into_iter().collect();
    orgs.sort_unstable_by_key(|(org, ages)| (std::cmp::Reverse(ages.iter().sum::<u64>()), org.0));
    let mut shape = Shape::default();
    if counted == LETTERS_MAX {
        shape.left_out.1 = all.saturating_sub(counted);
    }
    for (org, ages) in orgs {
        shape.add(named(org), ages, limit);
    }
    Ok(shape)
}

impl Shape {
    /// Takes in an org; one that was deleted meanwhile has no name, and what it had is about to go.
    fn add(&mut self, org: Option<OrgId>, ages: Ages, limit: usize) {
        let Some(org) = org else { return };
        self.orgs_total += 1;
        for (total, count) in self.total.iter_mut().zip(ages) {
            *total += count;
        }
        if self.orgs.len() < limit {
            self.orgs.push((org, ages));
        }
    }
}

/// The place of an age in [`Ages`]. What lies in the future is new.
fn age_of(at: UnixMs, now: UnixMs) -> usize {
    let minutes = now.since(at).as_secs() / 60;
    AGES_MIN.partition_point(|bound| *bound <= minutes)
}

/// Counts deliveries from the first sequence up to the one after the last; `age` reads one.
fn by_age(
    (first, next): (Sequence, Sequence),
    mut age: impl FnMut(Sequence) -> Result<usize, Trouble>,
) -> Result<Ages, Trouble> {
    let mut ages = Ages::default();
    let mut count = |age: usize, more: u64| {
        if let Some(count) = ages.get_mut(age) {
            *count += more;
        }
    };
    let Some(last) = next.0.checked_sub(1).filter(|last| *last >= first.0) else { return Ok(ages) };
    let oldest = age(first)?;
    count(oldest, 1);
    if last == first.0 {
        return Ok(ages);
    }
    // Nothing is younger than what came last, and nothing older than the head.
    let youngest = age(Sequence(last))?.min(oldest);
    count(youngest, 1);
    // What lies strictly between two sequences whose ages are known.
    let mut unknown = vec![((first.0, oldest), (last, youngest))];
    while let Some(((from, older), (to, younger))) = unknown.pop() {
        let between = to - from - 1;
        if older == younger {
            count(older, between);
        } else if between > 0 {
            let middle = from + 1 + between / 2;
            let middle = (middle, age(Sequence(middle))?.clamp(younger, older));
            count(middle.1, 1);
            unknown.extend([((from, older), middle), (middle, (to, younger))]);
        }
    }
    Ok(ages)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMs = UnixMs(100_000 * 60_000);

    fn minutes_ago(minutes: u64) -> UnixMs {
        UnixMs(NOW.0 - i64::try_from(minutes * 60_000).unwrap())
    }

    #[test]
    fn ages_double_from_five_minutes() {
        for (minutes, place) in
            [(0, 0), (4, 0), (5, 1), (9, 1), (10, 2), (640, 8), (1279, 8), (1280, 9), (99_999, 9)]
        {
            assert_eq!(age_of(minutes_ago(minutes), NOW), place, "{minutes}");
        }
        assert_eq!(age_of(NOW.plus(std::time::Duration::from_secs(3600)), NOW), 0, "what lies in the future");
    }

    #[test]
    fn a_million_are_counted_with_a_few_hundred_reads() {
        let mut reads = 0;
        // The first was accepted 2,000 minutes ago, the last one now.
        let ages = by_age((Sequence(1), Sequence(1_000_001)), |sequence| {
            reads += 1;
            Ok(age_of(minutes_ago((1_000_000 - sequence.0) / 500), NOW))
        });
        assert_eq!(
            ages.unwrap(),
            [2500, 2500, 5000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 360_000]
        );
        assert!(reads < 300, "{reads} reads");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn ages_that_fall_are_counted_exactly_and_others_are_not_lost(
            mut minutes in prop::collection::vec(0..3000u64, 0..200),
            sorted in any::<bool>(),
            first in 1..1000u64,
        ) {
            if sorted {
                minutes.sort_unstable_by_key(|minutes| std::cmp::Reverse(*minutes));
            }
            let age = |index: usize| age_of(minutes_ago(minutes[index]), NOW);
            let range = (Sequence(first), Sequence(first + minutes.len() as u64));
            let ages = by_age(range, |sequence| Ok(age(usize::try_from(sequence.0 - first).unwrap()))).unwrap();
            prop_assert_eq!(ages.iter().sum::<u64>(), minutes.len() as u64);
            if sorted {
                let mut exact = Ages::default();
                (0..minutes.len()).for_each(|index| exact[age(index)] += 1);
                prop_assert_eq!(ages, exact);
            }
        }
    }
}
