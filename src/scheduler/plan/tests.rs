//! The plan as tables.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A plan with a clock of its own; orgs and sequences are plain numbers.
struct Rig {
    plan: Plan,
    now: Duration,
}

impl Rig {
    fn new(slots: usize) -> Rig {
        Rig { plan: Plan::new(slots), now: Duration::ZERO }
    }

    /// The org's head is this one, due `wait` ms from now.
    fn head(&mut self, org: u32, sequence: u64, attempts: u32, wait: Option<u64>) {
        self.announce(org, Some((sequence, attempts, wait)), false);
    }

    fn announce(&mut self, org: u32, head: Option<(u64, u32, Option<u64>)>, paused: bool) {
        let due = self.now + ms(head.and_then(|(_, _, wait)| wait).unwrap_or(0));
        let head = head.map(|(sequence, attempts, wait)| Head {
            sequence: Sequence(sequence),
            attempts,
            not_before: wait.map(|_| not_before(due)),
            held: false,
        });
        self.plan.announced(self.now, &Announced { org: OrgNumber(org), head, due, paused });
    }

    fn ended(&mut self, org: u32, end: End) {
        self.plan.ended(self.now, OrgNumber(org), end);
    }

    /// The attempt failed: as the queue and the attempt tell it, the announcement first.
    fn defer(&mut self, org: u32, sequence: u64, attempts: u32, wait: u64) {
        self.head(org, sequence, attempts, Some(wait));
        let due = self.now + ms(wait);
        self.ended(org, End::Deferred { not_before: not_before(due), due });
    }

    /// The head was delivered and `next` is the head, or nothing is.
    fn deliver(&mut self, org: u32, next: Option<u64>) {
        self.announce(org, next.map(|sequence| (sequence, 0, None)), false);
        self.ended(org, End::Delivered);
    }

    /// What starts now: (org, sequence, attempt).
    fn starts(&mut self) -> Vec<(u32, u64, u32)> {
        self.step().start.iter().map(|s| (s.claim.org.0, s.claim.sequence.0, s.attempt)).collect()
    }

    fn step(&mut self) -> Step {
        self.plan.step(self.now)
    }

    fn at(&mut self, now: u64) -> &mut Rig {
        assert!(ms(now) >= self.now);
        self.now = ms(now);
        self
    }

    #[track_caller]
    fn counts(&self, in_flight: u64, ready: u64, delayed: u64, held: u64) {
        let counts = self.plan.counts();
        assert_eq!(
            (counts.in_flight, counts.ready, counts.delayed, counts.held),
            (in_flight, ready, delayed, held)
        );
    }
}

fn not_before(due: Duration) -> UnixMs {
    UnixMs(1_000_000).plus(due)
}

#[test]
fn heads_start_in_the_order_in_which_they_became_ready() {
    // One of the three is kept for orgs that have been delivered to.
    let mut rig = Rig::new(3);
    for org in [3, 1, 2] {
        rig.head(org, 1, 0, None);
    }
    assert_eq!(rig.starts(), [(3, 1, 1), (1, 1, 1)]);
    assert_eq!(rig.starts(), [], "the slots are taken");
    rig.counts(2, 1, 0, 0);
}

#[test]
fn a_backlog_takes_its_turn_like_everyone_else() {
    let mut rig = Rig::new(1);
    for org in 1..=3 {
        rig.head(org, 1, 0, None);
    }
    let mut order = Vec::new();
    for _ in 0..7 {
        let (org, sequence, _) = rig.starts()[0];
        order.push((org, sequence));
        rig.deliver(org, Some(sequence + 1));
    }
    assert_eq!(order, [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2), (1, 3)]);
}

#[test]
fn the_next_delivery_starts_at_once() {
    let mut rig = Rig::new(1);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.starts(), [(1, 1, 1)]);
    rig.deliver(1, Some(2));
    assert_eq!(rig.starts(), [(1, 2, 1)]);
    rig.announce(1, Some((3, 0, None)), false);
    rig.ended(1, End::Exhausted);
    assert_eq!(rig.starts(), [(1, 3, 1)], "also after a dead letter");
    rig.deliver(1, None);
    assert_eq!(rig.step(), Step::default());
    assert!(rig.plan.orgs.is_empty(), "an idle org is forgotten");
}

#[test]
fn delayed_heads_start_when_due_earliest_first() {
    let mut rig = Rig::new(10);
    rig.head(1, 7, 3, Some(300));
    rig.head(2, 8, 1, Some(100));
    rig.head(3, 9, 2, Some(100));
    assert_eq!(rig.step(), Step { wake_at: Some(ms(100)), ..Step::default() });
    rig.counts(0, 0, 3, 0);
    assert_eq!(rig.at(99).starts(), []);
    assert_eq!(rig.at(100).starts(), [(2, 8, 2), (3, 9, 3)]);
    assert_eq!(rig.step().wake_at, Some(ms(300)));
    assert_eq!(rig.at(1000).starts(), [(1, 7, 4)], "late is fine");
    assert_eq!(rig.step().wake_at, None);
}

