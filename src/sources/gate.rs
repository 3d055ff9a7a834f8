//! From a request's head to its answer: the address, how much may come there, the body, the proof, what it becomes, and
//! that this is durable.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Arrived;
use super::answer::answer;
use super::derive::{Derived, derive};
use super::read::{self, Reading, Unreadable, is_ssl_check, read};
use super::settings::Settings;
use super::traffic::{EVENT_IDS_MAX, Seen, To, Traffic};
use super::verdict::Verdict;
use super::verify::{NotVerified, verify};
use crate::clock;
use crate::model::{EventId, OrgId, OrgNumber, Source, SourceId, SourceKind, TokenHash, UnixMs};
use crate::queue::{AppendRequest, AppendedEvent, AppendedRequest, Org, Queue, RequestAnswer, RequestKey};
use crate::serving::body::{Budget, Held, discard_up_to};
use crate::serving::problem::{Kind, Problem};
use crate::serving::{Peer, PerOrg, Turns};
use crate::tail::{Fact, Happened};

/// Slack waits 3 s for an answer.
const PATIENCE_SLACK: Duration = Duration::from_millis(2500);
/// GitHub waits 10 s; the others that say it wait longer.
const PATIENCE: Duration = Duration::from_secs(9);
/// The most of a body that is read, and the time for it, where nobody is.
const NOWHERE_BYTES: u64 = 64 << 10;
const NOWHERE_TIME: Duration = Duration::from_millis(500);
/// Bytes of bodies that are held at once, beside small ones: of all orgs, and of one. One body of the largest there may be
/// fits both.
const BUDGET_BYTES: usize = 64 << 20;
const SHARE_BYTES: usize = 25 << 20;
/// Proofs over more than this are checked, and bodies of more than this read, on a thread that may block.
const LARGE: usize = 64 << 10;
/// A source whose requests came too fast: the next second has room.
const RETRY_RATE_S: u32 = 1;
/// What took too long may be done by then.
const RETRY_LATE_S: u32 = 5;

/// What every request works with.
pub struct Gate {
    queue: Queue,
    settings: RwLock<Arc<Settings>>,
    /// What came lately.
    pub traffic: Traffic,
    budget: Budget,
    /// What an org may have of it.
    shares: PerOrg,
    turns: Turns,
}

/// A request that was let in.
pub(super) struct Received {
    pub(super) headers: HeaderMap,
    pub(super) query: Option<String>,
    pub(super) body: Bytes,
    /// The body's part of the budget.
    pub(super) held: Arc<Held>,
}

/// Why a request comes to nothing.
pub(super) struct TurnedAway {
    pub(super) verdict: Verdict,
    pub(super) problem: Problem,
}

/// A request that was accepted.
pub(super) struct Taken {
    pub(super) verdict: Verdict,
    pub(super) answer: RequestAnswer,
    /// Its events, where they are durable now.
    pub(super) appended: Vec<AppendedEvent>,
}

/// What is learned of a request on the way.
#[derive(Default)]
struct Learned {
    event: Option<String>,
    id: Option<String>,
    bytes: usize,
}

/// Serves the addresses of sources.
pub fn router(gate: Arc<Gate>) -> Router {
    Router::new().fallback(serve).with_state(gate)
}

async fn serve(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let Some((org, source)) = gate.find(parts.uri.path()) else {
        gate.traffic.nowhere();
        discard_up_to(&parts.headers, body, begun + NOWHERE_TIME, NOWHERE_BYTES).await;
        return nowhere().into_response();
    };
    let peer = parts.extensions.get::<Peer>().copied();
    let mut learned = Learned::default();
    let outcome = gate.take(&org, &source, (parts, body), begun, &mut learned).await;
    let (verdict, response, detail, appended) = match outcome {
        Ok(taken) => {
            (taken.verdict, accepted(taken.answer), remark(taken.verdict, &taken.appended), taken.appended)
        }
        Err(TurnedAway { verdict, problem }) => {
            let detail = Seen::detail(&problem.detail);
            (verdict, turned_away(problem), detail, Vec::new())
        }
    };
    let status = response.status().as_u16();
    let seen = Seen {
        at: clock::now(),
        verdict,
        status,
        peer,
        event: learned.event,
        delivery_id: learned.id,
        events: appended.len(),
        deliveries: appended.iter().map(|event| u64::from(event.deliveries)).sum(),
        event_ids: appended.into_iter().take(EVENT_IDS_MAX).map(|event| event.id).collect(),
        times: 1,
        duration: begun.elapsed(),
        bytes: learned.bytes,
        detail,
    };
    gate.note(&org, &source, seen);
    response
}

