//! PURE. Which facts a listener wants.

use super::fact::{Fact, Happened};
use crate::model::{OrgId, WebhookId};

/// Everything that is said must hold; what is left out means any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this org.
    pub org: Option<OrgId>,
    /// Of this webhook.
    pub webhook: Option<WebhookId>,
    /// Of events of one of these types; none at all means any.
    pub event_types: Vec<String>,
    /// One of these; none at all means any.
    pub happened: Vec<Happened>,
}

impl Filter {
    /// Whether the listener wants it.
    #[must_use]
    pub fn lets_through(&self, fact: &Fact) -> bool {
        let of_webhook =
            |wanted: &WebhookId| fact.webhook.as_ref() == Some(wanted) || fact.webhooks.contains(wanted);
        let of_type = |wanted: &[String]| {
            let has = |known: &crate::model::EventType| wanted.iter().any(|one| one == known.as_str());
            fact.event_type.as_ref().is_some_and(has)
        };
        self.org.as_ref().is_none_or(|org| *org == fact.org)
            && self.webhook.as_ref().is_none_or(of_webhook)
            && (self.event_types.is_empty() || of_type(&self.event_types))
            && (self.happened.is_empty() || self.happened.contains(&fact.happened))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixMs;

    #[test]
    fn everything_that_is_said_must_hold() {
        let fact = Fact {
            webhooks: vec!["orders".parse().unwrap(), "audit".parse().unwrap()],
            event_type: Some("order.created".parse().unwrap()),
            ..Fact::new(Happened::Accepted, UnixMs(0), "acme".parse().unwrap())
        };
        let of = |org: &str, webhook: &str, event_type: &str, happened| Filter {
            org: org.parse().ok(),
            webhook: webhook.parse().ok(),
            event_types: vec![event_type.to_owned()],
            happened: vec![happened],
        };
        assert!(Filter::default().lets_through(&fact));
        assert!(of("acme", "audit", "order.created", Happened::Accepted).lets_through(&fact));
        for other in [
            of("other", "audit", "order.created", Happened::Accepted),
            of("acme", "other", "order.created", Happened::Accepted),
            of("acme", "audit", "order", Happened::Accepted),
            of("acme", "audit", "order.created", Happened::Dead),
        ] {
            assert!(!other.lets_through(&fact), "{other:?}");
        }
    }
}
