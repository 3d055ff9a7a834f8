//! Orgs and webhooks: written through the committer, in force once durable.

use super::Refused;
use super::directory::Org;
use super::key::{self, InOrgs};
use super::record::{OrgRecord, WebhookRecord};
use super::store::Trouble;
use super::webhooks::Webhooks;
use super::writer::{Applied, Writer};
use crate::model::{OrgId, OrgNumber, OrgSettings, Webhook, WebhookId};

/// Creates the org (`true`) or replaces its settings.
pub(super) fn put_org(writer: &mut Writer, id: OrgId, mut settings: OrgSettings) -> Applied<bool> {
    let known = writer.org(&id);
    let created = known.is_none();
    let org = match known {
        Some(known) => {
            settings.created_at = known.settings.created_at;
            Org { settings, ..known }
        }
        None => Org { number: take_number(writer)?, id, settings, webhooks: Webhooks::default() },
    };
    let place = key::of_org(InOrgs::Org as u8, org.number);
    writer.store.orgs.put(&place, &OrgRecord::new(&org.id, &org.settings))?;
    writer.set_org(org);
    Ok(Ok(created))
}

/// The next org number. It is taken for good before anything is stored under it.
fn take_number(writer: &mut Writer) -> Result<OrgNumber, Trouble> {
    let number = writer.next_org;
    writer.next_org += 1;
    writer.store.meta.put(key::NEXT_ORG, &writer.next_org)?;
    Ok(OrgNumber(number))
}

/// Deletes the org: a note of what is to go, then its row, which is what makes it one; the rest goes in upkeep, after a
/// crash as well.
pub(super) fn delete_org(writer: &mut Writer, id: &OrgId, discard: bool) -> Applied<()> {
    let Some(org) = writer.org(id) else { return Ok(Err(Refused::UnknownOrg)) };
    let queue = writer.queues.get(&org.number);
    let (depth, dead_letters) = queue.map_or((0, 0), |queue| (queue.depth(), queue.dead_letters));
    if depth > 0 && !discard {
        return Ok(Err(Refused::QueueNotEmpty(depth)));
    }
    if dead_letters > 0 && !discard {
        return Ok(Err(Refused::DeadLettersKept(dead_letters)));
    }
    writer.store.meta.mark(&key::deleted(org.number))?;
    writer.store.orgs.remove(&key::of_org(InOrgs::Org as u8, org.number))?;
    for webhook in org.webhooks.values() {
        let place = key::webhook(org.number, &name_hash(writer, &webhook.id));
        writer.store.orgs.remove(&place)?;
    }
    writer.unset_org(id);
    writer.forget_queue(org.number);
    writer.upkeep.delete(org.number);
    Ok(Ok(()))
}

fn name_hash(writer: &Writer, webhook: &WebhookId) -> key::KeyHash {
    writer.store.sealer.hash([webhook.as_str().as_bytes()])
}

/// Creates (`true`) or replaces a webhook.
pub(super) fn put_webhook(writer: &mut Writer, org: &OrgId, mut webhook: Webhook) -> Applied<bool> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    let known = org.webhooks.get(&webhook.id);
    let created = known.is_none();
    if let Some(known) = known {
        webhook.created_at = known.created_at;
    }
    let place = key::webhook(org.number, &name_hash(writer, &webhook.id));
    writer.store.orgs.put(&place, &WebhookRecord::from(&webhook))?;
    org.webhooks.insert(webhook);
    writer.set_org(org);
    Ok(Ok(created))
}

/// Deletes a webhook. What is queued for it dies when its turn comes.
pub(super) fn delete_webhook(writer: &mut Writer, org: &OrgId, webhook: &WebhookId) -> Applied<()> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if org.webhooks.remove(webhook).is_none() {
        return Ok(Err(Refused::UnknownWebhook));
    }
    let place = key::webhook(org.number, &name_hash(writer, webhook));
    writer.store.orgs.remove(&place)?;
    writer.set_org(org);
    Ok(Ok(()))
}
