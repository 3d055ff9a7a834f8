//! Runs over more dead letters than one step takes, on a real queue in a temporary directory.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::model::{Event, OrgSettings, Target, UrlTemplate, Webhook};
use crate::queue::{Append, MasterKey, QueueLimits, StoreOptions};

/// An org `acme` with this many dead letters, given up one millisecond after the other from 1.
async fn queue_with(letters: usize) -> (Queue, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        data_dir: dir.path().to_owned(),
        key: MasterKey([7; 32]),
        previous_key: None,
        cache_bytes: 4 << 20,
        reserve_bytes: Some(0),
        max_deliveries: 1_000_000,
        max_bytes: 1 << 30,
        max_total: QueueLimits::NONE,
        retention: crate::queue::Retention::default(),
    };
    let (queue, _) = Queue::open(&options).unwrap();
    let at = UnixMs(0);
    let settings = OrgSettings {
        plan: None,
        description: String::new(),
        max_deliveries: None,
        max_bytes: None,
        max_webhooks: None,
        created_at: at,
        updated_at: at,
    };
    let target = Target::Url(UrlTemplate::fixed("https://example.com/"));
    let webhook = Webhook::new("orders".parse().unwrap(), target, at);
    let acme = "acme".parse().unwrap();
    queue.put_org("acme".parse().unwrap(), settings).await.unwrap();
    queue.put_webhook(&acme, webhook).await.unwrap();
    let org = queue.directory().org(&acme).unwrap();
    let event = |n: usize| Event {
        id: format!("evt_{n}").parse().unwrap(),
        id_given: false,
        event_type: "a".parse().unwrap(),
        payload: n.to_string().into(),
        attributes: BTreeMap::new(),
    };
    let append = |n| Append {
        org: org.clone(),
        event: event(n),
        webhooks: vec!["orders".parse().unwrap()],
        accepted_at: at,
    };
    for answer in queue.append((1..=letters).map(append).collect()).await {
        answer.unwrap();
    }
    for n in 1..=letters {
        queue.skip(&acme, None, None, UnixMs(i64::try_from(n).unwrap())).await.unwrap();
    }
    (queue, dir)
}

async fn payloads(queue: &Queue) -> Vec<usize> {
    let org = queue.directory().org(&"acme".parse().unwrap()).unwrap();
    let queued = queue.list(org.number, None, 10_000, true).await.unwrap();
    let read = |payload: &[u8]| std::str::from_utf8(payload).unwrap().parse().unwrap();
    queued.iter().map(|queued| read(&queued.delivery.payload)).collect()
}

const ANY: DeadFilter = DeadFilter {
    org: None,
    webhook: None,
    event_types: Vec::new(),
    event_id: None,
    reason: None,
    since: None,
    until: None,
};

#[tokio::test]
async fn a_run_takes_all_that_match_in_order_of_death() {
    let letters = 2 * STEP + 7;
    let (queue, _dir) = queue_with(letters).await;
    let all = letters as u64;
    let counted = run(&queue, &ANY, Action::Count, UnixMs(i64::MAX)).await.unwrap();
    assert_eq!(counted, Run { matched: all, done: 0, refused: None });
    assert!(payloads(&queue).await.is_empty());

    let filter = DeadFilter { since: Some(UnixMs(3)), ..ANY };
    let retried = run(&queue, &filter, Action::Retry(At::Tail), UnixMs(i64::MAX)).await.unwrap();
    assert_eq!(retried, Run { matched: all - 2, done: all - 2, refused: None });
    assert_eq!(payloads(&queue).await, (3..=letters).collect::<Vec<_>>());

    let discarded = run(&queue, &ANY, Action::Discard, UnixMs(i64::MAX)).await.unwrap();
    assert_eq!(discarded, Run { matched: 2, done: 2, refused: None });
    assert_eq!(run(&queue, &ANY, Action::Count, UnixMs(i64::MAX)).await.unwrap(), Run::default());
}

#[tokio::test]
async fn what_dies_after_the_start_of_a_run_is_left_alone() {
    let (queue, _dir) = queue_with(3).await;
    let retried = run(&queue, &ANY, Action::Retry(At::Tail), UnixMs(2)).await.unwrap();
    assert_eq!(retried, Run { matched: 2, done: 2, refused: None });
    assert_eq!(payloads(&queue).await, [1, 2]);
}

#[tokio::test]
async fn a_name_is_a_dead_letters_or_an_events() {
    let (queue, _dir) = queue_with(2).await;
    let id: DeadLetterId = "1-2".parse().unwrap();
    assert_eq!(find(&queue, "1-2").await.unwrap(), Found::One(id));
    assert_eq!(find(&queue, "evt_2").await.unwrap(), Found::One(id));
    for nothing in ["1-3", "evt_3", "", "a b"] {
        assert_eq!(find(&queue, nothing).await.unwrap(), Found::None, "{nothing}");
    }
}
