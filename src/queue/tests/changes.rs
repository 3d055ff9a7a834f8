//! Changes: all of their events or none, once per id.

use super::*;

impl Pair {
    /// A change of events of these sizes, each for so many webhooks; once more if its id is given.
    pub(super) async fn change(&mut self, org: usize, fired: &[(usize, usize)], given: bool) {
        let events: Vec<_> =
            fired.iter().map(|(size, webhooks)| self.event_of("chg", org, *size, *webhooks)).collect();
        self.events += 1;
        let key = given.then(|| self.key(&format!("change_{}", self.events), b"same"));
        let change = AppendChange { org: self.org(org), key, events, accepted_at: clock() };
        let answer = self.queue().append_change(change.clone()).await.unwrap();
        assert_eq!(answer, self.expected(org, &change.events));
        for append in &change.events {
            self.orgs[org].push(append);
        }
        let Some(key) = key else { return };
        let again = AppendedChange { duplicate: true, ..answer };
        // What it would fire now does not count: it comes from other times.
        let other = AppendChange { events: Vec::new(), ..change.clone() };
        assert_eq!(self.queue().append_change(other).await, Ok(again.clone()));
        assert_eq!(self.queue().repeated_change(&change.org, key, clock()).await, Ok(Some(again)));
        let other = self.key(&format!("change_{}", self.events), b"other");
        assert_eq!(self.queue().repeated_change(&change.org, other, clock()).await, Err(Refused::IdReused));
        let other = AppendChange { key: Some(other), ..change };
        assert_eq!(self.queue().append_change(other).await, Err(Refused::IdReused));
    }

    fn key(&self, id: &str, content: &[u8]) -> ChangeKey {
        self.queue().change_key(&id.parse().unwrap(), &[b"thing", content])
    }

    /// The answer to a change of these events: one behind the other.
    pub(super) fn expected(&self, org: usize, events: &[Append]) -> AppendedChange {
        let mut next = self.orgs[org].next;
        let answer = |append: &Append| {
            let deliveries = append.webhooks.len();
            let sequence = (deliveries > 0).then_some(Sequence(next));
            next += deliveries as u64;
            AppendedEvent {
                id: append.event.id.clone(),
                event_type: append.event.event_type.clone(),
                sequence,
                deliveries: u32::try_from(deliveries).unwrap(),
            }
        };
        AppendedChange { events: events.iter().map(answer).collect(), duplicate: false }
    }

    async fn refuses(&mut self, events: Vec<Append>) -> Refused {
        let change = AppendChange {
            org: self.org(0),
            key: Some(self.key("refused", b"same")),
            events,
            accepted_at: clock(),
        };
        let refused = self.queue().append_change(change).await.unwrap_err();
        self.check().await;
        refused
    }
}

#[test]
fn a_change_that_does_not_fit_the_queue_whole_leaves_nothing() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let limited = OrgSettings { max_deliveries: Some(5), max_bytes: Some(60_000), ..settings() };
        pair.queue().put_org(ORGS[0].parse().unwrap(), limited).await.unwrap();
        pair.append(0, 100, 2).await;
        let events = [(100, 2), (100, 1), (100, 1)].map(|(size, hooks)| pair.event_of("chg", 0, size, hooks));
        assert_eq!(pair.refuses(events.to_vec()).await, Refused::QueueFull { deliveries: 2, bytes: 200 });
        let events = [(100, 1), (60_000, 1)].map(|(size, hooks)| pair.event_of("chg", 0, size, hooks));
        assert_eq!(pair.refuses(events.to_vec()).await, Refused::QueueFull { deliveries: 2, bytes: 200 });
        // It was not remembered either, and what fits to the last is taken.
        let key = pair.key("refused", b"same");
        assert_eq!(pair.queue().repeated_change(&pair.org(0), key, clock()).await, Ok(None));
        pair.change(0, &[(100, 1), (59_500, 1), (100, 1)], true).await;
        pair.check().await;
        // Without deliveries there is nothing that could be too much.
        pair.change(0, &[(100, 0)], true).await;
        pair.reopen().await;
        pair.check().await;
    });
}

