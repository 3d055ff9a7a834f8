//! Orgs, clients and webhooks (sources are in `sources.rs`): written through the committer, in force once durable.

use super::Refused;
use super::directory::Org;
use super::key::{self, InOrgs};
use super::record::{ClientRecord, OrgRecord, WebhookRecord};
use super::settle::release_held;
use super::sources;
use super::store::Trouble;
use super::writer::{Applied, Writer};
use super::{Clients, Sources, Webhooks};
use crate::model::{Client, ClientId, OrgId, OrgNumber, OrgSettings, Target, Webhook, WebhookId};

/// Creates the org (`true`) or replaces its settings.
pub(super) fn put_org(writer: &mut Writer, id: OrgId, mut settings: OrgSettings) -> Applied<bool> {
    let known = writer.org(&id);
    let created = known.is_none();
    let org = if let Some(known) = known {
        settings.created_at = known.settings.created_at;
        Org { settings, ..known }
    } else {
        let number = take_number(writer)?;
        let (clients, webhooks, sources) = (Clients::default(), Webhooks::default(), Sources::default());
        Org { number, id, settings, clients, webhooks, sources }
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
        writer.store.orgs.remove(&place(writer, org.number, &webhook.id))?;
    }
    for client in org.clients.values() {
        writer.store.orgs.remove(&client_place(writer, org.number, &client.id))?;
    }
    for source in org.sources.values() {
        writer.store.orgs.remove(&sources::place(writer, org.number, &source.id))?;
    }
    writer.unset_org(id);
    writer.forget_queue(org.number);
    writer.upkeep.delete(org.number);
    Ok(Ok(()))
}

fn place(writer: &Writer, org: OrgNumber, webhook: &WebhookId) -> [u8; 21] {
    key::of_name(InOrgs::Webhook, org, &writer.store.sealer.hash([webhook.as_str().as_bytes()]))
}

fn client_place(writer: &Writer, org: OrgNumber, client: &ClientId) -> [u8; 21] {
    key::of_name(InOrgs::Client, org, &writer.store.sealer.hash([client.as_str().as_bytes()]))
}

/// Creates (`true`) or replaces a webhook, unless `judge` refuses it. Its client must be there. A rotation of its secret
/// goes on.
pub(super) fn put_webhook<E>(
    writer: &mut Writer,
    org: &OrgId,
    mut webhook: Webhook,
    judge: impl FnOnce(&Org, &Webhook) -> Result<(), E>,
) -> Applied<Result<bool, E>> {
    let Some(now) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if let Err(refused) = judge(&now, &webhook) {
        return Ok(Ok(Err(refused)));
    }
    let known = now.webhooks.get(&webhook.id);
    if let (Some(signature), Some(known)) = (&mut webhook.signature, known)
        && let Some(known) = &known.signature
    {
        signature.continue_rotation(known, webhook.updated_at);
    }
    Ok(save_webhook(writer, org, webhook)?.map(Ok))
}

fn save_webhook(writer: &mut Writer, org: &OrgId, mut webhook: Webhook) -> Applied<bool> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if let Target::Client { client, .. } = &webhook.target
        && org.clients.get(client).is_none()
    {
        return Ok(Err(Refused::UnknownClient));
    }
    let known = org.webhooks.get(&webhook.id);
    let created = known.is_none();
    if let Some(known) = known {
        webhook.created_at = known.created_at;
    }
    let (number, id) = (org.number, webhook.id.clone());
    writer.store.orgs.put(&place(writer, number, &id), &WebhookRecord::from(&webhook))?;
    org.webhooks.insert(webhook);
    writer.set_org(org);
    release_held(writer, number, &id)?;
    Ok(Ok(created))
}

/// Changes a webhook as it is now.
pub(super) fn change_webhook<T>(
    writer: &mut Writer,
    org: &OrgId,
    webhook: &WebhookId,
    change: impl FnOnce(&mut Webhook) -> T,
) -> Applied<T> {
    let Some(known) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    let Some(webhook) = known.webhooks.get(webhook) else { return Ok(Err(Refused::UnknownWebhook)) };
    let mut webhook = Webhook::clone(webhook);
    let answer = change(&mut webhook);
    Ok(save_webhook(writer, org, webhook)?.map(|_| answer))
}

/// Deletes a webhook. What is queued for it dies when its turn comes.
pub(super) fn delete_webhook(writer: &mut Writer, org: &OrgId, webhook: &WebhookId) -> Applied<()> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if org.webhooks.remove(webhook).is_none() {
        return Ok(Err(Refused::UnknownWebhook));
    }
    let number = org.number;
    writer.store.orgs.remove(&place(writer, number, webhook))?;
    writer.set_org(org);
    release_held(writer, number, webhook)?;
    Ok(Ok(()))
}

/// Creates (`true`) or replaces a client, unless `judge` refuses it; its webhooks use it as it is from their next attempt
/// on.
pub(super) fn put_client<E>(
    writer: &mut Writer,
    org: &OrgId,
    mut client: Client,
    judge: impl FnOnce(&Org, &Client) -> Result<(), E>,
) -> Applied<Result<bool, E>> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if let Err(refused) = judge(&org, &client) {
        return Ok(Ok(Err(refused)));
    }
    let known = org.clients.get(&client.id);
    let created = known.is_none();
    if let Some(known) = known {
        client.created_at = known.created_at;
    }
    let users = users(&org, &client.id);
    let number = org.number;
    writer.store.orgs.put(&client_place(writer, number, &client.id), &ClientRecord::from(&client))?;
    org.clients.insert(client);
    writer.set_org(org);
    for webhook in users {
        release_held(writer, number, &webhook)?;
    }
    Ok(Ok(Ok(created)))
}

/// Deletes a client; with `cascade` its webhooks too, before it, so that none is ever without its client.
pub(super) fn delete_client(
    writer: &mut Writer,
    org: &OrgId,
    client: &ClientId,
    cascade: bool,
) -> Applied<()> {
    let Some(known) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if known.clients.get(client).is_none() {
        return Ok(Err(Refused::UnknownClient));
    }
    let users = users(&known, client);
    if !users.is_empty() && !cascade {
        return Ok(Err(Refused::ClientInUse(users.len() as u64)));
    }
    for webhook in &users {
        if let Err(refused) = delete_webhook(writer, org, webhook)? {
            return Ok(Err(refused));
        }
    }
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    org.clients.remove(client);
    writer.store.orgs.remove(&client_place(writer, org.number, client))?;
    writer.set_org(org);
    Ok(Ok(()))
}

/// The webhooks that go to this client.
fn users(org: &Org, client: &ClientId) -> Vec<WebhookId> {
    let uses =
        |webhook: &Webhook| matches!(&webhook.target, Target::Client { client: its, .. } if its == client);
    org.webhooks.values().filter(|webhook| uses(webhook)).map(|webhook| webhook.id.clone()).collect()
}
