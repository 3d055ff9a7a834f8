//! Before the queue: what is revived at the head comes first, is cut off nowhere, and waits for what is under way.

use super::*;

impl Pair {
    /// Revives a dead letter at the head. Sequences tell the order; only a head that was tried stays where it is.
    pub(super) async fn revive_at_head(&mut self, org: usize, nth: usize) {
        let Some((&sequence, _)) = self.orgs[org].dead.iter().nth(nth) else { return };
        let id = self.letter(org, sequence);
        assert_eq!(self.queue().revive_at_head(vec![id]).await.map(|changed| changed.done), Ok(1));
        assert_eq!(self.queue().revive_at_head(vec![id]).await.map(|changed| changed.done), Ok(0));
        self.put_before(org, sequence);
    }

    fn letter(&self, org: usize, sequence: u64) -> DeadLetterId {
        DeadLetterId { org: self.org(org).number, sequence: Sequence(sequence) }
    }

    fn put_before(&mut self, org: usize, sequence: u64) {
        let model = &mut self.orgs[org];
        let item = model.dead.remove(&sequence).unwrap();
        let tried = if model.attempts > 0 { model.queue.pop_front() } else { None };
        let place = model.queue.partition_point(|waiting| waiting.sequence < sequence);
        model.queue.insert(place, item);
        if let Some(tried) = tried {
            model.queue.push_front(tried);
        }
    }

    /// Buries the heads of so many deliveries with payloads of these sizes, each of its own event.
    pub(super) async fn bury_all(&mut self, sizes: &[usize]) {
        for size in sizes {
            self.append(0, *size, 1).await;
            self.apply(Action::Bury { org: 0 }).await;
        }
    }

    /// The sequences in the queue's order.
    async fn order(&self) -> Vec<u64> {
        let listed = self.queue().list(self.org(0).number, None, 100, false).await.unwrap();
        listed.iter().map(|queued| queued.delivery.sequence.0).collect()
    }
}

#[test]
fn what_is_revived_at_the_head_is_cut_off_nowhere() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        // One with its payload in the record, one in chunks.
        pair.bury_all(&[100, 60_000]).await;
        pair.append(0, 100, 2).await;
        for sequence in [2, 1] {
            // Chunks, the delivery, the state; the place in time, and then the letter itself.
            let commit_point = if sequence == 2 { 6 } else { 4 };
            for writes in 0..=commit_point {
                let id = pair.letter(0, sequence);
                pair.allow(1 + writes).await;
                let revived = pair.queue().revive_at_head(vec![id]).await;
                if writes == commit_point {
                    // The letter is gone, although nobody was told: it counts as revived.
                    pair.put_before(0, sequence);
                }
                assert!(matches!(revived, Err(Refused::Unavailable(_))), "{writes}: {revived:?}");
                pair.reopen_failed();
                pair.check().await;
            }
        }
        assert_eq!(pair.order().await, [1, 2, 3, 4]);
        for org in [0; 4] {
            pair.apply(Action::Done { org }).await;
            pair.check().await;
        }
        pair.reopen().await;
        pair.check().await;
    });
}

