//! Whether other catalogues would leave a webhook or source without something that it goes by: then its events would no longer
//! reach it, its limits no longer hold, or its requests mean nothing, and nobody would be told. PURE.

use crate::catalogue::Catalogue;
use crate::model::{EventPattern, Webhook};
use crate::queue::Org;

/// What a webhook, client or source of this org goes by that the catalogues had before and would not have after, in words.
#[must_use]
pub fn left_behind(org: &Org, before: &Catalogue, after: &Catalogue) -> Option<String> {
    let clients = org.clients.values().filter_map(|client| {
        let profile = lost_profile(client.profile.as_deref(), before, after)?;
        Some(format!("client {} of org {} has {profile}", client.id, org.id))
    });
    let webhooks = org.webhooks.values().filter_map(|webhook| {
        let lost = lost(webhook, before, after)?;
        Some(format!("webhook {} of org {} {lost}", webhook.id, org.id))
    });
    let sources = org.sources.values().filter_map(|source| {
        let product = source.catalogue.as_deref()?;
        let lost = before.maps_requests(product) && !after.maps_requests(product);
        let goes_by =
            || format!("source {} of org {} goes by the rules of {product} for requests", source.id, org.id);
        lost.then(|| format!("{}, which no catalogue would have any more", goes_by()))
    });
    let first = clients.chain(webhooks).chain(sources).next()?;
    Some(format!("{first}; change that first"))
}

/// A webhook or client of this org that has a profile which is in no catalogue, in words: its limits and plans cannot be
/// asked for. Or a source whose requests mean nothing for that reason.
#[must_use]
pub fn unknown_profile(org: &Org, catalogue: &Catalogue) -> Option<String> {
    let unknown = |profile: &Option<Box<str>>| {
        profile.as_deref().filter(|name| catalogue.profile(name).is_none()).map(str::to_owned)
    };
    let clients = org.clients.values().filter_map(|client| {
        let profile = unknown(&client.profile)?;
        Some(format!("client {} of org {} has the profile {profile}", client.id, org.id))
    });
    let webhooks = org.webhooks.values().filter_map(|webhook| {
        let profile = unknown(&webhook.profile)?;
        Some(format!("webhook {} of org {} has the profile {profile}", webhook.id, org.id))
    });
    let sources = org.sources.values().filter_map(|source| {
        let product = source.catalogue.as_deref().filter(|product| !catalogue.maps_requests(product))?;
        Some(format!("source {} of org {} goes by the catalogue {product}", source.id, org.id))
    });
    clients.chain(webhooks).chain(sources).next()
}

fn lost(webhook: &Webhook, before: &Catalogue, after: &Catalogue) -> Option<String> {
    if let Some(profile) = lost_profile(webhook.profile.as_deref(), before, after) {
        return Some(format!("has {profile}"));
    }
    let any = EventPattern::any();
    for pattern in webhook.events.iter().filter(|pattern| **pattern != any) {
        if before.matching(pattern).next().is_some() && after.matching(pattern).next().is_none() {
            return Some(format!("listens to {}, which no catalogue would have any more", pattern.as_str()));
        }
    }
    let offered = |catalogue: &Catalogue, name: &str| {
        let mut entries = webhook.events.iter().flat_map(|pattern| catalogue.matching(pattern));
        entries.any(|entry| entry.attribute(name).is_some())
    };
    webhook.matching.iter().find_map(|condition| {
        let name = &condition.attribute;
        let lost = offered(before, name) && !offered(after, name);
        lost.then(|| format!("matches on {name}, which no catalogue would offer any more"))
    })
}

fn lost_profile(profile: Option<&str>, before: &Catalogue, after: &Catalogue) -> Option<String> {
    let name = profile?;
    let lost = before.profile(name).is_some() && after.profile(name).is_none();
    lost.then(|| format!("the profile {name}, which no catalogue would have any more"))
}
