//! Derive: the events and the answer that a request of a source comes to. PURE.
//!
//! What it means is up to the catalogue's rules. One event that cannot be accepted refuses the request as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::derive::{NotDerived, Origin, events};
use super::{Rules, SchemaViolation};
use crate::catalogue::{self, ChangeLimits, IncomingRequest};
use crate::model::EventId;
use crate::queue::{Append, Org};

/// What a request comes to. Without events and answer it means nothing.
#[derive(Debug)]
pub struct DerivedRequest {
    /// Its events, in order.
    pub events: Vec<Append>,
    /// What is wrong with their payloads, where that is no reason to refuse them.
    pub warnings: Vec<SchemaViolation>,
    /// A text for whoever asked.
    pub answer: Option<String>,
}

/// Why a request is refused, whole.
pub type RequestRefused = NotDerived<catalogue::RequestRefused>;

/// The events of a request with this id, each with these attributes, and its answer.
///
/// # Errors
/// Why it is refused.
pub fn derive(
    rules: &Rules<'_>,
    limits: &ChangeLimits,
    org: &Arc<Org>,
    id: &EventId,
    attributes: &BTreeMap<String, String>,
    request: &IncomingRequest<'_>,
) -> Result<DerivedRequest, RequestRefused> {
    let mapped = rules.catalogue.map(request, limits).map_err(RequestRefused::Rules)?;
    let parts = [("/body", std::str::from_utf8(request.body).ok())];
    let origin = Origin { org, id, attributes, at: request.at, parts: &parts };
    let derived = events(rules, &origin, mapped.events)?;
    Ok(DerivedRequest { events: derived.events, warnings: derived.warnings, answer: mapped.answer })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::catalogue::{Catalogue, Files};
    use crate::config::Validate;
    use crate::intake::Entitlement;
    use crate::intake::tests::org;
    use crate::model::{Target, UnixMs, UrlTemplate, Webhook};

    const PRODUCT: &str = r#"
product = 'p'
[events]
'p.asked' = {}
'p.told' = {}
[[requests.rules]]
when = 'body.n > 0'
event = 'p.asked'
payload = 'body'
answer = '"yes"'
[[requests.rules]]
when = 'body.n > 1'
event = 'p.told'
payload = '{"n": body.n, "deep": {"list": body.list}}'
"#;
    const SCHEMA: &str = r#"{"properties": {"n": {"maximum": 2},
        "deep": {"properties": {"list": {"items": {"type": "integer"}}}}}}"#;
    const LIMITS: ChangeLimits =
        ChangeLimits { max_events: 8, max_cost: 10_000_000, max_payload_bytes: 4 << 20 };

    fn derived(body: &str, validate: Validate) -> Result<DerivedRequest, RequestRefused> {
        let files = Files::of("c/p", &[("catalogue.toml", PRODUCT), ("schemas/p.told.json", SCHEMA)]);
        let catalogue = Catalogue::read(&[files]).unwrap();
        let rules = Rules { entitlement: &Entitlement::default(), catalogue: &catalogue, validate };
        let target = Target::Url(UrlTemplate::fixed("https://example.com/"));
        let webhook = |id: &str| Webhook {
            events: vec!["p.told".parse().unwrap()],
            ..Webhook::new(id.parse().unwrap(), target.clone(), UnixMs(0))
        };
        let org = org(None, vec![webhook("a"), webhook("b")]);
        let request = IncomingRequest {
            product: "p",
            kind: "token",
            source: "shop",
            event: None,
            id: None,
            body: &Bytes::copy_from_slice(body.as_bytes()),
            at: UnixMs(7),
            org: &org.id,
            org_number: org.number,
        };
        let attributes = BTreeMap::from([("source".to_owned(), "shop".to_owned())]);
        derive(&rules, &LIMITS, &org, &"req_1".parse().unwrap(), &attributes, &request)
    }

    #[test]
    fn a_request_becomes_events_that_are_matched_as_if_they_were_handed_in() {
        let came = derived(r#"{"n": 2, "list": [1]}"#, Validate::Reject).unwrap();
        assert_eq!((came.answer.as_deref(), came.warnings.len()), (Some("yes"), 0));
        let id: EventId = "req_1".parse().unwrap();
        for (index, append) in came.events.iter().enumerate() {
            assert_eq!(append.event.id, EventId::of_change(&id, index + 1));
            assert!(!append.event.id_given);
            assert_eq!(append.event.attributes["source"], "shop");
            assert_eq!((append.accepted_at, append.webhooks.len()), (UnixMs(7), index * 2));
        }
        assert_eq!(&came.events[0].event.payload[..], br#"{"n": 2, "list": [1]}"#);
        let nothing = derived(r#"{"n": 0}"#, Validate::Reject).unwrap();
        assert!(nothing.events.is_empty() && nothing.answer.is_none());
    }

    #[test]
    fn one_event_that_cannot_be_accepted_refuses_the_request_whole() {
        let broken = r#"{"n": 3, "list": ["x"]}"#;
        let Err(RequestRefused::Event { field, .. }) = derived(r#"{"n": 3, "list": []}"#, Validate::Reject)
        else {
            panic!("taken")
        };
        assert_eq!(field.as_deref(), Some("/body/n"));
        assert_eq!(derived(broken, Validate::Warn).unwrap().warnings.len(), 1);
        let missing = derived(r#"{"n": 2}"#, Validate::Off).unwrap_err();
        let RequestRefused::Rules(catalogue::RequestRefused::Rules(catalogue::rules::Refused::Failed {
            field,
            ..
        })) = missing
        else {
            panic!("{missing:?}")
        };
        assert_eq!(field, "/body/list");
        let many = format!(r#"{{"n": 2, "list": [{}1]}}"#, "1,".repeat(800_000));
        assert!(matches!(
            derived(&many, Validate::Off),
            Err(RequestRefused::Rules(catalogue::RequestRefused::Rules(
                catalogue::rules::Refused::TooCostly(_)
            )))
        ));
    }
}
