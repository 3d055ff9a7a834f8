//! The plan against its rules, under random announcements and ends: never two in flight for an org, nothing before its
//! time or while paused, limits kept, nothing left waiting that could start, and everything drains in the end.

use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn not_before(due: Duration) -> UnixMs {
    UnixMs(0).plus(due)
}

/// What may happen to an org, as the queue would have it.
#[derive(Debug, Clone)]
enum Op {
    Append { org: u32 },
    Skip { org: u32 },
    Pause { org: u32, paused: bool },
    RetryNow { org: u32 },
    End { nth: usize, kind: u8 },
    Wait { ms: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let org = 0..6u32;
    prop_oneof![
        4 => org.clone().prop_map(|org| Op::Append { org }),
        1 => org.clone().prop_map(|org| Op::Skip { org }),
        1 => (org.clone(), any::<bool>()).prop_map(|(org, paused)| Op::Pause { org, paused }),
        1 => org.prop_map(|org| Op::RetryNow { org }),
        6 => (any::<usize>(), 0..6u8).prop_map(|(nth, kind)| Op::End { nth, kind }),
        2 => (0..500u64).prop_map(|ms| Op::Wait { ms }),
    ]
}

/// The queue's side of one org, and the attempt that runs for it.
#[derive(Debug, Default, Clone)]
struct Model {
    first: u64,
    last: u64,
    attempts: u32,
    wait_until: Option<Duration>,
    /// After a fault of our own; the queue knows nothing of it.
    fault_until: Duration,
    paused: bool,
    flight: Option<(u64, u32, Standing)>,
    /// What its last attempt said.
    known: Option<Standing>,
}

impl Model {
    fn head(&self) -> Option<Head> {
        (self.first < self.last).then(|| Head {
            sequence: Sequence(self.first),
            attempts: self.attempts,
            not_before: self.wait_until.map(not_before),
            held: false,
        })
    }

    fn advance(&mut self) {
        self.first += 1;
        self.attempts = 0;
        self.wait_until = None;
        self.fault_until = Duration::ZERO;
    }

    fn standing(&self) -> Standing {
        if self.attempts > 0 { Standing::Failing } else { self.known.unwrap_or(Standing::Unknown) }
    }

    /// Whether its head may start, but for the limits.
    fn may_start(&self, now: Duration) -> bool {
        let due = self.wait_until.is_none_or(|until| until <= now) && self.fault_until <= now;
        self.head().is_some() && due && !self.paused && self.flight.is_none()
    }
}

struct World {
    plan: Plan,
    slots: usize,
    now: Duration,
    orgs: Vec<Model>,
}

impl World {
    fn announce(&mut self, org: u32) {
        let model = &self.orgs[org as usize];
        let due = model.wait_until.unwrap_or(Duration::ZERO).max(self.now);
        let news = Announced { org: OrgNumber(org), head: model.head(), due, paused: model.paused };
        self.plan.announced(self.now, &news);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append { org } => {
                let was_empty = self.orgs[org as usize].head().is_none();
                self.orgs[org as usize].last += 1;
                if was_empty {
                    self.announce(org);
                }
            }
            Op::Skip { org } => {
                if self.orgs[org as usize].head().is_some() {
                    self.orgs[org as usize].advance();
                    self.announce(org);
                }
            }
            Op::Pause { org, paused } => {
                self.orgs[org as usize].paused = paused;
                self.announce(org);
            }
            Op::RetryNow { org } => {
                let model = &mut self.orgs[org as usize];
                if model.wait_until.take().is_some() {
                    model.fault_until = Duration::ZERO;
                }
                self.announce(org);
            }
            Op::End { nth, kind } => self.end(nth, kind),
            Op::Wait { ms: wait } => self.now += ms(wait),
        }
    }

