//! Requests of sources: all of their events or none, once per id, with the same answer. And the sources themselves.

use super::*;
use crate::model::{Secret, Source, SourceId, SourceKind, TokenHash};
use crate::queue::key::{self, InOrgs, InQueue};

const HOUR_MS: i64 = 60 * 60 * 1000;

fn answer_of(text: &str) -> RequestAnswer {
    RequestAnswer { content_type: "application/json".to_owned(), body: text.to_owned() }
}

fn source(id: &str) -> Source {
    let plain = Source::new(id.parse().unwrap(), SourceKind::Slack, TokenHash::of("token"), UnixMs(1));
    Source {
        secrets: vec![Secret::new("secret".to_owned())],
        catalogue: Some("trackingtime".into()),
        ..plain
    }
}

impl Pair {
    /// A request that becomes events of these sizes, each for so many webhooks; once more if it has an id.
    pub(super) async fn request(&mut self, org: usize, became: &[(usize, usize)], has_id: bool) {
        let events: Vec<_> =
            became.iter().map(|(size, webhooks)| self.event_of("req", org, *size, *webhooks)).collect();
        self.events += 1;
        let key =
            has_id.then(|| self.queue().request_key(&source("slack"), &format!("request.{}", self.events)));
        let answer = answer_of(&format!("answer {}", self.events));
        let request = AppendRequest { org: self.org(org), key, events, answer, accepted_at: clock() };
        let expected = self.expected(org, &request.events).events;
        let appended = self.queue().append_request(request.clone()).await;
        assert_eq!(appended, Ok(AppendedRequest::Accepted(expected)));
        for append in &request.events {
            self.orgs[org].push(append);
        }
        let Some(key) = key else { return };
        // Neither what it would become now nor what it would be answered now counts.
        let other = AppendRequest { events: Vec::new(), answer: answer_of("other"), ..request.clone() };
        let repeated = AppendedRequest::Repeated(request.answer.clone());
        assert_eq!(self.queue().append_request(other).await, Ok(repeated));
        let before = self.queue().repeated_request(&request.org, key, clock()).await;
        assert_eq!(before, Ok(Some(request.answer)));
    }
}

#[test]
fn a_request_is_remembered_by_its_source_through_reopening_and_for_three_days() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let key = pair.queue().request_key(&source("slack"), "1714640000.42");
        let (now, answer) = (clock(), answer_of("Tracking"));
        let request = AppendRequest {
            org: pair.org(0),
            key: Some(key),
            events: Vec::new(),
            answer: answer.clone(),
            accepted_at: now,
        };
        let accepted = pair.queue().append_request(request).await;
        assert_eq!(accepted, Ok(AppendedRequest::Accepted(Vec::new())));
        pair.reopen().await;
        let repeated = async |key, at| pair.queue().repeated_request(&pair.org(0), key, UnixMs(at)).await;
        for (hours, known) in [(0, true), (25, true), (71, true), (72, false), (100, false)] {
            let expected = known.then(|| answer.clone());
            assert_eq!(repeated(key, now.0 + hours * HOUR_MS).await, Ok(expected), "{hours}");
        }
        // The same id at another source, or in another org, or of a change, is another one.
        let other = pair.queue().request_key(&source("other"), "1714640000.42");
        assert_eq!(repeated(other, now.0).await, Ok(None));
        // One that was deleted and made anew is another source.
        let anew = Source { created_at: UnixMs(2), ..source("slack") };
        assert_eq!(repeated(pair.queue().request_key(&anew, "1714640000.42"), now.0).await, Ok(None));
        assert_eq!(pair.queue().repeated_request(&pair.org(1), key, now).await, Ok(None));
        let change = pair.queue().change_key(&"1714640000_42".parse().unwrap(), &[]);
        assert_eq!(pair.queue().repeated_change(&pair.org(0), change, now).await, Ok(None));
    });
}

#[test]
fn requests_of_long_ago_are_swept_and_those_that_may_be_repeated_are_not() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let now = clock();
        for days in 0..8 {
            let request = AppendRequest {
                org: pair.org(0),
                key: Some(pair.queue().request_key(&source("slack"), &days.to_string())),
                events: vec![pair.event_of("req", 0, 10, 1)],
                answer: answer_of("a"),
                accepted_at: UnixMs(now.0 - days * 24 * HOUR_MS),
            };
            pair.orgs[0].push(&request.events[0]);
            pair.queue().append_request(request).await.unwrap();
        }
        let org = pair.org(0).number;
        let kept = async |pair: &Pair| {
            let rows = pair.queue().read_store(move |store| {
                let tree = store.queue_for_writing(org)?;
                Ok(tree.keys(&key::of_org(InQueue::Request as u8, org)).count())
            });
            rows.await.unwrap()
        };
        assert_eq!(kept(&pair).await, 8);
        // What is swept is put down anew at every opening.
        pair.reopen().await;
        let since = std::time::Instant::now();
        while kept(&pair).await > 4 {
            assert!(since.elapsed().as_secs() < 60, "today and three days before are left");
            // An event for nobody: however long it takes, no queue gets full.
            pair.append(1, 10, 0).await;
        }
        assert_eq!(kept(&pair).await, 4);
        pair.check().await;
    });
}

