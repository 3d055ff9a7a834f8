//! Check and match, the second step of the path: may this org have webhooks, is the payload as its type's catalogue says,
//! and which webhooks want this event. PURE: the org, the rules and the time come in as values; what goes out is ready for
//! the queue. Not here: reading requests (`api`), making anything durable (`queue`).

pub mod changes;
mod derive;
pub mod left_behind;
mod limits;
mod matching;
pub mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use derive::{Derived, NotDerived};
pub use limits::{NotAllowed, check_client, check_entitled, check_webhook};

use crate::catalogue::{Catalogue, Violation};
use crate::config::Validate;
use crate::model::{Event, EventType, UnixMs};
use crate::queue::{Append, Org};

/// What intake decides by.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Which plans may have webhooks.
    pub entitlement: &'a Entitlement,
    /// What is known of event types.
    pub catalogue: &'a Catalogue,
    /// What becomes of payloads that are not as it says.
    pub validate: Validate,
}

/// An event that may go to the queue.
#[derive(Debug)]
pub struct Accepted {
    /// What the queue takes.
    pub append: Append,
    /// What is wrong with its payload, where that is no reason to refuse it.
    pub warning: Option<SchemaViolation>,
}

/// Why an event is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// By the org's plan.
    #[error(transparent)]
    NotEntitled(#[from] NotEntitled),
    /// By its type's schema.
    #[error(transparent)]
    Schema(#[from] SchemaViolation),
}

/// A payload is not as the catalogue says of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the payload is no {event_type}: {}{}{}{}",
    if violation.pointer.is_empty() { "" } else { "at " },
    violation.pointer,
    if violation.pointer.is_empty() { "" } else { " " },
    violation.rule
)]
pub struct SchemaViolation {
    /// The type's own name.
    pub event_type: EventType,
    /// Where, and which rule.
    pub violation: Violation,
}

/// Which plans may have webhooks at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entitlement {
    plans: BTreeSet<String>,
}

/// The org's plan is not one of those that may have webhooks, or those that are meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan of org {org} ({}) is not entitled to {to}", .plan.as_deref().unwrap_or("none"))]
pub struct NotEntitled {
    /// The org's name.
    pub org: String,
    /// Its plan, if it has one.
    pub plan: Option<String>,
    /// What it may not have.
    pub to: String,
}

impl Entitlement {
    /// Only these plans; none at all means that every org may.
    #[must_use]
    pub fn of_plans(plans: impl IntoIterator<Item = String>) -> Entitlement {
        Entitlement { plans: plans.into_iter().collect() }
    }

    /// Refuses an org whose plan is not named.
    pub fn check(&self, org: &Org) -> Result<(), NotEntitled> {
        let plan = org.settings.plan.as_deref();
        if self.plans.is_empty() || plan.is_some_and(|plan| self.plans.contains(plan)) {
            return Ok(());
        }
        Err(NotEntitled { org: org.id.to_string(), plan: plan.map(str::to_owned), to: "webhooks".to_owned() })
    }
}

/// Turns an event into what the queue takes: one delivery for each webhook that wants it, in the order of their names.
/// An event that no webhook wants is accepted too: its id is remembered, and nothing is queued.
///
/// # Errors
/// Why it is refused.
pub fn accept(
    rules: &Rules<'_>,
    org: &Arc<Org>,
    event: Event,
    accepted_at: UnixMs,
) -> Result<Accepted, Refused> {
    rules.entitlement.check(org)?;
    let entry = rules.catalogue.find(&event.event_type).map(|entry| &**entry);
    let schema = entry.filter(|_| rules.validate != Validate::Off).and_then(|entry| entry.schema.as_ref());
    let warning = match (schema.map(|schema| schema.validate(&event.payload)), entry) {
        (Some(Err(violation)), Some(entry)) => {
            let violation = SchemaViolation { event_type: entry.event_type.clone(), violation };
            if rules.validate == Validate::Reject {
                return Err(violation.into());
            }
            Some(violation)
        }
        _ => None,
    };
    let wanted = org.webhooks.values().filter(|webhook| matching::wants(webhook, &event, entry));
    let webhooks = wanted
        .map(|webhook| {
            // Whole or not at all: an org that has lost the plan is told, not left to find out what was not sent.
            check_entitled(rules.catalogue, org, webhook.profile.as_deref())?;
            Ok(webhook.id.clone())
        })
        .collect::<Result<_, NotEntitled>>()?;
    Ok(Accepted { append: Append { org: org.clone(), event, webhooks, accepted_at }, warning })
}