#[test]
fn what_is_under_way_counts_although_something_was_put_before_it() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.bury_all(&[100, 200, 300]).await;
        pair.append(0, 100, 3).await;
        // The attempt of 4 is under way, and stays so while 3 and then 1 are put before it.
        let under_way = pair.claim(0).unwrap();
        for sequence in [3, 1] {
            let id = pair.letter(0, sequence);
            assert_eq!(pair.queue().revive_at_head(vec![id]).await.map(|changed| changed.done), Ok(1));
            pair.put_before(0, sequence);
            pair.check().await;
        }
        assert_eq!(pair.order().await, [1, 3, 4, 5, 6]);
        // Of 5 no attempt can have been made.
        let never = Claim { sequence: Sequence(5), ..under_way };
        assert_eq!(pair.queue().done(never, 100).await, Ok(Settled::Stale));
        assert_eq!(pair.queue().done(under_way, 100).await, Ok(Settled::Applied));
        assert_eq!(pair.queue().done(under_way, 100).await, Ok(Settled::Stale));
        assert_eq!(pair.order().await, [1, 3, 5, 6]);
        assert_eq!(pair.queue().summary(under_way.org).depth, 4);

        // The attempt of 1 is under way, is not by itself displaced by 2, and fails: its retry is overtaken by nothing.
        let first = Claim { sequence: Sequence(1), ..under_way };
        let id = pair.letter(0, 2);
        assert_eq!(pair.queue().revive_at_head(vec![id]).await.map(|changed| changed.done), Ok(1));
        assert_eq!(pair.queue().defer(first, attempt(1), UnixMs(5000)).await, Ok(Settled::Applied));
        assert_eq!(pair.order().await, [1, 2, 3, 5, 6]);
        assert_eq!(pair.queue().done(first, 100).await, Ok(Settled::Applied));
        // 2 dies and comes back; then the attempt of 5 fails while 2 is put before it again, and 5 stays the head.
        for sequence in [2, 3] {
            let claim = Claim { sequence: Sequence(sequence), ..under_way };
            let dead = DeadReason::AttemptsExhausted;
            assert_eq!(
                pair.queue().bury(claim, Some(attempt(1)), dead, UnixMs(9000)).await,
                Ok(Settled::Applied)
            );
        }
        let fifth = Claim { sequence: Sequence(5), ..under_way };
        let id = pair.letter(0, 2);
        assert_eq!(pair.queue().revive_at_head(vec![id]).await.map(|changed| changed.done), Ok(1));
        assert_eq!(pair.queue().defer(fifth, attempt(1), UnixMs(5000)).await, Ok(Settled::Applied));
        for _ in 0..2 {
            assert_eq!(pair.order().await, [5, 2, 6]);
            let head = pair.queue().summary(under_way.org).head.unwrap();
            assert_eq!((head.sequence, head.attempts), (Sequence(5), 1));
            pair.reopen().await;
        }
        // Page by page as at once.
        let mut after = None;
        for sequence in [5, 2, 6] {
            let page = pair.queue().list(under_way.org, after, 1, false).await.unwrap();
            after = page.last().map(|queued| queued.delivery.sequence);
            assert_eq!(after, Some(Sequence(sequence)));
        }
        assert!(pair.queue().list(under_way.org, after, 1, false).await.unwrap().is_empty());
    });
}

#[test]
fn attempts_of_an_earlier_life_do_not_count() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.append(0, 100, 1).await;
        pair.apply(Action::Defer { org: 0 }).await;
        pair.apply(Action::Defer { org: 0 }).await;
        pair.apply(Action::Bury { org: 0 }).await;
        pair.revive_at_head(0, 0).await;
        pair.apply(Action::Defer { org: 0 }).await;
        pair.apply(Action::Bury { org: 0 }).await;
        pair.revive_at_head(0, 0).await;
        pair.reopen().await;
        pair.check().await;
        assert_eq!(pair.queue().summary(pair.org(0).number).head.unwrap().attempts, 0);
    });
}

#[test]
fn all_queues_together_have_a_limit_that_what_leaves_makes_room_in() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let max_total = QueueLimits { deliveries: 5, bytes: 1000 };
        let options = StoreOptions { max_total, ..options(dir.path()) };
        let mut pair = Pair::new().await;
        pair.queue = Some(Queue::open(&options).unwrap());
        pair.dir = dir;
        for name in ORGS {
            pair.queue().put_org(name.parse().unwrap(), settings()).await.unwrap();
            for id in ["w0", "w1", "w2"] {
                pair.queue().put_webhook(&name.parse().unwrap(), webhook(id)).await.unwrap();
            }
        }
        pair.append(0, 100, 3).await;
        pair.append(1, 100, 2).await;
        let refused = |deliveries, bytes| vec![Err(Refused::AllQueuesFull { deliveries, bytes })];
        let more = pair.event_of("evt", 2, 10, 1);
        assert_eq!(pair.queue().append(vec![more.clone()]).await, refused(5, 500));
        // One that nobody listens to takes no room.
        pair.append(2, 100, 0).await;
        pair.apply(Action::Done { org: 0 }).await;
        let large = pair.event_of("evt", 2, 700, 1);
        assert_eq!(pair.queue().append(vec![large]).await, refused(4, 400));
        assert!(pair.queue().append(vec![more.clone()]).await.remove(0).is_ok());
        pair.orgs[2].push(&more);
        // A deleted org takes what waits in it with it; so does a reopening the count.
        pair.queue().delete_org(&ORGS[0].parse().unwrap(), true).await.unwrap();
        let two = pair.event_of("evt", 1, 10, 2);
        assert!(pair.queue().append(vec![two]).await.remove(0).is_ok());
        let (queue, notices) = pair.queue.take().unwrap();
        queue.close().await;
        drop((queue, notices));
        pair.queue = Some(Queue::open(&options).unwrap());
        let one = pair.event_of("evt", 1, 10, 1);
        assert_eq!(pair.queue().append(vec![one]).await, refused(5, 230));
    });
}