/// What whoever looks for a request wants to know although it was accepted.
fn remark(verdict: Verdict, appended: &[AppendedEvent]) -> String {
    let nobody = !appended.is_empty() && appended.iter().all(|event| event.deliveries == 0);
    match verdict {
        _ if nobody => "no webhook of the org listens to it: nothing is delivered".to_owned(),
        Verdict::Unmapped => "the rules make no event of it".to_owned(),
        _ => String::new(),
    }
}

fn nowhere() -> Problem {
    Problem::new(Kind::NotFound, "nobody is at this address")
}

fn accepted(answer: RequestAnswer) -> Response {
    let RequestAnswer { content_type, body } = answer;
    if content_type.is_empty() {
        return StatusCode::OK.into_response();
    }
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// A problem; one with the method says which method is right.
fn turned_away(problem: Problem) -> Response {
    let is_about_method = problem.kind == Kind::MethodNotAllowed;
    let mut response = problem.into_response();
    if is_about_method {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// How long the sender waits for its answer, and a little less.
fn patience(kind: &SourceKind) -> Duration {
    if matches!(kind, SourceKind::Slack) { PATIENCE_SLACK } else { PATIENCE }
}

impl Gate {
    /// For sources in `queue`.
    pub fn new(queue: Queue, settings: Settings) -> Gate {
        let budget = Budget::new(BUDGET_BYTES);
        let settings = RwLock::new(Arc::new(settings));
        let (traffic, shares) = (Traffic::default(), PerOrg::new(SHARE_BYTES));
        Gate { queue, settings, traffic, budget, shares, turns: Turns::default() }
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other settings in force, from the next request on.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Who is at `/in/{org}/{source}/{token}`. The same work is done for every path, so that what is there and what is not
    /// takes alike.
    fn find(&self, path: &str) -> Option<(Arc<Org>, Arc<Source>)> {
        let mut segments = path.strip_prefix("/in/").unwrap_or_default().split('/');
        let [org, source, token] = std::array::from_fn(|_| segments.next().unwrap_or_default());
        let is_whole = segments.next().is_none();
        let given = TokenHash::of(token);
        let org = org.parse::<OrgId>().ok().and_then(|org| self.queue.directory().org(&org));
        let id = source.parse::<SourceId>().ok();
        let source = org.as_ref().zip(id).and_then(|(org, id)| org.sources.get(&id).cloned());
        let expected = source.as_ref().map_or(TokenHash([0; 32]), |source| source.token);
        let is_right = given.is(&expected) && is_whole;
        org.zip(source).filter(|(_, source)| is_right && source.enabled)
    }

    /// Takes a request in.
    async fn take(
        &self,
        org: &Arc<Org>,
        source: &Arc<Source>,
        (parts, body): (Parts, Body),
        begun: Instant,
        learned: &mut Learned,
    ) -> Result<Taken, TurnedAway> {
        let deadline = begun + patience(&source.kind);
        let settings = self.settings();
        if parts.method != Method::POST {
            discard_up_to(&parts.headers, body, deadline, NOWHERE_BYTES).await;
            let problem = Problem::new(Kind::MethodNotAllowed, "this address takes POST");
            return Err(TurnedAway { verdict: Verdict::Malformed, problem });
        }
        if !self.traffic.admit(to(org, source), settings.max_rate, begun) {
            discard_up_to(&parts.headers, body, deadline, NOWHERE_BYTES).await;
            let detail = format!("this source takes {} requests per second", settings.max_rate);
            let problem = Problem::new(Kind::TooManyRequests, detail).retry_after(RETRY_RATE_S);
            return Err(TurnedAway { verdict: Verdict::RateLimited, problem });
        }
        let room = (settings.max_body_bytes, Some(self.shares.of(org.number)));
        let (body, held) = self.budget.read(&parts.headers, body, room, deadline).await?;
        learned.bytes = body.len();
        let query = parts.uri.query().map(str::to_owned);
        let received = Received { headers: parts.headers, query, body, held: Arc::new(held) };
        let (now, held) = (clock::now(), received.held.clone());
        let request = match self.judge((org, source), received, now, deadline).await? {
            Reading::Probe(answer) => return Ok(Taken::probed(answer)),
            Reading::Request(request) => request,
        };
        (learned.event, learned.id) = (request.event.clone(), request.id.clone());
        let key = request.known_by.as_ref().map(|known_by| self.queue.request_key(source, known_by));
        if let Some(key) = key {
            let before = timeout_at(deadline, self.queue.repeated_request(org, key, now)).await;
            if let Some(answer) = before.map_err(|_| late())?.map_err(Problem::from)? {
                return Ok(Taken::repeated(answer));
            }
        }
        let derived = self.derive(&settings, (org, source), (request, held), (key, now), deadline).await?;
        self.append((org, source), derived, (key, now), deadline).await
    }

    /// Finds out what a request becomes: at once where no rules are asked of little, else in its turn.
    pub(super) async fn derive(
        &self,
        settings: &Arc<Settings>,
        (org, source): (&Arc<Org>, &Arc<Source>),
        (request, held): (read::Request, Arc<Held>),
        (key, at): (Option<RequestKey>, UnixMs),
        deadline: Instant,
    ) -> Result<Derived, TurnedAway> {
        let id = event_id(key)?;
        if source.catalogue.is_none() && request.json.len() <= LARGE {
            return Ok(derive(settings, (org, source), &request, &id, at)?);
        }
        let (number, settings, org, source) = (org.number, settings.clone(), org.clone(), source.clone());
        let work = move || {
            let _held = held;
            derive(&settings, (&org, &source), &request, &id, at)
        };
        Ok(self.in_turn(number, work, deadline).await??)
    }

    /// Whether a request is proved, and what it says.
    pub(super) async fn judge(
        &self,
        (org, source): (&Org, &Arc<Source>),
        received: Received,
        now: UnixMs,
        deadline: Instant,
    ) -> Result<Reading, TurnedAway> {
        if received.body.len() <= LARGE {
            return judge(source, &received, now);
        }
        let source = source.clone();
        self.in_turn(org.number, move || judge(&source, &received, now), deadline).await?
    }

    /// Waits for a turn of the org and has work done that takes a while. What takes too long is left to itself: its turn,
    /// and whatever it holds, ends with it.
    async fn in_turn<T: Send + 'static>(
        &self,
        org: OrgNumber,
        work: impl FnOnce() -> T + Send + 'static,
        deadline: Instant,
    ) -> Result<T, TurnedAway> {
        let Some(turn) = self.turns.take(org, deadline).await else { return Err(late()) };
        let in_turn = move || {
            let _turn = turn;
            work()
        };
        match timeout_at(deadline, tokio::task::spawn_blocking(in_turn)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                tracing::error!(%error, "work on a request ended early");
                Err(Problem::new(Kind::Internal, "the request broke off inside").into())
            }
            Err(_) => Err(late()),
        }
    }

    /// Makes durable what a request became.
    pub(super) async fn append(
        &self,
        (org, source): (&Arc<Org>, &Source),
        derived: Derived,
        (key, accepted_at): (Option<RequestKey>, UnixMs),
        deadline: Instant,
    ) -> Result<Taken, TurnedAway> {
        let Derived { events, answer: text, warnings } = derived;
        if let Some(broken) = warnings.first()
            && self.traffic.may_warn(to(org, source), Instant::now())
        {
            tracing::warn!(org = %org.id, source = %source.id, "accepted a request although {broken}");
        }
        let answer = answer(&source.kind, text.as_deref(), &events);
        let verdict = if events.is_empty() { Verdict::Unmapped } else { Verdict::Accepted };
        if events.is_empty() && key.is_none() {
            return Ok(Taken { verdict, answer, appended: Vec::new() });
        }
        let request = AppendRequest { org: org.clone(), key, events, answer: answer.clone(), accepted_at };
        // One that comes too late is not undone: the sender will repeat it, and get the answer that it then has.
        let appended = timeout_at(deadline, self.queue.append_request(request)).await;
        match appended.map_err(|_| late())?.map_err(Problem::from)? {
            AppendedRequest::Accepted(appended) => Ok(Taken { verdict, answer, appended }),
            AppendedRequest::Repeated(answer) => Ok(Taken::repeated(answer)),
        }
    }

    /// Remembers what became of a request, and says so in the log where that is news.
    fn note(&self, org: &Org, source: &Source, seen: Seen) {
        let (verdict, detail) = (seen.verdict, seen.detail.clone());
        self.queue.hub().tell(|| Fact {
            source: Some(source.id.clone()),
            verdict: Some(verdict.code()),
            id: seen.event_ids.first().cloned(),
            deliveries: Some(seen.deliveries),
            status: Some(seen.status),
            duration_ms: u64::try_from(seen.duration.as_millis()).ok(),
            ..Fact::new(Happened::Request, seen.at, org.id.clone())
        });
        let is_news = self.traffic.note(to(org, source), seen, Instant::now());
        let (org, source, code) = (&org.id, &source.id, verdict.code());
        if !is_news {
            tracing::debug!(%org, %source, verdict = code, detail, "a request came");
        } else if verdict.is_good() {
            tracing::info!(%org, %source, verdict = code, "requests are accepted again");
        } else {
            tracing::warn!(
                %org, %source, verdict = code, detail, "a request was not accepted; source show lists the last ones"
            );
        }
    }
}

fn to<'a>(org: &Org, source: &'a Source) -> To<'a> {
    To { org: org.number, source: &source.id, kind: source.kind.code() }
}