#[test]
fn a_failed_attempt_waits_for_its_time_even_if_the_wall_clock_stepped() {
    let mut rig = Rig::new(1);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.starts(), [(1, 1, 1)]);
    // Announced as due at once, since the wall clock was set forward; the end knows better.
    rig.head(1, 1, 1, Some(0));
    rig.ended(1, End::Deferred { not_before: not_before(rig.now), due: ms(200) });
    assert_eq!(rig.step(), Step { wake_at: Some(ms(200)), ..Step::default() });
    assert_eq!(rig.at(200).starts(), [(1, 1, 2)]);
}

#[test]
fn retry_now_ends_the_wait() {
    let mut rig = Rig::new(1);
    rig.head(1, 1, 3, Some(10_000));
    assert_eq!(rig.starts(), []);
    rig.head(1, 1, 3, None);
    assert_eq!(rig.starts(), [(1, 1, 4)]);
    // It may also come between a failed attempt's announcement and its end.
    rig.head(1, 1, 4, Some(10_000));
    rig.head(1, 1, 4, None);
    rig.ended(1, End::Deferred { not_before: not_before(ms(10_000)), due: ms(10_000) });
    assert_eq!(rig.starts(), [(1, 1, 5)]);
}

#[test]
fn a_paused_org_is_held_and_goes_on_where_it_was() {
    let mut rig = Rig::new(4);
    rig.head(1, 1, 0, None);
    rig.head(2, 1, 1, Some(500));
    rig.announce(1, Some((1, 0, None)), true);
    rig.announce(2, Some((1, 1, Some(500))), true);
    assert_eq!(rig.step(), Step::default());
    rig.counts(0, 0, 0, 2);
    rig.at(100).announce(1, Some((1, 0, None)), false);
    rig.announce(2, Some((1, 1, Some(400))), false);
    assert_eq!(rig.starts(), [(1, 1, 1)]);
    assert_eq!(rig.step().wake_at, Some(ms(500)), "the wait went on during the pause");
    assert_eq!(rig.at(500).starts(), [(2, 1, 2)]);
}

#[test]
fn a_pause_lets_the_attempt_in_flight_end() {
    let mut rig = Rig::new(2);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.starts(), [(1, 1, 1)]);
    rig.announce(1, Some((1, 0, None)), true);
    assert_eq!(rig.step(), Step::default(), "no abort");
    rig.announce(1, Some((2, 0, None)), true);
    rig.ended(1, End::Delivered);
    assert_eq!(rig.starts(), []);
    rig.counts(0, 0, 0, 1);
    rig.announce(1, Some((2, 0, None)), false);
    assert_eq!(rig.starts(), [(1, 2, 1)]);
}

#[test]
fn a_skipped_delivery_keeps_its_slot_until_its_attempt_is_gone() {
    let mut rig = Rig::new(5);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.starts(), [(1, 1, 1)]);
    rig.head(1, 2, 0, None);
    assert_eq!(rig.step(), Step { abort: vec![OrgNumber(1)], ..Step::default() });
    assert_eq!(rig.plan.in_flight(OrgNumber(1)), Some((Sequence(1), 1)));
    rig.ended(1, End::Cancelled);
    assert_eq!(rig.starts(), [(1, 2, 1)]);
    // The last one of a queue, or the org itself, goes away.
    rig.announce(1, None, false);
    assert_eq!(rig.step().abort, [OrgNumber(1)]);
    rig.counts(1, 0, 0, 0);
    rig.ended(1, End::Cancelled);
    rig.counts(0, 0, 0, 0);
    assert_eq!(rig.plan.in_flight(OrgNumber(1)), None);
}

#[test]
fn a_head_that_changes_while_ready_keeps_its_place_in_line() {
    let mut rig = Rig::new(1);
    for org in 1..=3 {
        rig.head(org, 1, 0, None);
    }
    rig.head(1, 2, 0, None);
    assert_eq!(rig.starts(), [(1, 2, 1)]);
    rig.announce(2, None, false);
    rig.deliver(1, None);
    assert_eq!(rig.starts(), [(3, 1, 1)], "an emptied queue leaves the line");
}

