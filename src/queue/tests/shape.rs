//! Shapes: what waits and what is dead by age, and the orgs that stand worst.

use super::*;

const MINUTE: i64 = 60_000;

impl Pair {
    /// An event for one webhook that was accepted so many minutes ago.
    async fn accepted(&mut self, org: usize, now: UnixMs, minutes: i64) {
        let append = self.event_of("evt", org, 10, 1);
        let append = Append { accepted_at: UnixMs(now.0 - minutes * MINUTE), ..append };
        self.queue().append(vec![append.clone()]).await.remove(0).unwrap();
        self.orgs[org].push(&append);
    }

    async fn bury(&mut self, org: usize, now: UnixMs, minutes: i64) {
        let died_at = UnixMs(now.0 - minutes * MINUTE);
        let claim = self.claim(org).unwrap();
        let settled =
            self.queue().bury(claim, Some(attempt(1)), DeadReason::AttemptsExhausted, died_at).await;
        assert_eq!(settled, Ok(Settled::Applied));
        self.die(org);
    }
}

#[test]
fn a_shape_counts_every_delivery_once_by_age_and_names_the_largest() {
    runtime().block_on(async {
        let (mut pair, now) = (Pair::new().await, UnixMs(clock().0));
        for minutes in [3000, 90, 90, 12, 3, 0] {
            pair.accepted(0, now, minutes).await;
        }
        for minutes in [7, 6] {
            pair.accepted(1, now, minutes).await;
        }
        let shape = pair.queue().shape(now, 1).await.unwrap();
        assert_eq!(shape.orgs, [("acme".parse().unwrap(), [2, 0, 1, 0, 0, 2, 0, 0, 0, 1])]);
        assert_eq!(
            (shape.total, shape.orgs_total, shape.left_out),
            ([2, 2, 1, 0, 0, 2, 0, 0, 0, 1], 2, (0, 0))
        );

        // A dead letter is counted by the time since it died.
        pair.bury(0, now, 200).await;
        pair.bury(1, now, 2).await;
        pair.bury(0, now, 0).await;
        let shape = pair.queue().shape_of_dead(now, 20).await.unwrap();
        assert_eq!(
            shape.orgs,
            [
                ("acme".parse().unwrap(), [1, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
                ("globex".parse().unwrap(), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            ]
        );
        let shape = pair.queue().shape(now, 20).await.unwrap();
        assert_eq!((shape.total, shape.orgs_total), ([2, 1, 1, 0, 0, 1, 0, 0, 0, 0], 2));
    });
}

#[test]
fn the_worst_orgs_are_those_whose_head_has_failed_and_then_the_deepest() {
    runtime().block_on(async {
        let (mut pair, now) = (Pair::new().await, clock());
        let worst = |pair: &Pair, limit| -> Vec<String> {
            pair.queue().worst(limit).iter().map(|org| org.id.to_string()).collect()
        };
        assert_eq!(worst(&pair, 10), Vec::<String>::new());
        for org in [0, 1, 1, 2, 2, 2] {
            pair.accepted(org, now, 0).await;
        }
        assert_eq!(worst(&pair, 10), ["initech", "globex", "acme"]);
        pair.apply(Action::Defer { org: 0 }).await;
        assert_eq!(worst(&pair, 10), ["acme", "initech", "globex"]);
        assert_eq!(worst(&pair, 2), ["acme", "initech"]);
    });
}
