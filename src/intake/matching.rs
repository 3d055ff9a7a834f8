//! Which webhooks want an event: by its type, and by its attributes. PURE.

use crate::catalogue::Entry;
use crate::model::{Condition, Event, Webhook};

/// Whether an event is delivered to this webhook. `entry` is what the catalogue has of its type.
pub(super) fn wants(webhook: &Webhook, event: &Event, entry: Option<&Entry>) -> bool {
    webhook.enabled
        && webhook.events.iter().any(|pattern| {
            pattern.matches(&event.event_type) || entry.is_some_and(|entry| entry.is_meant_by(pattern))
        })
        && webhook.matching.iter().all(|condition| holds(condition, event, entry))
}

/// Whether an attribute has one of the values that are asked for. An attribute that came with the event wins over what
/// stands in its payload.
fn holds(condition: &Condition, event: &Event, entry: Option<&Entry>) -> bool {
    let mut wanted = |value: &str| condition.values.iter().any(|wanted| **wanted == *value);
    if let Some(given) = event.attributes.get(&*condition.attribute) {
        return wanted(given);
    }
    let offered = entry.and_then(|entry| entry.attribute(&condition.attribute));
    offered.is_some_and(|(attribute, member)| attribute.any(&event.payload, member, &mut wanted))
}
