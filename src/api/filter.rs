//! Which of what is over a call means: dead letters or entries of the history, by a filter in the query or the body.

use crate::catalogue::Catalogue;
use crate::model::{DeadReason, EventId, EventType, InvalidName, OrgId, UnixMs, WebhookId};
use crate::queue::Org;
use crate::serving::problem::Problem;

use super::params::Query;
use super::wire::Members;

/// What can be asked for; what is left out means any. Every list has some of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) org: Option<OrgId>,
    pub(super) webhook: Option<WebhookId>,
    /// One type by all of its names.
    pub(super) event_types: Vec<String>,
    pub(super) event_id: Option<EventId>,
    pub(super) reason: Option<DeadReason>,
    pub(super) replay: Option<bool>,
    pub(super) since: Option<UnixMs>,
    pub(super) until: Option<UnixMs>,
}

impl Filter {
    /// In the query of a list that has the filters `names`.
    pub(super) fn of_query(
        query: Query,
        names: &[&str],
        catalogue: &Catalogue,
    ) -> Result<(Query, Filter), Problem> {
        let query = query.only(&[names, &["limit", "after"]].concat())?;
        let text = |name: &str| Ok(query.text(name).map(str::to_owned));
        let filter = Filter::read(text, "", catalogue)?;
        Ok((query, filter))
    }

    /// The same of an org's own list.
    pub(super) fn of_org(
        query: Query,
        names: &[&str],
        org: &Org,
        catalogue: &Catalogue,
    ) -> Result<(Query, Filter), Problem> {
        let names: Vec<_> = names.iter().copied().filter(|name| *name != "org").collect();
        let (query, filter) = Filter::of_query(query, &names, catalogue)?;
        Ok((query, Filter { org: Some(org.id.clone()), ..filter }))
    }

    /// `text` gives a field's text, `at` is where the fields are.
    fn read(
        text: impl Fn(&str) -> Result<Option<String>, Problem>,
        at: &str,
        catalogue: &Catalogue,
    ) -> Result<Filter, Problem> {
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
        let name = |rule: InvalidName| rule.to_string();
        let yes_or_no = |text: &str| text.parse().map_err(|_| "must be true or false".to_owned());
        let event_type: Option<EventType> = parse(at, "type", text("type")?, str::parse)?;
        let event_types = event_type.map_or_else(Vec::new, |event_type| all_names(catalogue, event_type));
        Ok(Filter {
            org: parse(at, "org", text("org")?, |text| text.parse().map_err(name))?,
            webhook: parse(at, "webhook", text("webhook")?, |text| text.parse().map_err(name))?,
            event_types,
            event_id: parse(at, "event_id", text("event_id")?, |text| text.parse().map_err(name))?,
            reason: parse(at, "reason", text("reason")?, str::parse)?,
            replay: parse(at, "replay", text("replay")?, yes_or_no)?,
            since: parse(at, "since", text("since")?, time)?,
            until: parse(at, "until", text("until")?, time)?,
        })
    }

    /// Whether it lets everything through.
    fn is_open(&self) -> bool {
        *self == Filter::default()
    }
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

/// What is to be done to many is done to these.
#[derive(Debug)]
pub(super) struct Many {
    pub(super) filter: Filter,
    /// Only count them.
    pub(super) dry_run: bool,
}

impl Many {
    /// Reads the fields `names` of the filter beside `dry_run`, or in an object `filter` of their own; `known` is all of
    /// these, and comes back for what else it holds. A filter that leaves everything open must say so with `"all": true`, unless it only counts. `what` is one of
    /// what is meant.
    pub(super) fn read<'a>(
        body: &'a [u8],
        (names, known): (&'static [&'static str], &'static [&'static str]),
        what: &str,
        catalogue: &Catalogue,
    ) -> Result<(Many, Members<'a>), Problem> {
        let outer = Members::parse(body, known)?;
        let inner = outer.object("filter", names)?;
        if inner.is_some()
            && let Some(name) = names.iter().find(|name| outer.raw(name).is_some())
        {
            return Err(outer.invalid(name, "stands beside filter; give it inside filter only"));
        }
        let members = inner.as_ref().unwrap_or(&outer);
        let text = |name: &str| match name {
            // The only one that is no text.
            "replay" => Ok(members.value::<bool>(name, "true or false")?.map(|replay| replay.to_string())),
            name => Ok(members.text(name)?.map(std::borrow::Cow::into_owned)),
        };
        let filter = Filter::read(text, if inner.is_some() { "/filter" } else { "" }, catalogue)?;
        let dry_run = outer.value("dry_run", "true or false")?.unwrap_or(false);
        let all = outer.value("all", "true or false")?.unwrap_or(false);
        if filter.is_open() && !all && !dry_run {
            return Err(outer.missing("all", &format!("true to mean every {what}, or a filter")));
        }
        if all && !filter.is_open() {
            return Err(outer.invalid("all", "cannot be given together with a filter"));
        }
        Ok((Many { filter, dry_run }, outer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::problem::Kind;

    const NAMES: &[&str] = &["org", "webhook", "type", "event_id", "reason", "replay", "since", "until"];
    const KNOWN: &[&str] = &[
        "org", "webhook", "type", "event_id", "reason", "replay", "since", "until", "dry_run", "all",
        "filter",
    ];

    fn read(body: &[u8]) -> Result<Many, Problem> {
        Many::read(body, (NAMES, KNOWN), "one", &Catalogue::shipped()).map(|(many, _)| many)
    }

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
        assert!(read(br#"{"all":true}"#).unwrap().filter.is_open());
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
        refused(r#"{"reason":"tired"}"#, Kind::InvalidField, "/reason");
        refused(r#"{"filter":{"until":"yesterday"}}"#, Kind::InvalidField, "/filter/until");
        refused(r#"{"org":"-"}"#, Kind::InvalidField, "/org");
        refused(r#"{"type":"a b"}"#, Kind::InvalidField, "/type");
        refused(r#"{"replay":"yes"}"#, Kind::InvalidField, "/replay");
        assert_eq!(read(br#"{"replay":true}"#).unwrap().filter.replay, Some(true));
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
