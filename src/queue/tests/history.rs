//! What is delivered, kept in the history, and replayed.

use std::time::Duration;

use super::*;
use crate::model::{Delivered, HistoryId};

fn with_history(dir: &Path) -> StoreOptions {
    let kept = Kept { age: Duration::from_secs(36_500 * 86_400), bytes: 256 << 20 };
    let retention = Retention { dead_letters: None, history: Some(kept) };
    StoreOptions { retention, max_deliveries: 3, ..options(dir) }
}

impl Pair {
    async fn with_history() -> Pair {
        let mut pair = Pair::new().await;
        pair.reopen_with_history().await;
        pair
    }

    async fn reopen_with_history(&mut self) {
        let (queue, notices) = self.queue.take().unwrap();
        queue.close().await;
        drop((queue, notices));
        self.queue = Some(Queue::open(&with_history(self.dir.path())).unwrap());
    }

    /// The head of the org is delivered by its attempt with this number.
    async fn deliver(&mut self, org: usize, number: u32) -> Delivery {
        let claim = self.claim(org).unwrap();
        let delivery = self.queue().load(claim).await.unwrap().unwrap();
        let ok = Attempt { status: Some(200), error: None, ..attempt(number) };
        let settled = self.queue().done_and_keep(claim, delivery.clone(), ok.clone(), UnixMs(7_000));
        assert_eq!(settled.await, Ok(Settled::Applied));
        let again = self.queue().done_and_keep(claim, delivery.clone(), ok, UnixMs(7_000)).await;
        assert_eq!(again, Ok(Settled::Stale));
        self.orgs[org].queue.pop_front();
        self.orgs[org].attempts = 0;
        delivery
    }

    async fn history(&self) -> Vec<Delivered> {
        self.queue().history_list(HistoryFilter::default(), None, None, 100).await.unwrap().items
    }

    /// The replay of an entry is in the model's queue as well.
    fn push_replay(&mut self, org: usize, entry: &Delivered, payload: &[u8]) {
        let model = &mut self.orgs[org];
        model.queue.push_back(Item {
            sequence: model.next,
            id: entry.delivery.event_id.as_str().to_owned(),
            payload: payload.to_vec(),
            webhook: entry.delivery.webhook.as_str().to_owned(),
        });
        model.next += 1;
    }
}

#[test]
fn what_is_delivered_is_kept_with_its_payload_and_attempts() {
    runtime().block_on(async {
        let mut pair = Pair::with_history().await;
        let mut delivered = Vec::new();
        for size in [100, 60_000] {
            pair.append(0, size, 1).await;
            pair.apply(Action::Defer { org: 0 }).await;
            delivered.push(pair.deliver(0, 2).await);
            pair.check().await;
        }
        for reopened in [false, true] {
            let listed = pair.history().await;
            assert_eq!(listed.len(), 2, "reopened: {reopened}");
            for (entry, delivery) in listed.iter().zip(&delivered) {
                assert_eq!((&entry.org, entry.delivered_at), (&pair.org(0).id, UnixMs(7_000)));
                assert!(entry.delivery.payload.is_empty() && !entry.delivery.replay);
                let shown = pair.queue().history_show(entry.id, true).await.unwrap().unwrap();
                assert_eq!(item(&shown.delivery), item(delivery));
                assert_eq!(shown.delivery.attributes, delivery.attributes);
                let statuses: Vec<_> = shown.attempts.iter().map(|attempt| attempt.status).collect();
                assert_eq!(statuses, [Some(503), Some(200)]);
            }
            pair.reopen_with_history().await;
        }
        // Of what was delivered before, nothing is missed.
        assert_eq!(pair.queue().usage().history.missed, 0);
    });
}