/// What the events' ids are made of: the same for a request that is sent again.
fn event_id(key: Option<RequestKey>) -> Result<EventId, Problem> {
    let unique = key.map_or_else(|| Uuid::now_v7().simple().to_string(), |key| key.text());
    format!("req_{unique}").parse().map_err(|_| Problem::new(Kind::Internal, "no id could be made"))
}

/// Whether a request is proved, and what it says.
fn judge(source: &Source, received: &Received, now: UnixMs) -> Result<Reading, TurnedAway> {
    let Received { headers, query, body, .. } = received;
    let arrived = Arrived { headers, query: query.as_deref(), body };
    match verify(source, &arrived, now) {
        Ok(()) => {}
        // Slack looks at our certificate without signing.
        Err(NotVerified::Missing(_)) if source.kind == SourceKind::Slack && is_ssl_check(headers, body) => {
            let text = String::new();
            return Ok(Reading::Probe(read::Answer { content_type: "", text }));
        }
        Err(why) => {
            let problem = Problem::new(Kind::NotVerified, why.to_string());
            return Err(TurnedAway { verdict: Verdict::from(&why), problem });
        }
    }
    read(source, &arrived).map_err(|why| {
        let kind = match why {
            Unreadable::ContentType(_) => Kind::UnsupportedMediaType,
            Unreadable::Body(_) => Kind::MalformedBody,
        };
        TurnedAway { verdict: Verdict::Malformed, problem: Problem::new(kind, why.to_string()) }
    })
}