#[test]
fn a_request_that_cannot_be_kept_whole_leaves_nothing() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let limited = OrgSettings { max_deliveries: Some(2), ..settings() };
        pair.queue().put_org(ORGS[0].parse().unwrap(), limited).await.unwrap();
        let key = pair.queue().request_key(&source("slack"), "1");
        let request = |pair: &mut Pair, events: &[(usize, usize)], answer: &str| AppendRequest {
            org: pair.org(0),
            key: Some(key),
            events: events.iter().map(|(size, hooks)| pair.event_of("req", 0, *size, *hooks)).collect(),
            answer: answer_of(answer),
            accepted_at: clock(),
        };
        let many = request(&mut pair, &[(10, 2), (10, 1)], "a");
        let refused = pair.queue().append_request(many).await;
        assert_eq!(refused, Err(Refused::QueueFull { deliveries: 0, bytes: 0 }));
        let long = request(&mut pair, &[(10, 1)], &"x".repeat(70_000));
        assert!(matches!(pair.queue().append_request(long).await, Err(Refused::TooLarge(_))));
        assert_eq!(pair.queue().repeated_request(&pair.org(0), key, clock()).await, Ok(None));
        pair.check().await;
        let fitting = request(&mut pair, &[(10, 2)], "a");
        assert!(pair.queue().append_request(fitting.clone()).await.is_ok());
        pair.orgs[0].push(&fitting.events[0]);
        pair.check().await;
    });
}

#[test]
fn what_is_remembered_of_a_day_is_bounded_through_reopening() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let small = OrgSettings { max_bytes: Some(1), ..settings() };
        pair.queue().put_org(ORGS[0].parse().unwrap(), small).await.unwrap();
        let request = |pair: &Pair, number: u32, at: UnixMs| AppendRequest {
            org: pair.org(0),
            key: Some(pair.queue().request_key(&source("slack"), &number.to_string())),
            events: Vec::new(),
            // The longest that fit: 16 MiB are everyone's.
            answer: answer_of(&"x".repeat(60_000)),
            accepted_at: at,
        };
        let now = clock();
        for number in 0..200 {
            pair.queue().append_request(request(&pair, number, now)).await.unwrap();
        }
        pair.reopen().await;
        let mut number = 200;
        let refused = loop {
            match pair.queue().append_request(request(&pair, number, now)).await {
                Ok(_) => number += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!((number, refused), (278, Refused::RequestsFull(278 * 60_160)));
        // What has no id is not remembered, what is repeated takes nothing, and tomorrow is another day.
        let nameless = AppendRequest { key: None, ..request(&pair, 0, now) };
        assert!(pair.queue().append_request(nameless).await.is_ok());
        let repeated = pair.queue().append_request(request(&pair, 7, now)).await;
        assert!(matches!(repeated, Ok(AppendedRequest::Repeated(_))));
        let tomorrow = UnixMs(now.0 + 24 * HOUR_MS);
        assert!(pair.queue().append_request(request(&pair, 999, tomorrow)).await.is_ok());
    });
}

#[test]
fn sources_come_back_after_reopening_and_go_with_their_org() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let org = pair.org(0);
        let put = async |pair: &Pair, source| pair.queue().put_source(&org.id, source).await;
        assert_eq!(put(&pair, source("a")).await, Ok(true));
        assert_eq!(put(&pair, source("b")).await, Ok(true));
        // Its token stays when it is saved again.
        let again = Source { token: TokenHash::of("other"), enabled: false, ..source("a") };
        assert_eq!(put(&pair, again).await, Ok(false));
        let id: SourceId = "a".parse().unwrap();
        let expected = Source { enabled: false, ..source("a") };
        pair.reopen().await;
        assert_eq!(**pair.org(0).sources.get(&id).unwrap(), expected);
        let token = TokenHash::of("new");
        pair.queue().change_source(&org.id, &id, move |source| source.token = token).await.unwrap();
        assert!(pair.org(0).sources.get(&id).unwrap().token.is(&token));
        assert_eq!(pair.queue().delete_source(&org.id, &id).await, Ok(()));
        assert_eq!(pair.queue().delete_source(&org.id, &id).await, Err(Refused::UnknownSource));
        let gone = pair.queue().change_source(&org.id, &id, |_| {}).await;
        assert_eq!(gone, Err(Refused::UnknownSource));
        pair.reopen().await;
        assert_eq!(pair.org(0).sources.len(), 1);
        pair.queue().delete_org(&org.id, true).await.unwrap();
        let rows = pair.queue().read_store(|store| Ok(store.orgs.keys(&[InOrgs::Source as u8]).count()));
        assert_eq!(rows.await, Ok(0));
    });
}

#[test]
fn a_request_that_is_cut_off_anywhere_leaves_nothing_or_all_of_it() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.append(0, 100, 1).await;
        let events = [(100, 1), (60_000, 2), (100, 1)];
        let events = events.map(|(size, hooks)| pair.event_of("req", 0, size, hooks)).to_vec();
        let key = |pair: &Pair| pair.queue().request_key(&source("slack"), "1");
        let answer = answer_of("Tracking");
        // Two chunks, four deliveries, the request, what the day takes, the state record.
        for writes in 0..=9 {
            assert_eq!(pair.queue().repeated_request(&pair.org(0), key(&pair), clock()).await, Ok(None));
            let request = AppendRequest {
                org: pair.org(0),
                key: Some(key(&pair)),
                events: events.clone(),
                answer: answer.clone(),
                accepted_at: clock(),
            };
            pair.allow(1 + writes).await;
            let refused = pair.queue().append_request(request).await;
            assert!(matches!(refused, Err(Refused::Unavailable(_))), "{writes}: {refused:?}");
            if writes == 9 {
                for append in &events {
                    pair.orgs[0].push(append);
                }
            }
            pair.reopen_failed();
            pair.check().await;
        }
        let repeated = pair.queue().repeated_request(&pair.org(0), key(&pair), clock()).await;
        assert_eq!(repeated, Ok(Some(answer)));
    });
}
