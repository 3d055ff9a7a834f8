//! What was answered as accepted is never lost, whenever the daemon is killed: it arrives, once, and per sender in the order
//! in which it was posted. What got no answer is posted again under the same id, as outside services do.
//!
//! `POSTRIDER_TEST_KILLS=200 cargo test --test it sources::crash` makes it a long run; `POSTRIDER_TEST_SEED` repeats the
//! choices of a run (not the instants at which they meet the daemon).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::support::daemon::retry;
use crate::support::http::Reply;
use crate::support::kills::{asked, kill_under_load};
use crate::support::ledger::{Terms, one_at_a_time, repeats_and_tries};
use crate::support::receiver::Chooser;
use crate::support::sources::{self, code, post, put};
use crate::support::{Answer, Daemon, Received, Receiver, Site, wait_until};

/// Kills in a short run.
const KILLS: u64 = 6;
/// So many that none of what fails now and then is ever given up.
const ATTEMPTS: usize = 12;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ORGS: [&str; 2] = ["acme", "umbrella"];

/// How a sender posts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Github,
    Standard,
    /// A request that the rules make something else of.
    Product,
}

/// The senders, by org, source and manner: two share a source.
const SENDERS: [(&str, &str, Manner); 4] = [
    ("acme", "code", Manner::Github),
    ("acme", "shop", Manner::Standard),
    ("umbrella", "forms", Manner::Product),
    ("umbrella", "forms", Manner::Product),
];

