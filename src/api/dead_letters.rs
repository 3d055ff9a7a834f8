//! `/v1/dead-letters`: what was given up, one by one or by filter.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::audit::Did;
use super::body::{JsonBody, OptionalJsonBody};
use super::params::{DeadLetterName, KnownOrg, Query, cursor};
use super::wire::{DeadListed, DeadShown, Members, Page};
use super::{App, Json};
use crate::catalogue::Catalogue;
use crate::clock;
use crate::dead_letters::{self, Action, At, Found};
use crate::model::{DeadLetterId, EventId, EventType, UnixMs};
use crate::queue::{DeadCursor, DeadFilter, Refused};
use crate::serving::problem::{Kind, Problem};

const FILTERS: [&str; 7] = ["org", "webhook", "type", "event_id", "reason", "since", "until"];

/// `GET /v1/dead-letters`: newest last.
pub(super) async fn list(State(app): State<Arc<App>>, query: Query) -> Result<Response, Problem> {
    let known = ["org", "webhook", "type", "event_id", "reason", "since", "until", "limit", "after"];
    let query = query.only(&known)?;
    let text = |name: &str| Ok(query.text(name).map(str::to_owned));
    let filter = filter(text, "", &app.settings().catalogue)?;
    page(&app, &query, filter).await
}

/// `GET /v1/orgs/{org}/dead-letters`.
pub(super) async fn list_of_org(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    query: Query,
) -> Result<Response, Problem> {
    let query = query.only(&["webhook", "type", "event_id", "reason", "since", "until", "limit", "after"])?;
    let text = |name: &str| Ok(query.text(name).map(str::to_owned));
    let filter = filter(text, "", &app.settings().catalogue)?;
    page(&app, &query, DeadFilter { org: Some(org.id.clone()), ..filter }).await
}

async fn page(app: &App, query: &Query, filter: DeadFilter) -> Result<Response, Problem> {
    let after = query.after(read_cursor)?;
    let page = app.queue.dead_list(filter, after, query.limit()?).await?;
    let next = page.next.map(|place| cursor(format!("dead:{}:{}", place.died_at.0, place.id)));
    let items: Vec<DeadListed> = page.items.into_iter().map(Into::into).collect();
    Ok(Json(Page { items, next }).into_response())
}

fn read_cursor(place: &str) -> Option<DeadCursor> {
    let (died_at, id) = place.strip_prefix("dead:")?.split_once(':')?;
    Some(DeadCursor { died_at: UnixMs(died_at.parse().ok()?), id: id.parse().ok()? })
}

/// `GET /v1/dead-letters/{id}`: everything, with every attempt; the payload only with `?payload=true`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    DeadLetterName(name): DeadLetterName,
    query: Query,
) -> Result<Response, Problem> {
    let payload = query.only(&["payload"])?.flag("payload")?;
    let id = find(&app, &name).await?;
    let dead_letter = app.queue.dead_show(id, payload).await?.ok_or_else(unknown)?;
    if payload {
        tracing::info!(dead_letter = %id, org = %dead_letter.org, "the payload of a dead letter was shown");
    }
    Ok(Json(DeadShown::new(dead_letter, payload)).into_response())
}