impl Taken {
    pub(super) fn probed(answer: read::Answer) -> Taken {
        let answer = RequestAnswer { content_type: answer.content_type.to_owned(), body: answer.text };
        Taken { verdict: Verdict::Probe, answer, appended: Vec::new() }
    }

    fn repeated(answer: RequestAnswer) -> Taken {
        Taken { verdict: Verdict::Repeated, answer, appended: Vec::new() }
    }
}

/// The sender is about to give up: it is told to try again.
fn late() -> TurnedAway {
    let detail = "this takes longer than its sender waits";
    Problem::new(Kind::Overloaded, detail).retry_after(RETRY_LATE_S).into()
}

impl From<Problem> for TurnedAway {
    fn from(problem: Problem) -> TurnedAway {
        if problem.kind == Kind::UnknownOrg {
            // It was deleted meanwhile, and its sources with it.
            return TurnedAway { verdict: Verdict::Nowhere, problem: nowhere() };
        }
        let verdict = match problem.kind {
            Kind::PayloadTooLarge => Verdict::TooLarge,
            Kind::RequestTimeout => Verdict::TimedOut,
            Kind::IncompleteBody => Verdict::Malformed,
            Kind::QueueFull => Verdict::QueueFull,
            Kind::Overloaded | Kind::StorageUnavailable | Kind::DiskFull | Kind::Internal => {
                Verdict::Unavailable
            }
            _ => Verdict::Refused,
        };
        // Every sender knows what a 503 asks for, and few a 507.
        let kind = if problem.kind == Kind::DiskFull { Kind::StorageUnavailable } else { problem.kind };
        TurnedAway { verdict, problem: Problem { kind, ..problem } }
    }
}
