//! A trial: a request signed as its service signs it, by the path of every request from the proof on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;

use super::gate::{Gate, Received, Taken, TurnedAway};
use super::read::Reading;
use super::sample::{self, Sample};
use super::verdict::Verdict;
use crate::clock;
use crate::model::Source;
use crate::queue::{Append, AppendedEvent, Org, RequestAnswer};
use crate::serving::problem::{Kind, Problem};

/// How long a trial may take.
const PATIENCE: Duration = Duration::from_secs(9);

/// What a trial is made of; what is left out is typical of the source's kind.
#[derive(Debug, Default)]
pub struct TrialGiven {
    /// The body.
    pub body: Option<Bytes>,
    /// Its type.
    pub content_type: Option<String>,
    /// The sender's name for what happened, where that is said in a header.
    pub event: Option<String>,
    /// Whether what it becomes is queued.
    pub enqueue: bool,
}

/// What came of a trial.
pub struct Trial {
    /// What was sent.
    pub sample: Sample,
    /// How it was judged.
    pub verdict: Verdict,
    /// The answer, or why there is none.
    pub answer: Result<RequestAnswer, Problem>,
    /// What it became.
    pub events: Vec<Append>,
    /// The same as it is in the queue, where that was asked for.
    pub appended: Vec<AppendedEvent>,
}

impl Gate {
    /// Tries a source, disabled or not.
    ///
    /// # Errors
    /// Nothing can be signed.
    pub async fn trial(
        &self,
        org: &Arc<Org>,
        source: &Arc<Source>,
        given: TrialGiven,
    ) -> Result<Trial, Problem> {
        let (typical_type, typical_body, typical_event) = sample::body(&source.kind);
        let now = clock::now();
        let content_type = given.content_type.as_deref().unwrap_or(typical_type);
        let event = given.event.as_deref().or(typical_event);
        let body = given.body.unwrap_or_else(|| Bytes::from_static(typical_body.as_bytes()));
        let id = format!("test-{}", Uuid::now_v7());
        let sample = sample::sign(source, content_type, body, event, &id, now)
            .map_err(|why| Problem::invalid("", why))?;
        let mut events = Vec::new();
        let outcome = match received(&sample) {
            Ok(received) => self.try_out((org, source), received, given.enqueue, &mut events).await,
            Err(problem) => Err(problem.into()),
        };
        Ok(match outcome {
            Ok(Taken { verdict, answer, appended }) => {
                Trial { sample, verdict, answer: Ok(answer), events, appended }
            }
            Err(TurnedAway { verdict, problem }) => {
                Trial { sample, verdict, answer: Err(problem), events, appended: Vec::new() }
            }
        })
    }

    async fn try_out(
        &self,
        (org, source): (&Arc<Org>, &Arc<Source>),
        received: Received,
        enqueue: bool,
        events: &mut Vec<Append>,
    ) -> Result<Taken, TurnedAway> {
        let (now, deadline) = (clock::now(), Instant::now() + PATIENCE);
        let request = match self.judge((org, source), received, now, deadline).await? {
            Reading::Probe(answer) => return Ok(Taken::probed(answer)),
            Reading::Request(request) => request,
        };
        // It has no key: what is tried twice is tried twice.
        let request = (request, Arc::default());
        let derived = self.derive(&self.settings(), (org, source), request, (None, now), deadline).await?;
        events.clone_from(&derived.events);
        if enqueue {
            return self.append((org, source), derived, (None, now), deadline).await;
        }
        let verdict = if derived.events.is_empty() { Verdict::Unmapped } else { Verdict::Accepted };
        let answer = super::answer::answer(&source.kind, derived.answer.as_deref(), &derived.events);
        Ok(Taken { verdict, answer, appended: Vec::new() })
    }
}

/// A sample as it would have come.
fn received(sample: &Sample) -> Result<Received, Problem> {
    let mut headers = HeaderMap::new();
    for (name, value) in &sample.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = HeaderValue::from_str(value).ok();
        let (Some(name), Some(value)) = (name, value) else {
            let detail = "content_type and event must be text that a header can hold";
            return Err(Problem::new(Kind::InvalidField, detail));
        };
        headers.append(name, value);
    }
    Ok(Received { headers, query: sample.query.clone(), body: sample.body.clone(), held: Arc::default() })
}