#[test]
fn a_replay_is_a_delivery_of_its_own_with_the_same_id() {
    runtime().block_on(async {
        let mut pair = Pair::with_history().await;
        for size in [100, 60_000] {
            pair.append(0, size, 1).await;
            pair.deliver(0, 1).await;
        }
        let entries = pair.history().await;
        let ids: Vec<HistoryId> = entries.iter().map(|entry| entry.id).collect();
        let missing = HistoryId { offset: ids[0].offset + 1, ..ids[0] };
        let replay = pair.queue().replay(vec![ids[0], missing, ids[1]]).await.unwrap();
        assert_eq!(replay, Replay { replayed: 2, gone: 1, refused: None });
        for entry in &entries {
            let shown = pair.queue().history_show(entry.id, true).await.unwrap().unwrap();
            pair.push_replay(0, entry, &shown.delivery.payload);
        }
        pair.check().await;
        // There is room for one more; the other is refused, and said to be.
        let replay = pair.queue().replay(ids.clone()).await.unwrap();
        pair.push_replay(
            0,
            &entries[0],
            &pair.queue().history_show(ids[0], true).await.unwrap().unwrap().delivery.payload,
        );
        assert_eq!(replay.replayed, 1);
        assert!(
            matches!(replay.refused, Some((id, Refused::QueueFull { deliveries: 3, .. })) if id == ids[1])
        );
        pair.check().await;
        pair.reopen_with_history().await;
        pair.check().await;
        let listed = pair.queue().list(pair.org(0).number, None, 10, false).await.unwrap();
        assert!(listed.iter().all(|queued| queued.delivery.replay));

        // What becomes of it says so as well, and by it the history is filtered.
        pair.deliver(0, 1).await;
        pair.apply(Action::Bury { org: 0 }).await;
        let dead = pair.queue().dead_list(DeadFilter::default(), None, 10).await.unwrap().items;
        assert!(dead[0].delivery.replay);
        for (replay, sequences) in [(true, vec![3]), (false, vec![1, 2])] {
            let filter = HistoryFilter { replay: Some(replay), ..HistoryFilter::default() };
            let found = pair.queue().history_list(filter, None, None, 10).await.unwrap().items;
            assert_eq!(found.iter().map(|entry| entry.delivery.sequence.0).collect::<Vec<_>>(), sequences);
        }
        let counted = pair.queue().replay_matching(HistoryFilter::default(), true).await.unwrap();
        assert_eq!((counted.matched, counted.replay), (3, Replay::default()));
    });
}

#[test]
fn of_an_org_that_is_gone_nothing_is_shown_or_replayed() {
    runtime().block_on(async {
        let mut pair = Pair::with_history().await;
        pair.append(0, 100, 1).await;
        pair.deliver(0, 1).await;
        let id = pair.history().await[0].id;
        let acme = pair.org(0).id.clone();
        pair.queue().delete_org(&acme, true).await.unwrap();
        assert!(pair.queue().put_org(acme, settings()).await.unwrap());
        assert!(pair.history().await.is_empty(), "an org of the same name is another org");
        assert!(pair.queue().history_show(id, true).await.unwrap().is_none());
        assert_eq!(pair.queue().replay(vec![id]).await.unwrap(), Replay { gone: 1, ..Replay::default() });
    });
}

#[test]
fn without_a_history_there_are_no_files() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.append(0, 100, 1).await;
        assert!(!pair.queue().keeps_history());
        pair.deliver(0, 1).await;
        assert!(pair.history().await.is_empty());
        assert!(!pair.dir.path().join("history").exists());
        assert_eq!(pair.queue().usage().history, HistoryUsage::default());
    });
}

#[test]
fn what_dead_letters_take_is_counted_as_they_come_and_go() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let bytes = |pair: &Pair| pair.queue().usage().dead_letter_bytes;
        assert_eq!(bytes(&pair), 0);
        for size in [100, 60_000] {
            pair.append(0, size, 1).await;
            pair.apply(Action::Bury { org: 0 }).await;
        }
        let both = bytes(&pair);
        assert!((60_100..62_000).contains(&both), "{both}");
        pair.reopen().await;
        assert_eq!(bytes(&pair), both, "counted anew");
        pair.apply(Action::Discard { org: 0, nth: 1 }).await;
        let one = bytes(&pair);
        assert!((100..1000).contains(&one), "{one}");
        pair.apply(Action::Revive { org: 0, nth: 0 }).await;
        assert_eq!(bytes(&pair), 0);
        pair.check().await;
    });
}