#[test]
fn what_was_accepted_arrives_once_and_in_order_whenever_the_daemon_is_killed() {
    let (kills, seed) = asked(KILLS);
    println!("POSTRIDER_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    let urls = set_up(&daemon, &receiver, seed);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> = (0..SENDERS.len())
        .map(|number| {
            let rng = Rng::with_seed(seed ^ number as u64);
            let (url, stop, count) = (urls[SENDERS[number].1].clone(), stop.clone(), count.clone());
            let sender = Sender { number, url, stop, count, rng, accepted: Vec::new() };
            std::thread::spawn(move || sender.run())
        })
        .collect();

    let (daemon, crashes) =
        kill_under_load((&site, daemon), &receiver, kills, &mut rng, || count.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    let accepted: Vec<Vec<Post>> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    for org in ORGS {
        daemon.drained(org);
        assert!(daemon.dead_letters(org).is_empty());
        let received = receiver.at(&format!("/{org}"));
        let of_org = accepted.iter().enumerate().filter(|(number, _)| SENDERS[*number].0 == org);
        once_and_in_order(org, of_org, &received);
        repeats_and_tries(org, &received, Terms { attempts: ATTEMPTS, crashes });
        one_at_a_time(org, &received);
    }
    println!("{} requests, {} deliveries, {kills} kills", count.load(Ordering::Relaxed), receiver.count());
    assert!(daemon.terminate().success());
}

fn site() -> Site {
    let (site, _) = sources::site();
    Site::with(&format!("{}max_rate = 1000000\n", site.config().replace("debug", "info")))
}

/// Two orgs, three sources, and a receiver that mostly takes what it gets; the sources' URLs.
fn set_up(daemon: &Daemon<'_>, receiver: &Receiver, seed: u64) -> BTreeMap<&'static str, String> {
    for (number, org) in (0..).zip(ORGS) {
        let mut settings = retry(ATTEMPTS as u32, 5, 2.0, 20);
        settings["timeout"] = json!("10s");
        daemon.org(org, &receiver.url(&format!("/{org}")), &settings);
        receiver.always(&format!("/{org}"), Answer::Chosen(unreliable(seed ^ (number << 32))));
    }
    let settings = [
        json!({"kind": "github", "secret": SECRET}),
        json!({"kind": "standard", "secret": SECRET}),
        json!({"kind": "token", "id_header": "x-id", "catalogue": "trackingtime"}),
    ];
    let sources = SENDERS.iter().zip(&settings);
    sources.map(|((org, source, _), settings)| (*source, put(daemon, org, source, settings))).collect()
}

fn unreliable(seed: u64) -> Chooser {
    Chooser::new(move |number| {
        let mut rng = Rng::with_seed(seed ^ number as u64);
        match rng.u8(..) {
            0..15 => Answer::Close,
            15..40 => Answer::Status(500),
            40..140 => Answer::Late(Duration::from_millis(rng.u64(1..8)), 200),
            _ => Answer::Status(200),
        }
    })
}

/// What a sender posted and was told.
struct Post {
    id: String,
    body: String,
    answer: (Option<String>, Vec<u8>),
}

/// Posts one request after the other; what got no answer is posted again under the same id.
struct Sender {
    number: usize,
    url: String,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    rng: Rng,
    accepted: Vec<Post>,
}

impl Sender {
    fn run(mut self) -> Vec<Post> {
        while !self.stop.load(Ordering::Relaxed) {
            let (id, body) = self.next();
            let mut answer = None;
            wait_until("the request is accepted", || {
                answer = self.post(&id, &body);
                answer.is_some()
            });
            self.accepted.push(Post { id, body, answer: answer.unwrap() });
            self.count.fetch_add(1, Ordering::Relaxed);
            if self.rng.u8(..) < 64 {
                self.repeat();
            }
            std::thread::sleep(Duration::from_millis(self.rng.u64(0..12)));
        }
        self.accepted
    }

    fn next(&mut self) -> (String, String) {
        let id = format!("{}-{}", self.number, self.accepted.len());
        let length = if self.rng.u8(..) < 8 { 200_000 } else { self.rng.usize(0..500) };
        let body = match SENDERS[self.number].2 {
            Manner::Product => {
                json!({"event_name": "task.add", "parameters": {"name": id, "project": "Website"}})
            }
            _ => json!({"type": "order.paid", "id": id, "filler": "x".repeat(length)}),
        };
        (id, body.to_string())
    }

    /// One that was accepted comes again, as some services do: it is told the same, and nothing more comes of it.
    fn repeat(&mut self) {
        let last = self.accepted.len() - 1;
        let which = if self.rng.bool() { last } else { self.rng.usize(0..=last) };
        let Post { id, body, answer } = &self.accepted[which];
        if let Some(again) = self.post(id, body) {
            assert_eq!(again, *answer, "a repeat of {id} is told something else");
        }
    }

    /// Its answer. Anything but success or silence is a fault.
    fn post(&self, id: &str, body: &str) -> Option<(Option<String>, Vec<u8>)> {
        let Ok(reply) = post(&self.url, &headers(SENDERS[self.number].2, id, body), body.as_bytes()) else {
            return None;
        };
        let reply: Reply = reply.expect(200);
        Some((reply.header("content-type").map(str::to_owned), reply.body))
    }
}

fn headers(manner: Manner, id: &str, body: &str) -> Vec<(String, String)> {
    let proof = match manner {
        Manner::Github => {
            vec![
                ("x-hub-signature-256", format!("sha256={}", code(SECRET, body))),
                ("x-github-delivery", id.to_owned()),
                ("x-github-event", "issues".to_owned()),
            ]
        }
        Manner::Standard => {
            let now = jiff::Timestamp::now().as_second();
            let signature = Webhook::new(SECRET).unwrap().sign(id, now, body.as_bytes()).unwrap();
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", now.to_string()),
                ("webhook-signature", signature),
            ]
        }
        Manner::Product => vec![("x-id", id.to_owned())],
    };
    let content_type = ("content-type", "application/json".to_owned());
    proof.into_iter().chain([content_type]).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Everything that was accepted was taken, as it was posted or as the rules have it, under one id each; and what one
/// sender posted arrived in that order.
fn once_and_in_order<'a>(
    org: &str,
    accepted: impl Iterator<Item = (usize, &'a Vec<Post>)>,
    received: &[Received],
) {
    let mut arrivals = BTreeMap::<usize, Vec<String>>::new();
    let mut events = BTreeMap::<&str, String>::new();
    let mut taken = std::collections::BTreeSet::new();
    for request in received {
        let id = posted_as(request);
        if request.ended.is_some_and(|(_, status)| status == 200) {
            taken.insert(id.clone());
        }
        if events.insert(request.id(), id.clone()).is_none() {
            let number = id.split_once('-').unwrap().0.parse().unwrap();
            arrivals.entry(number).or_default().push(id);
        }
    }
    for (number, posts) in accepted {
        let expected: Vec<&str> = posts.iter().map(|post| post.id.as_str()).collect();
        assert!(!expected.is_empty(), "sender {number} had nothing accepted");
        assert_eq!(arrivals.remove(&number).unwrap_or_default(), expected, "{org}: sender {number}");
        let lost: Vec<_> = expected.iter().filter(|id| !taken.contains(**id)).collect();
        assert!(lost.is_empty(), "{org} lost {lost:?}");
        let bodies: BTreeMap<&str, &str> =
            posts.iter().map(|post| (post.id.as_str(), post.body.as_str())).collect();
        let as_posted = SENDERS[number].2 != Manner::Product;
        for request in received.iter().filter(|_| as_posted) {
            if let Some(body) = bodies.get(posted_as(request).as_str()) {
                assert_eq!(request.body, body, "{org}: a body changed");
            }
        }
    }
    assert!(arrivals.is_empty(), "{org}: {arrivals:?} came from nowhere");
}

/// The id under which what arrived was posted.
fn posted_as(request: &Received) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    if let Some(id) = body["id"].as_str() {
        return id.to_owned();
    }
    assert_eq!(body["event_name"], "task.add");
    assert_eq!(body["parameters"]["name"], body["source"]["delivery_id"]);
    body["parameters"]["name"].as_str().unwrap().to_owned()
}