    /// Ends one of the attempts in flight.
    fn end(&mut self, nth: usize, kind: u8) {
        let flying: Vec<u32> =
            (0u32..).zip(&self.orgs).filter(|(_, m)| m.flight.is_some()).map(|(o, _)| o).collect();
        let Some(&org) = flying.get(nth % flying.len().max(1)) else { return };
        let now = self.now;
        let model = &mut self.orgs[org as usize];
        let (sequence, attempt, _) = model.flight.take().unwrap();
        let is_head = model.head().map(|head| head.sequence.0) == Some(sequence);
        let due = now + ms(100);
        let end = match kind {
            _ if !is_head => End::Cancelled,
            0 | 1 => {
                (model.attempts, model.wait_until) = (attempt, Some(due));
                model.known = Some(Standing::Failing);
                End::Deferred { not_before: not_before(due), due }
            }
            2 => {
                model.advance();
                model.known = Some(Standing::Failing);
                End::Exhausted
            }
            3 => {
                model.fault_until = now + FAULT_WAIT;
                End::Fault
            }
            _ => {
                model.advance();
                model.known = Some(Standing::Proven);
                End::Delivered
            }
        };
        if !matches!(end, End::Cancelled | End::Fault) {
            self.announce(org);
        }
        self.plan.ended(now, OrgNumber(org), end);
    }

    fn step(&mut self) {
        let step = self.plan.step(self.now);
        for start in &step.start {
            let model = &mut self.orgs[start.claim.org.0 as usize];
            assert_eq!(model.flight, None, "never two in flight");
            assert!(model.may_start(self.now), "neither before its time nor while paused: {model:?}");
            let head = model.head().expect("only a head starts");
            assert_eq!((start.claim.sequence, start.attempt), (head.sequence, head.attempts + 1));
            assert_eq!(start.standing, model.standing());
            model.flight = Some((head.sequence.0, start.attempt, start.standing));
        }
        let flights: Vec<_> = self.orgs.iter().filter_map(|model| model.flight).collect();
        let slots = self.slots;
        let limits = [
            (Standing::Proven, slots),
            (Standing::Unknown, (slots * 7 / 8).max(1)),
            (Standing::Failing, (slots * 3 / 4).max(1)),
        ];
        let taken = |bound| flights.iter().filter(|(_, _, standing)| *standing >= bound).count();
        assert!(limits.iter().all(|(bound, limit)| taken(*bound) <= *limit));
        for model in self.orgs.iter().filter(|model| model.may_start(self.now)) {
            let mut limits = limits.iter().filter(|(bound, _)| *bound <= model.standing());
            assert!(limits.any(|(bound, limit)| taken(*bound) == *limit), "could start: {model:?}");
        }
        self.check_aborts_and_counts(&step);
    }

    fn check_aborts_and_counts(&self, step: &Step) {
        for org in &step.abort {
            let model = &self.orgs[org.0 as usize];
            let overtaken = model.flight.is_some_and(|(sequence, ..)| sequence < model.first);
            assert!(overtaken, "only what is no longer the head is aborted: {model:?}");
        }
        let counts = self.plan.counts();
        let count =
            |which: &dyn Fn(&Model) -> bool| self.orgs.iter().filter(|model| which(model)).count() as u64;
        assert_eq!(counts.in_flight, count(&|model| model.flight.is_some()));
        let idle_head = |model: &Model| model.head().is_some() && model.flight.is_none();
        assert_eq!(counts.held, count(&|model| idle_head(model) && model.paused));
        assert_eq!(counts.ready, count(&|model| model.may_start(self.now)));
        let waits = |model: &Model| idle_head(model) && !model.paused && !model.may_start(self.now);
        assert_eq!(counts.delayed, count(&waits));
        let due = |model: &Model| model.wait_until.unwrap_or_default().max(model.fault_until);
        assert_eq!(step.wake_at, self.orgs.iter().filter(|model| waits(model)).map(due).min());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_rules_hold_whatever_happens(slots in 1..6usize, ops in prop::collection::vec(op(), 1..200)) {
        let mut world =
            World { plan: Plan::new(slots), slots, now: Duration::ZERO, orgs: vec![Model::default(); 6] };
        for op in &ops {
            world.apply(op);
            world.step();
        }
        // In the end everything that is not paused drains, one after the other, in order.
        for org in 0..6 {
            world.apply(&Op::Pause { org, paused: false });
        }
        let mut turns = 0;
        while world.orgs.iter().any(|model| model.head().is_some() || model.flight.is_some()) {
            world.step();
            world.apply(&Op::End { nth: turns, kind: 5 });
            world.now += ms(1000);
            turns += 1;
            prop_assert!(turns < 1000, "stuck: {:?}", world.orgs);
        }
        prop_assert!(world.plan.orgs.is_empty());
    }
}
