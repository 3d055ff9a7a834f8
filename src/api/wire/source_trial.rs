//! What a source is tried with, and what came of it. PURE.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Members;
use crate::model::{EventId, EventType, Sequence, Source, SourceKind};
use crate::queue::Append;
use crate::serving::problem::Problem;
use crate::sources::{Trial, TrialGiven};

/// What is shown for a header that proves something.
const MASK: &str = "***";

/// Reads the body of `POST …/sources/{source}/test`.
pub(in crate::api) fn read_source_trial(body: &[u8]) -> Result<TrialGiven, Problem> {
    let members = Members::parse(body, &["body", "content_type", "event", "enqueue"])?;
    Ok(TrialGiven {
        body: members.text("body")?.map(|text| Bytes::from(text.into_owned())),
        content_type: members.text("content_type")?.map(Cow::into_owned),
        event: members.text("event")?.map(Cow::into_owned),
        enqueue: members.value("enqueue", "true or false")?.unwrap_or(false),
    })
}

/// A trial as shown.
#[derive(Serialize)]
pub(in crate::api) struct SourceTrialOut<'a> {
    verdict: &'static str,
    status: u16,
    content_type: Option<&'a str>,
    /// The answer's body, or why there is none.
    answer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    events: Vec<EventOut<'a>>,
    enqueued: bool,
    request: RequestOut<'a>,
}

#[derive(Serialize)]
struct EventOut<'a> {
    id: &'a EventId,
    #[serde(rename = "type")]
    event_type: &'a EventType,
    payload: Option<&'a RawValue>,
    deliveries: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<Sequence>,
}

#[derive(Serialize)]
struct RequestOut<'a> {
    headers: BTreeMap<&'a str, &'a str>,
    body: Cow<'a, str>,
}

impl<'a> SourceTrialOut<'a> {
    /// Shows a trial of this source.
    pub(in crate::api) fn of(source: &Source, trial: &'a Trial, enqueue: bool) -> SourceTrialOut<'a> {
        let (status, content_type, answer) = match &trial.answer {
            Ok(answer) => (200, Some(&*answer.content_type), &*answer.body),
            Err(problem) => (problem.kind.status().as_u16(), None, &*problem.detail),
        };
        let shown = |(name, value): &'a (String, String)| {
            let value = if proves(source, &name.to_ascii_lowercase()) { MASK } else { &**value };
            (&**name, value)
        };
        SourceTrialOut {
            verdict: trial.verdict.code(),
            status,
            content_type: content_type.filter(|kind| !kind.is_empty()),
            answer,
            field: trial.answer.as_ref().err().and_then(|problem| problem.field.as_deref()),
            events: trial
                .events
                .iter()
                .enumerate()
                .map(|(index, event)| event_out(trial, index, event))
                .collect(),
            enqueued: enqueue && !trial.appended.is_empty(),
            request: RequestOut {
                headers: trial.sample.headers.iter().map(shown).collect(),
                body: String::from_utf8_lossy(&trial.sample.body),
            },
        }
    }
}

fn event_out<'a>(trial: &Trial, index: usize, event: &'a Append) -> EventOut<'a> {
    let payload = std::str::from_utf8(&event.event.payload).ok();
    EventOut {
        id: &event.event.id,
        event_type: &event.event.event_type,
        payload: payload.and_then(|text| serde_json::from_str(text).ok()),
        deliveries: event.webhooks.len(),
        sequence: trial.appended.get(index).and_then(|appended| appended.sequence),
    }
}

/// Whether a header, named in lower case, is what proves a request.
fn proves(source: &Source, name: &str) -> bool {
    let own = matches!(&source.kind, SourceKind::Hmac(proof) if *proof.header == *name);
    own || name == "authorization" || name.contains("signature")
}
