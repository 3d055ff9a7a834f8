//! Clients: checked on the way in, shown without their secrets on the way out. PURE.

use serde::Serialize;

use super::Members;
use super::profile::named;
use super::proof::{AuthorizationOut, HeadersOut, Proof};
use super::route::{RouteOut, read_route};
use super::target::base_url;
use super::webhook::description;
use crate::catalogue::{Catalogue, Profile};
use crate::model::{Client, ClientId, Target, UnixMs};
use crate::queue::Org;
use crate::serving::problem::Problem;

/// Reads the body of `PUT …/clients/{client}`. What is not given gets its default: a PUT replaces the whole client, its
/// secrets included.
pub(in crate::api) fn read_client(
    id: ClientId,
    body: &[u8],
    catalogue: &Catalogue,
    now: UnixMs,
) -> Result<Client, Problem> {
    const KNOWN: &[&str] = &[
        "base_url",
        "profile",
        "authorization",
        "headers",
        "tls",
        "proxy",
        "http2",
        "bind_address",
        "description",
    ];
    let members = Members::parse(body, KNOWN)?;
    let proof = Proof::read(&members, &Profile::default())?;
    Ok(Client {
        id,
        base_url: base_url(&members)?,
        authorization: proof.authorization,
        headers: proof.headers,
        route: read_route(&members)?,
        profile: named(&members, catalogue)?.map(|(name, _)| name.into()),
        description: description(&members)?,
        created_at: now,
        updated_at: now,
    })
}

/// A client as shown.
#[derive(Serialize)]
pub(in crate::api) struct ClientOut<'a> {
    id: &'a ClientId,
    base_url: &'a str,
    /// What webhooks take from here that have none of their own, when they are saved.
    profile: Option<&'a str>,
    authorization: Option<AuthorizationOut<'a>>,
    headers: HeadersOut<'a>,
    #[serde(flatten)]
    route: RouteOut,
    description: &'a str,
    /// How many webhooks go there.
    webhooks: usize,
    created_at: UnixMs,
    updated_at: UnixMs,
}

impl<'a> ClientOut<'a> {
    /// Shows a client of this org.
    pub(in crate::api) fn of(client: &'a Client, org: &Org) -> ClientOut<'a> {
        let goes_there =
            |target: &Target| matches!(target, Target::Client { client: id, .. } if *id == client.id);
        ClientOut {
            id: &client.id,
            base_url: client.base_url.as_str(),
            profile: client.profile.as_deref(),
            authorization: client.authorization.as_deref().map(Into::into),
            headers: HeadersOut(&client.headers),
            route: RouteOut::from(&client.route),
            description: &client.description,
            webhooks: org.webhooks.values().filter(|webhook| goes_there(&webhook.target)).count(),
            created_at: client.created_at,
            updated_at: client.updated_at,
        }
    }

    /// The client's name.
    pub(in crate::api) fn id(&self) -> &'a ClientId {
        self.id
    }
}