#[test]
fn each_standing_leaves_slots_for_the_better_ones() {
    let cases: [(u32, usize, usize); 7] =
        [(1, 1, 0), (2, 1, 0), (3, 2, 0), (4, 3, 0), (8, 6, 1), (16, 12, 2), (4096, 3072, 512)];
    for (slots, failing, unknown) in cases {
        let mut rig = Rig::new(slots as usize);
        // Known from before, one after the other.
        for org in 10_000..10_000 + slots {
            rig.head(org, 1, 0, None);
            assert_eq!(rig.starts().len(), 1);
            rig.deliver(org, None);
        }
        for org in 0..5000 {
            rig.head(org, 1, 1, None);
        }
        assert_eq!(rig.starts().len(), failing, "of {slots}");
        for org in 5000..10_000 {
            rig.head(org, 1, 0, None);
        }
        assert_eq!(rig.starts().len(), unknown, "of {slots}");
        for org in 10_000..10_000 + slots {
            rig.head(org, 2, 0, None);
        }
        assert_eq!(rig.starts().len(), slots as usize - failing - unknown, "of {slots}");
    }
}

#[test]
fn an_org_is_failing_from_a_failure_to_the_next_success() {
    let mut rig = Rig::new(4);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.step().start[0].standing, Standing::Unknown);
    rig.defer(1, 1, 1, 200);
    assert_eq!(rig.at(200).step().start[0].standing, Standing::Failing);
    // Dead, and then the queue is empty for a while: the receiver is no better for it.
    rig.announce(1, None, false);
    rig.ended(1, End::Exhausted);
    rig.head(1, 2, 0, None);
    assert_eq!(rig.step().start[0].standing, Standing::Failing);
    // Neither a cancelled attempt nor our own fault tells anything of the receiver.
    rig.head(1, 3, 0, None);
    rig.ended(1, End::Cancelled);
    assert_eq!(rig.step().start[0].standing, Standing::Failing);
    rig.deliver(1, Some(4));
    assert_eq!(rig.step().start[0].standing, Standing::Proven);
}

#[test]
fn an_attempt_that_settled_nothing_is_not_repeated_at_once() {
    for end in [End::Fault, End::Void, End::Cancelled, End::Delivered, End::Exhausted] {
        let mut rig = Rig::new(1);
        rig.head(1, 1, 2, None);
        assert_eq!(rig.starts(), [(1, 1, 3)]);
        rig.ended(1, end);
        assert_eq!(rig.step(), Step { wake_at: Some(FAULT_WAIT), ..Step::default() }, "{end:?}");
        rig.now = FAULT_WAIT;
        assert_eq!(rig.starts(), [(1, 1, 3)], "{end:?}");
    }
}

#[test]
fn nothing_starts_once_stopped() {
    let mut rig = Rig::new(4);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.starts(), [(1, 1, 1)]);
    rig.head(2, 1, 0, None);
    rig.head(3, 1, 1, Some(5));
    rig.plan.stop();
    rig.deliver(1, Some(2));
    assert_eq!(rig.at(10).step(), Step::default());
    rig.counts(0, 3, 0, 0);
}

#[test]
fn the_oldest_due_head_is_known() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.plan.counts().oldest_due, None);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.starts().len(), 1);
    assert_eq!(rig.plan.counts().oldest_due, None, "in flight is not waiting");
    rig.at(50).head(2, 1, 1, None);
    rig.at(70).head(3, 1, 0, None);
    assert_eq!(rig.plan.counts().oldest_due, Some(ms(50)));
}

#[test]
fn what_is_put_before_an_attempt_in_flight_waits_for_its_end() {
    let mut rig = Rig::new(5);
    rig.head(1, 7, 0, None);
    assert_eq!(rig.starts(), [(1, 7, 1)]);
    // A dead letter with a lower sequence is the head now: what is in flight is neither aborted nor overtaken.
    rig.head(1, 3, 0, None);
    assert_eq!(rig.step(), Step::default());
    rig.ended(1, End::Delivered);
    assert_eq!(rig.starts(), [(1, 3, 1)]);
    rig.deliver(1, Some(8));
    assert_eq!(rig.starts(), [(1, 8, 1)]);
    // One that fails is the head again before it ends, and its retry comes first.
    rig.head(1, 4, 0, None);
    rig.defer(1, 8, 1, 100);
    assert_eq!(rig.starts(), []);
    rig.now += ms(100);
    assert_eq!(rig.starts(), [(1, 8, 2)]);
    rig.deliver(1, Some(4));
    assert_eq!(rig.starts(), [(1, 4, 1)]);
}

#[test]
fn an_attempt_without_descriptors_is_put_off_and_has_the_same_number() {
    let mut rig = Rig::new(5);
    rig.head(1, 1, 0, None);
    assert_eq!(rig.starts(), [(1, 1, 1)]);
    rig.ended(1, End::Starved);
    assert_eq!(rig.starts(), []);
    rig.now += FAULT_WAIT;
    assert_eq!(rig.starts(), [(1, 1, 1)]);
}