/// Attributes of the second event that just fit its record, and one byte more: never the first event alone.
#[test]
fn a_change_with_a_record_that_does_not_fit_leaves_nothing() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        for payload in [100, 16 << 10, 100_000] {
            let (mut fitting, mut too_long) = (0, 64 << 10);
            while too_long - fitting > 1 {
                let length = usize::midpoint(fitting, too_long);
                let mut second = pair.event_of("chg", 0, payload, 2);
                second.event.attributes.insert("long".to_owned(), "x".repeat(length));
                let events = vec![pair.event_of("chg", 0, 50_000, 1), second];
                let change = AppendChange { org: pair.org(0), key: None, events, accepted_at: clock() };
                match pair.queue().append_change(change.clone()).await {
                    Ok(answer) => {
                        assert_eq!(answer, pair.expected(0, &change.events));
                        change.events.iter().for_each(|append| pair.orgs[0].push(append));
                        fitting = length;
                    }
                    Err(refused) => {
                        assert!(matches!(refused, Refused::TooLarge(_)), "{refused}");
                        too_long = length;
                    }
                }
            }
            let record = fitting + if payload <= 16 << 10 { payload } else { 0 };
            assert!((64 << 10) - record < 300, "payload of {payload}: at most {fitting}");
        }
        pair.check().await;
        pair.reopen().await;
        pair.check().await;
    });
}

#[test]
fn a_change_and_an_event_may_have_the_same_id() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.append(0, 100, 1).await;
        let key = pair.key("evt_1", b"same");
        let events = vec![pair.event_of("chg", 0, 100, 1)];
        let change = AppendChange { org: pair.org(0), key: Some(key), events, accepted_at: clock() };
        let answer = pair.queue().append_change(change.clone()).await.unwrap();
        assert_eq!(answer, pair.expected(0, &change.events));
        pair.orgs[0].push(&change.events[0]);
        pair.check().await;
        // Nor are ids shared between orgs.
        assert_eq!(pair.queue().repeated_change(&pair.org(1), key, clock()).await, Ok(None));
    });
}

#[test]
fn a_change_is_remembered_through_reopening_even_if_it_fired_nothing_and_for_a_day() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let key = pair.key("quiet", b"same");
        let now = clock();
        let change = AppendChange { org: pair.org(0), key: Some(key), events: Vec::new(), accepted_at: now };
        let answer = pair.queue().append_change(change.clone()).await.unwrap();
        assert_eq!(answer, AppendedChange { events: Vec::new(), duplicate: false });
        pair.reopen().await;
        let again = AppendedChange { duplicate: true, ..answer };
        let repeated = async |at| pair.queue().repeated_change(&pair.org(0), key, at).await;
        let day = 24 * 60 * 60 * 1000;
        assert_eq!(repeated(UnixMs(now.0 + day - 1)).await, Ok(Some(again)));
        assert_eq!(repeated(UnixMs(now.0 + day)).await, Ok(None));
    });
}

#[test]
fn a_change_is_refused_while_the_disk_is_full_and_once_the_store_is_closed() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.queue().close().await;
        pair.queue = None;
        let full = StoreOptions { reserve_bytes: Some(u64::MAX), ..options(pair.dir.path()) };
        pair.queue = Some(Queue::open(&full).unwrap());
        let events = vec![pair.event_of("chg", 0, 100, 1), pair.event_of("chg", 0, 100, 1)];
        assert_eq!(pair.refuses(events.clone()).await, Refused::DiskFull);
        pair.reopen().await;
        pair.check().await;
        pair.queue().close().await;
        let change = AppendChange { org: pair.org(0), key: None, events, accepted_at: clock() };
        let refused = pair.queue().append_change(change).await;
        assert!(matches!(refused, Err(Refused::Unavailable(_))), "{refused:?}");
    });
}
