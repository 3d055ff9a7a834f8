//! The store's verbs against a model: random operations and reopenings on both, which must agree after each.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;

mod changes;
mod front;
pub(super) mod cuts;
mod history;
mod letters;
mod opening;
mod requests;
mod shape;

use crate::model::{FailReason, OrgSettings, Target, UrlTemplate, Webhook};

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        data_dir: dir.to_owned(),
        key: MasterKey([7; 32]),
        previous_key: None,
        cache_bytes: 8 << 20,
        reserve_bytes: Some(0),
        max_deliveries: 1000,
        max_bytes: 1 << 30,
        max_total: QueueLimits::NONE,
        retention: Retention::default(),
    }
}

fn settings() -> OrgSettings {
    OrgSettings {
        plan: None,
        description: String::new(),
        max_deliveries: None,
        max_bytes: None,
        max_webhooks: None,
        created_at: UnixMs(1),
        updated_at: UnixMs(1),
    }
}

fn webhook(id: &str) -> Webhook {
    let target = Target::Url(UrlTemplate::fixed("https://example.com/hook"));
    Webhook {
        password: Some(crate::model::Secret::new("hunter2".into())),
        ..Webhook::new(id.parse().unwrap(), target, UnixMs(1))
    }
}

fn event(id: &str, given: bool, payload: Vec<u8>) -> Event {
    Event {
        id: id.parse().unwrap(),
        id_given: given,
        event_type: "thing.happened".parse().unwrap(),
        payload: Bytes::from(payload),
        attributes: BTreeMap::from([("user".to_owned(), "7".to_owned())]),
    }
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        number,
        at: UnixMs(1000),
        duration_ms: 5,
        status: Some(503),
        error: Some(FailReason::Status),
        detail: "HTTP 503".to_owned(),
        excerpt: "busy".to_owned(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// What one org's queue and dead letters must hold.
#[derive(Debug, Default, Clone)]
struct OrgModel {
    queue: VecDeque<Item>,
    attempts: u32,
    dead: BTreeMap<u64, Item>,
    next: u64,
    paused: bool,
}

impl OrgModel {
    /// The deliveries of an event, at the end.
    fn push(&mut self, append: &Append) {
        for webhook in &append.webhooks {
            self.queue.push_back(Item {
                sequence: self.next,
                id: append.event.id.as_str().to_owned(),
                payload: append.event.payload.to_vec(),
                webhook: webhook.as_str().to_owned(),
            });
            self.next += 1;
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Item {
    sequence: u64,
    id: String,
    payload: Vec<u8>,
    webhook: String,
}

#[derive(Debug, Clone)]
enum Action {
    Append { org: usize, size: usize, webhooks: usize },
    AppendAgain { org: usize },
    Change { org: usize, events: Vec<(usize, usize)>, given: bool },
    Request { org: usize, events: Vec<(usize, usize)>, has_id: bool },
    Done { org: usize },
    Defer { org: usize },
    Bury { org: usize },
    Skip { org: usize },
    Revive { org: usize, nth: usize },
    ReviveAtHead { org: usize, nth: usize },
    Discard { org: usize, nth: usize },
    Pause { org: usize, on: bool },
    Reopen,
}

const ORGS: [&str; 3] = ["acme", "globex", "initech"];

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let org = 0..ORGS.len();
    // Sizes on both sides of what lies in the record, and beyond one chunk.
    let size = prop_oneof![6 => 2usize..2000, 1 => 16_380usize..16_390, 1 => 49_000usize..150_000];
    let of_change = prop_oneof![12 => 2usize..500, 1 => 16_380usize..16_390, 1 => 49_000usize..60_000];
    let fired = proptest::collection::vec((of_change, 0usize..3), 0..4);
    // Appends outweigh the rest so that queues grow; reopening is rare, since it takes longest.
    let action = prop_oneof![
        8 => (org.clone(), size, 0usize..4).prop_map(|(org, size, webhooks)| Action::Append { org, size, webhooks }),
        1 => org.clone().prop_map(|org| Action::AppendAgain { org }),
        2 => (org.clone(), fired.clone(), any::<bool>())
            .prop_map(|(org, events, has_id)| Action::Request { org, events, has_id }),
        2 => (org.clone(), fired, any::<bool>())
            .prop_map(|(org, events, given)| Action::Change { org, events, given }),
        5 => org.clone().prop_map(|org| Action::Done { org }),
        3 => org.clone().prop_map(|org| Action::Defer { org }),
        2 => org.clone().prop_map(|org| Action::Bury { org }),
        1 => org.clone().prop_map(|org| Action::Skip { org }),
        1 => (org.clone(), 0usize..3).prop_map(|(org, nth)| Action::Revive { org, nth }),
        2 => (org.clone(), 0usize..3).prop_map(|(org, nth)| Action::ReviveAtHead { org, nth }),
        1 => (org.clone(), 0usize..3).prop_map(|(org, nth)| Action::Discard { org, nth }),
        1 => (org, any::<bool>()).prop_map(|(org, on)| Action::Pause { org, on }),
        1 => Just(Action::Reopen),
    ];
    proptest::collection::vec(action, 1..60)
}

/// The store beside its model.
struct Pair {
    dir: tempfile::TempDir,
    queue: Option<(Queue, UnboundedReceiver<Notice>)>,
    orgs: Vec<OrgModel>,
    events: usize,
}

impl Pair {
    async fn new() -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let opened = Queue::open(&options(dir.path())).unwrap();
        for name in ORGS {
            assert!(opened.0.put_org(name.parse().unwrap(), settings()).await.unwrap());
            for id in ["w0", "w1", "w2"] {
                assert!(opened.0.put_webhook(&name.parse().unwrap(), webhook(id)).await.unwrap());
            }
        }
        let orgs = vec![OrgModel { next: 1, ..OrgModel::default() }; ORGS.len()];
        Pair { dir, queue: Some(opened), orgs, events: 0 }
    }

    fn queue(&self) -> &Queue {
        &self.queue.as_ref().unwrap().0
    }

    fn org(&self, org: usize) -> Arc<Org> {
        self.queue().directory().org(&ORGS[org].parse().unwrap()).unwrap()
    }

    fn claim(&self, org: usize) -> Option<Claim> {
        let head = self.orgs[org].queue.front()?;
        Some(Claim { org: self.org(org).number, sequence: Sequence(head.sequence) })
    }

    async fn apply(&mut self, action: Action) {
        match action {
            Action::Append { org, size, webhooks } => self.append(org, size, webhooks).await,
            Action::AppendAgain { org } => self.append_again(org).await,
            Action::Change { org, events, given } => self.change(org, &events, given).await,
            Action::Request { org, events, has_id } => self.request(org, &events, has_id).await,
            Action::Done { org } => {
                let Some(claim) = self.claim(org) else { return };
                let delivery = self.queue().load(claim).await.unwrap().unwrap();
                let head = self.orgs[org].queue.pop_front().unwrap();
                assert_eq!(delivery.payload, head.payload);
                assert_eq!(self.queue().done(claim, delivery.size).await, Ok(Settled::Applied));
                assert_eq!(self.queue().done(claim, delivery.size).await, Ok(Settled::Stale));
                self.orgs[org].attempts = 0;
            }
            Action::Defer { org } => {
                let Some(claim) = self.claim(org) else { return };
                self.orgs[org].attempts += 1;
                let attempt = attempt(self.orgs[org].attempts);
                assert_eq!(self.queue().defer(claim, attempt, UnixMs(5000)).await, Ok(Settled::Applied));
            }
            Action::Bury { org } => {
                let Some(claim) = self.claim(org) else { return };
                let last = attempt(self.orgs[org].attempts + 1);
                let reason = DeadReason::AttemptsExhausted;
                let settled = self.queue().bury(claim, Some(last), reason, UnixMs(9000)).await;
                assert_eq!(settled, Ok(Settled::Applied));
                self.die(org);
            }
            Action::Skip { org } => {
                let skipped = self.queue().skip(&ORGS[org].parse().unwrap(), None, None, UnixMs(9000)).await;
                match self.claim(org) {
                    Some(claim) => {
                        assert_eq!(skipped.unwrap().sequence, claim.sequence);
                        self.die(org);
                    }
                    None => assert_eq!(skipped, Err(Refused::QueueEmpty)),
                }
            }
            Action::Revive { org, nth } => {
                let Some((&sequence, _)) = self.orgs[org].dead.iter().nth(nth) else { return };
                let id = DeadLetterId { org: self.org(org).number, sequence: Sequence(sequence) };
                assert_eq!(self.queue().revive(vec![id]).await.map(|changed| changed.done), Ok(1));
                assert_eq!(self.queue().revive(vec![id]).await.map(|changed| changed.done), Ok(0));
                let model = &mut self.orgs[org];
                let mut item = model.dead.remove(&sequence).unwrap();
                item.sequence = model.next;
                model.next += 1;
                model.queue.push_back(item);
            }
            Action::ReviveAtHead { org, nth } => self.revive_at_head(org, nth).await,
            Action::Discard { org, nth } => {
                let Some((&sequence, _)) = self.orgs[org].dead.iter().nth(nth) else { return };
                let id = DeadLetterId { org: self.org(org).number, sequence: Sequence(sequence) };
                assert_eq!(self.queue().discard(vec![id]).await.map(|changed| changed.done), Ok(1));
                self.orgs[org].dead.remove(&sequence);
            }
            Action::Pause { org, on } => {
                let id = ORGS[org].parse().unwrap();
                if on {
                    self.queue().pause(&id, Some("why".into()), UnixMs(1)).await.unwrap();
                } else {
                    self.queue().resume(&id).await.unwrap();
                }
                self.orgs[org].paused = on;
            }
            Action::Reopen => self.reopen().await,
        }
    }

    fn die(&mut self, org: usize) {
        let model = &mut self.orgs[org];
        let item = model.queue.pop_front().unwrap();
        model.dead.insert(item.sequence, item);
        model.attempts = 0;
    }

    async fn append(&mut self, org: usize, size: usize, webhooks: usize) {
        let append = self.event_of("evt", org, size, webhooks);
        let first = self.orgs[org].next;
        let answer = self.queue().append(vec![append.clone()]).await.remove(0).unwrap();
        assert_eq!(answer.sequence, (webhooks > 0).then_some(Sequence(first)));
        let again = self.queue().append(vec![append.clone()]).await.remove(0).unwrap();
        assert_eq!(again, Appended { duplicate: true, ..answer });
        self.orgs[org].push(&append);
    }

    /// A fresh event for the first so many webhooks.
    fn event_of(&mut self, prefix: &str, org: usize, size: usize, webhooks: usize) -> Append {
        self.events += 1;
        let payload = (0..size).map(|at| u8::try_from((at * 31 + self.events) % 251).unwrap()).collect();
        Append {
            org: self.org(org),
            event: event(&format!("{prefix}_{}", self.events), true, payload),
            webhooks: (0..webhooks).map(|n| format!("w{n}").parse().unwrap()).collect(),
            accepted_at: clock(),
        }
    }

    /// The last event's id with other content, in an org that has seen it or not.
    async fn append_again(&mut self, org: usize) {
        // Events of changes are not remembered by ids of their own.
        let by_itself = |item: &&Item| item.id.starts_with("evt_");
        let seen_here = self.orgs[org].queue.iter().rfind(by_itself).map(|item| item.id.clone());
        let Some(id) = seen_here else { return };
        let append = Append {
            org: self.org(org),
            event: event(&id, true, b"{\"other\":1}".to_vec()),
            webhooks: vec!["w0".parse().unwrap()],
            accepted_at: clock(),
        };
        assert_eq!(self.queue().append(vec![append]).await, vec![Err(Refused::IdReused)]);
    }

    async fn reopen(&mut self) {
        let (queue, notices) = self.queue.take().unwrap();
        queue.close().await;
        drop((queue, notices));
        self.queue = Some(Queue::open(&options(self.dir.path())).unwrap());
    }

    async fn check(&mut self) {
        for (index, model) in self.orgs.iter().enumerate() {
            let org = self.org(index);
            assert_eq!(org.webhooks.len(), 3);
            let summary = self.queue().summary(org.number);
            assert_eq!(summary.depth, model.queue.len() as u64);
            assert_eq!(summary.bytes, model.queue.iter().map(|item| item.payload.len() as u64).sum::<u64>());
            assert_eq!(summary.paused.is_some(), model.paused);
            assert_eq!(summary.dead_letters, model.dead.len() as u64);
            assert_eq!(summary.head.map_or(0, |head| head.attempts), model.attempts);
            let listed = self.queue().list(org.number, None, 1000, true).await.unwrap();
            let items: Vec<Item> = listed.iter().map(|queued| item(&queued.delivery)).collect();
            assert_eq!(items, Vec::from(model.queue.clone()));
            if model.attempts > 0 {
                assert_eq!(listed[0].last.as_ref().unwrap().number, model.attempts);
            }
            let filter = DeadFilter { org: Some(org.id.clone()), ..DeadFilter::default() };
            let page = self.queue().dead_list(filter, None, 1000).await.unwrap();
            let ids: Vec<u64> = page.items.iter().map(|letter| letter.id.sequence.0).collect();
            assert_eq!(ids, model.dead.keys().copied().collect::<Vec<_>>());
            for (sequence, expected) in &model.dead {
                let id = DeadLetterId { org: org.number, sequence: Sequence(*sequence) };
                let letter = self.queue().dead_show(id, true).await.unwrap().unwrap();
                assert_eq!(&item(&letter.delivery), expected);
                assert_eq!(letter.attempts.len(), letter.attempts_made as usize);
            }
        }
        assert_eq!(self.queue().usage().blob_files, 0);
        assert_eq!(self.queue().usage().quarantined, 0);
    }
}

fn clock() -> UnixMs {
    crate::clock::now()
}

fn item(delivery: &Delivery) -> Item {
    Item {
        sequence: delivery.sequence.0,
        id: delivery.event_id.as_str().to_owned(),
        payload: delivery.payload.to_vec(),
        webhook: delivery.webhook.as_str().to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/queue.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_agrees_with_its_model(actions in actions()) {
        runtime().block_on(async {
            let mut pair = Pair::new().await;
            for action in actions {
                pair.apply(action).await;
                pair.check().await;
            }
            pair.reopen().await;
            pair.check().await;
        });
    }
}
