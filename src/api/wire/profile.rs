//! Profiles of products, as webhooks and clients name them. PURE.

use super::Members;
use crate::catalogue::{Catalogue, Profile};
use crate::config::nearest::nearest;
use crate::model::Target;
use crate::queue::Clients;
use crate::serving::problem::Problem;

/// Reads `profile`: the name, and the profile of this name.
pub(super) fn named<'c>(
    members: &Members<'_>,
    catalogue: &'c Catalogue,
) -> Result<Option<(&'c str, &'c Profile)>, Problem> {
    let Some(name) = members.text("profile")? else { return Ok(None) };
    if let Some(found) = catalogue.profile(&name) {
        return Ok(Some(found));
    }
    let shown: String = name.chars().take(64).collect();
    let known: Vec<&str> = catalogue.profiles().collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let rule = match nearest(&shown, catalogue.profiles()) {
        Some(nearest) => format!("did you mean \"{nearest}\"? Known are {known}"),
        None => format!("known are {known}"),
    };
    Err(members.invalid("profile", format!("no product \"{}\" has one; {rule}", shown.escape_debug())))
}

/// The profile of the client that a webhook goes to.
pub(super) fn of_client<'c>(
    target: &Target,
    clients: &Clients,
    catalogue: &'c Catalogue,
) -> Result<Option<(&'c str, &'c Profile)>, Problem> {
    let Target::Client { client, .. } = target else { return Ok(None) };
    let Some(name) = clients.get(client).and_then(|client| client.profile.as_deref()) else {
        return Ok(None);
    };
    let gone = || {
        let detail = format!(
            "client: the profile of \"{client}\", {name}, is in no catalogue any more; save the client with another one"
        );
        Problem::invalid("/client", detail)
    };
    catalogue.profile(name).map(Some).ok_or_else(gone)
}