/// `DELETE /v1/dead-letters/{id}`.
pub(super) async fn discard(
    State(app): State<Arc<App>>,
    DeadLetterName(name): DeadLetterName,
) -> Result<StatusCode, Problem> {
    let id = find(&app, &name).await?;
    if app.queue.discard(vec![id]).await? == 0 {
        return Err(unknown());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/dead-letters/{id}/retry`.
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    DeadLetterName(name): DeadLetterName,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    let at = place(&Members::parse(&body, &["at"])?)?;
    let id = find(&app, &name).await?;
    if dead_letters::retry(&app.queue, vec![id], at).await? == 0 {
        let org_is_gone = app.queue.directory().by_number(id.org).is_none();
        return Err(if org_is_gone { Refused::UnknownOrg.into() } else { unknown() });
    }
    Ok(Json(Answer { matched: 1, retried: Some(1), discarded: None, dry_run: false }).into_response())
}

/// `"at"`: where in its queue what is retried goes.
fn place(members: &Members) -> Result<At, Problem> {
    let at = members.text("at")?;
    at.map_or(Ok(At::default()), |at| at.parse().map_err(|rule: &str| members.invalid("at", rule)))
}

/// `POST /v1/dead-letters/retry`: those that match, in their original order.
pub(super) async fn retry_many(State(app): State<Arc<App>>, body: JsonBody) -> Result<Response, Problem> {
    let retry = |members: &Members| Ok(Action::Retry(place(members)?));
    many(&app, &body.bytes, &RETRY, retry).await
}

/// `POST /v1/dead-letters/discard`.
pub(super) async fn discard_many(State(app): State<Arc<App>>, body: JsonBody) -> Result<Response, Problem> {
    many(&app, &body.bytes, &DISCARD, |_| Ok(Action::Discard)).await
}

#[derive(Serialize)]
struct Answer {
    matched: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retried: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<u64>,
    dry_run: bool,
}

async fn many(
    app: &App,
    body: &[u8],
    known: &'static [&'static str],
    action: impl Fn(&Members) -> Result<Action, Problem>,
) -> Result<Response, Problem> {
    let Many { filter, dry_run, action } = read_many(body, known, action, &app.settings().catalogue)?;
    let done = if dry_run { Action::Count } else { action };
    let run = dead_letters::run(&app.queue, &filter, done, clock::now()).await?;
    let discards = action == Action::Discard;
    let did = Did { dry_run, org: filter.org, ..Did::touched(run.done) };
    let answer = Answer {
        matched: run.matched,
        retried: (!discards).then_some(run.done),
        discarded: discards.then_some(run.done),
        dry_run,
    };
    Ok((did.said(), Json(answer)).into_response())
}

/// The fields of a discard by filter, and of a retry.
const DISCARD: [&str; 10] =
    ["org", "webhook", "type", "event_id", "reason", "since", "until", "dry_run", "all", "filter"];
const RETRY: [&str; 11] =
    ["org", "webhook", "type", "event_id", "reason", "since", "until", "dry_run", "all", "filter", "at"];

struct Many {
    filter: DeadFilter,
    dry_run: bool,
    action: Action,
}

/// The filter's fields beside `dry_run`, or in an object `filter` of their own. A filter that leaves everything open must
/// say so with `"all": true`, unless it only counts. `action` reads the fields beside those.
fn read_many(
    body: &[u8],
    known: &'static [&'static str],
    action: impl Fn(&Members) -> Result<Action, Problem>,
    catalogue: &Catalogue,
) -> Result<Many, Problem> {
    let outer = Members::parse(body, known)?;
    let action = action(&outer)?;
    let inner = outer.object("filter", &FILTERS)?;
    if inner.is_some()
        && let Some(name) = FILTERS.into_iter().find(|name| outer.raw(name).is_some())
    {
        return Err(outer.invalid(name, "stands beside filter; give it inside filter only"));
    }
    let members = inner.as_ref().unwrap_or(&outer);
    let text = |name: &str| Ok(members.text(name)?.map(std::borrow::Cow::into_owned));
    let filter = filter(text, if inner.is_some() { "/filter" } else { "" }, catalogue)?;
    let dry_run = outer.value("dry_run", "true or false")?.unwrap_or(false);
    let all = outer.value("all", "true or false")?.unwrap_or(false);
    if is_open(&filter) && !all && !dry_run {
        return Err(outer.missing("all", "true to mean every dead letter, or a filter"));
    }
    if all && !is_open(&filter) {
        return Err(outer.invalid("all", "cannot be given together with a filter"));
    }
    Ok(Many { filter, dry_run, action })
}

fn is_open(filter: &DeadFilter) -> bool {
    let DeadFilter { org, webhook, event_types, event_id, reason, since, until } = filter;
    org.is_none()
        && webhook.is_none()
        && event_types.is_empty()
        && event_id.is_none()
        && reason.is_none()
        && since.is_none()
        && until.is_none()
}

/// Reads a filter from a query or a body: `text` gives a field's text, `at` is where the fields are.
fn filter(
    text: impl Fn(&str) -> Result<Option<String>, Problem>,
    at: &str,
    catalogue: &Catalogue,
) -> Result<DeadFilter, Problem> {
    fn parse<T>(
        at: &str,
        name: &str,
        text: Option<String>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let refuse = |rule| Problem::invalid(format!("{at}/{name}"), format!("{name}: {rule}"));
        read(&text).map(Some).map_err(refuse)
    }
    let time = |text: &str| {
        UnixMs::parse(text).ok_or_else(|| "must be a time such as 2026-11-21T22:44:23Z".to_owned())
    };
    let name = |rule: crate::model::InvalidName| rule.to_string();
    let event_type: Option<EventType> = parse(at, "type", text("type")?, str::parse)?;
    let event_types = event_type.map_or_else(Vec::new, |event_type| all_names(catalogue, event_type));
    let event_id: Option<EventId> =
        parse(at, "event_id", text("event_id")?, |text| text.parse().map_err(name))?;
    Ok(DeadFilter {
        org: parse(at, "org", text("org")?, |text| text.parse().map_err(name))?,
        webhook: parse(at, "webhook", text("webhook")?, |text| text.parse().map_err(name))?,
        event_types,
        event_id,
        reason: parse(at, "reason", text("reason")?, str::parse)?,
        since: parse(at, "since", text("since")?, time)?,
        until: parse(at, "until", text("until")?, time)?,
    })
}

/// The names of the type that a parameter `type` says.
pub(super) fn types_of(name: &str, catalogue: &Catalogue) -> Result<Vec<String>, Problem> {
    let event_type = name.parse().map_err(|rule| Problem::invalid("/type", format!("type: {rule}")))?;
    Ok(all_names(catalogue, event_type))
}

/// A type by the names that an event may have come with: its own and the product's.
fn all_names(catalogue: &Catalogue, event_type: EventType) -> Vec<String> {
    match catalogue.find(&event_type) {
        Some(entry) => entry.names().map(ToString::to_string).collect(),
        None => vec![event_type.into()],
    }
}

/// The dead letter of this name: its own id, or its event's if that is enough.
async fn find(app: &App, name: &str) -> Result<DeadLetterId, Problem> {
    match dead_letters::find(&app.queue, name).await? {
        Found::One(id) => Ok(id),
        Found::None => Err(unknown()),
        Found::Several(ids) => Err(Problem {
            candidates: ids.iter().map(ToString::to_string).collect(),
            ..Problem::new(
                Kind::AmbiguousId,
                "several dead letters have this event; name one of the candidates",
            )
        }),
    }
}

fn unknown() -> Problem {
    Refused::UnknownDeadLetter.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Many, Problem> {
        read_many(body, &RETRY, |members| Ok(Action::Retry(place(members)?)), &Catalogue::shipped())
    }
    use crate::model::DeadReason;

    #[track_caller]
    fn refused(body: &str, kind: Kind, field: &str) {
        let problem = read(body.as_bytes()).err().unwrap_or_else(|| panic!("accepted: {body}"));
        assert_eq!((problem.kind, problem.field.as_deref()), (kind, Some(field)), "{body}");
    }

    #[test]
    fn everything_must_be_asked_for() {
        refused("{}", Kind::InvalidField, "/all");
        refused(r#"{"filter":{}}"#, Kind::InvalidField, "/all");
        refused(r#"{"all":true,"org":"acme"}"#, Kind::InvalidField, "/all");
        assert!(read(br#"{"dry_run":true}"#).unwrap().dry_run);
        assert!(is_open(&read(br#"{"all":true}"#).unwrap().filter));
    }

    #[test]
    fn a_filter_is_read_beside_dry_run_or_on_its_own() {
        for body in [
            r#"{"org":"acme","reason":"skipped","since":"1970-01-01T00:00:01Z","dry_run":true}"#,
            r#"{"filter":{"org":"acme","reason":"skipped","since":"1970-01-01T00:00:01Z"},"dry_run":true}"#,
        ] {
            let many = read(body.as_bytes()).unwrap();
            assert_eq!(many.filter.org.unwrap().as_str(), "acme");
            assert_eq!(many.filter.reason, Some(DeadReason::Skipped));
            assert_eq!((many.filter.since, many.dry_run), (Some(UnixMs(1000)), true));
        }
        refused(r#"{"filter":{"org":"a"},"org":"b"}"#, Kind::InvalidField, "/org");
        refused(r#"{"filter":{"resaon":"skipped"}}"#, Kind::UnknownField, "/filter/resaon");
        refused(r#"{"at":"front","all":true}"#, Kind::InvalidField, "/at");
        assert_eq!(read(br#"{"at":"head","all":true}"#).unwrap().action, Action::Retry(At::Head));
        refused(r#"{"reason":"tired"}"#, Kind::InvalidField, "/reason");
        refused(r#"{"filter":{"until":"yesterday"}}"#, Kind::InvalidField, "/filter/until");
        refused(r#"{"org":"-"}"#, Kind::InvalidField, "/org");
        refused(r#"{"type":"a b"}"#, Kind::InvalidField, "/type");
    }

    #[test]
    fn cursors_read_back() {
        let place = DeadCursor { died_at: UnixMs(-5), id: "12-345".parse().unwrap() };
        assert_eq!(read_cursor(&format!("dead:{}:{}", place.died_at.0, place.id)), Some(place));
        assert_eq!(read_cursor("dead:5"), None);
    }

    #[test]
    fn a_type_is_asked_for_by_any_of_its_names() {
        let types = |name: &str| {
            let body = format!(r#"{{"type":"{name}","dry_run":true}}"#);
            read(body.as_bytes()).unwrap().filter.event_types
        };
        let both = ["timetime.booking.changed", "BookingChanged"];
        assert_eq!(types("BookingChanged"), both);
        assert_eq!(types("timetime.booking.changed"), both);
        assert_eq!(types("own.event"), ["own.event"]);
    }
}