#[cfg(test)]
pub(in crate::intake) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{OrgNumber, OrgSettings, Target, UrlTemplate, Webhook};

    fn webhook(id: &str, events: &[&str], enabled: bool) -> Webhook {
        let target = Target::Url(UrlTemplate::fixed("https://example.com/"));
        Webhook {
            events: events.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            enabled,
            ..Webhook::new(id.parse().unwrap(), target, UnixMs(0))
        }
    }

    pub(in crate::intake) fn org(plan: Option<&str>, webhooks: Vec<Webhook>) -> Arc<Org> {
        Arc::new(Org {
            number: OrgNumber(1),
            id: "acme".parse().unwrap(),
            settings: OrgSettings {
                plan: plan.map(str::to_owned),
                description: String::new(),
                max_deliveries: None,
                max_bytes: None,
                max_webhooks: None,
                created_at: UnixMs(0),
                updated_at: UnixMs(0),
            },
            clients: crate::queue::Clients::default(),
            webhooks: webhooks.into_iter().collect(),
            sources: crate::queue::Sources::default(),
        })
    }

    fn event(event_type: &str) -> Event {
        Event {
            id: "evt_1".parse().unwrap(),
            id_given: true,
            event_type: event_type.parse().unwrap(),
            payload: "{}".into(),
            attributes: BTreeMap::new(),
        }
    }

    fn accepted(org: &Arc<Org>, event: Event, at: UnixMs) -> Append {
        let (entitlement, catalogue) = (Entitlement::default(), Catalogue::default());
        let rules = Rules { entitlement: &entitlement, catalogue: &catalogue, validate: Validate::Reject };
        accept(&rules, org, event, at).unwrap().append
    }

    #[track_caller]
    fn check_match(event_type: &str, expected: &[&str]) {
        let org = org(
            None,
            vec![
                webhook("z-all", &["*"], true),
                webhook("bookings", &["booking.*", "absence.created"], true),
                webhook("off", &["*"], false),
            ],
        );
        let append = accepted(&org, event(event_type), UnixMs(7));
        let names: Vec<_> = append.webhooks.iter().map(crate::model::WebhookId::as_str).collect();
        assert_eq!(names, expected, "{event_type}");
        assert_eq!(append.accepted_at, UnixMs(7));
    }

    #[test]
    fn webhooks_match_in_order_of_name_and_only_when_enabled() {
        check_match("booking.created", &["bookings", "z-all"]);
        check_match("absence.created", &["bookings", "z-all"]);
        check_match("absence.deleted", &["z-all"]);
    }

    #[test]
    fn without_a_matching_webhook_the_event_is_accepted_with_nothing_to_deliver() {
        let append = accepted(&org(None, vec![]), event("a"), UnixMs(0));
        assert!(append.webhooks.is_empty());
    }

    #[test]
    fn an_event_for_a_webhook_that_the_plan_does_not_cover_is_refused_whole() {
        let with_profile = Webhook { profile: Some("timetime".into()), ..webhook("b", &["x"], true) };
        let webhooks = vec![webhook("a", &["*"], true), with_profile];
        let accepted = |plan, event_type| {
            let org = org(plan, webhooks.clone());
            let (entitlement, catalogue) = (Entitlement::default(), Catalogue::shipped());
            let rules = Rules { entitlement: &entitlement, catalogue: &catalogue, validate: Validate::Off };
            accept(&rules, &org, event(event_type), UnixMs(0)).map(|accepted| accepted.append.webhooks.len())
        };
        assert_eq!(accepted(Some("enterprise"), "x").unwrap(), 2);
        assert!(accepted(Some("free"), "x").unwrap_err().to_string().contains("profile timetime"));
        // Not one that it would not be given.
        assert_eq!(accepted(Some("free"), "y").unwrap(), 1);
    }

    #[test]
    fn entitlement_is_by_plan() {
        let paying = Entitlement::of_plans(["pro".to_owned(), "enterprise".to_owned()]);
        assert!(paying.check(&org(Some("pro"), vec![])).is_ok());
        assert!(Entitlement::default().check(&org(None, vec![])).is_ok());
        let refused = paying.check(&org(Some("free"), vec![])).unwrap_err();
        assert_eq!(refused.to_string(), "the plan of org acme (free) is not entitled to webhooks");
        let refused = paying.check(&org(None, vec![])).unwrap_err();
        assert_eq!(refused.to_string(), "the plan of org acme (none) is not entitled to webhooks");
    }
}
