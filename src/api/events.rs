//! `POST /v1/orgs/{org}/events`: one event in, one answer once it is durable. The stream of many is in `stream`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::body::JsonBody;
use super::params::KnownOrg;
use super::wire::read_event;
use super::{App, Settings};
use crate::clock;
use crate::intake;
use crate::model::{Event, UnixMs};
use crate::queue::{Append, Appended, Org};
use crate::serving::problem::{Kind, Problem};

/// 202 accepted and durable; 200 with `"duplicate":true` for an id that was accepted before with the same content.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    // The org is looked up before the body is read, and judged after, so that a large body meets a reader all the same.
    org: Result<KnownOrg, Problem>,
    body: JsonBody,
) -> Result<Response, Problem> {
    let KnownOrg(org) = org?;
    let settings = app.settings();
    let event = read_event(&body.bytes, settings.max_attributes)?;
    let append = accept(&settings, &org, event, clock::now())?;
    let answer = app.queue.append(vec![append]).await.pop();
    let appended = answer.ok_or_else(|| Problem::new(Kind::Internal, "the event got no answer"))??;
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut text = String::with_capacity(128);
    write_answer(&mut text, &appended);
    let json = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, json)], text).into_response())
}

/// Checks and matches an event. One that is only warned of is logged.
pub(super) fn accept(
    settings: &Settings,
    org: &Arc<Org>,
    event: Event,
    accepted_at: UnixMs,
) -> Result<Append, Problem> {
    let intake::Accepted { append, warning } = intake::accept(&settings.rules(), org, event, accepted_at)?;
    if let Some(broken) = warning {
        tracing::warn!(org = %org.id, event_id = %append.event.id, "accepted although {broken}");
    }
    Ok(append)
}

/// Writes the answer to one event. By hand, because it is written for every event, and none of it needs escaping: an id
/// has letters, digits, `_` and `-` only.
pub(super) fn write_answer(out: &mut String, appended: &Appended) {
    let Appended { id, sequence, deliveries, duplicate } = appended;
    // Writing to a String cannot fail.
    let written = match sequence {
        Some(sequence) => write!(out, r#"{{"id":"{id}","sequence":{sequence},"deliveries":{deliveries}"#),
        None => write!(out, r#"{{"id":"{id}","sequence":null,"deliveries":{deliveries}"#),
    };
    debug_assert!(written.is_ok(), "a String takes everything");
    out.push_str(if *duplicate { r#","duplicate":true}"# } else { "}" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sequence;

    #[test]
    fn an_answer_has_id_sequence_and_deliveries() {
        let mut appended = Appended {
            id: "evt_1".parse().unwrap(),
            sequence: Some(Sequence(7)),
            deliveries: 2,
            duplicate: false,
        };
        let text = |appended: &Appended| {
            let mut text = String::new();
            write_answer(&mut text, appended);
            text
        };
        assert_eq!(text(&appended), r#"{"id":"evt_1","sequence":7,"deliveries":2}"#);
        (appended.sequence, appended.deliveries, appended.duplicate) = (None, 0, true);
        assert_eq!(text(&appended), r#"{"id":"evt_1","sequence":null,"deliveries":0,"duplicate":true}"#);
    }
}
