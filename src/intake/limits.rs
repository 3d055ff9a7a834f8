//! Which webhooks an org may have: the limits of the products' profiles, the org's own, and what its clients leave room
//! for. PURE.

use super::NotEntitled;
use crate::catalogue::Catalogue;
use crate::model::{Authorization, Client, ClientId, PASSWORD_HEADER, Signature, Target, Webhook, WebhookId};
use crate::queue::Org;

/// Why an org may not have this webhook, or client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Its plan is not one of the profile's.
    #[error(transparent)]
    NotEntitled(#[from] NotEntitled),
    /// It has as many as it may have.
    #[error("{whose} allows {max} webhooks, and the org has as many; delete one, or have the limit raised")]
    TooMany {
        /// What bounds them.
        whose: String,
        /// How many there may be.
        max: u64,
    },
    /// A text is longer than the profile allows.
    #[error("{member}: the profile {profile} allows {max} characters")]
    TooLong {
        /// The member of the webhook.
        member: &'static str,
        /// The profile.
        profile: String,
        /// How many characters there may be.
        max: usize,
    },
    /// Another webhook with the profile has the URL.
    #[error("{member}: webhook \"{other}\" has this URL already, and the profile {profile} allows each once")]
    SameUrl {
        /// The member of the webhook.
        member: &'static str,
        /// The profile.
        profile: String,
        /// The other webhook.
        other: WebhookId,
    },
    /// A header of the webhook is the one that its client's authorization is sent in.
    #[error(
        "{member}: the authorization of client \"{client}\" is sent in {header}; give another header, or the webhook an authorization of its own"
    )]
    ClientsHeader {
        /// The member of the webhook.
        member: &'static str,
        /// The header.
        header: String,
        /// The client.
        client: ClientId,
    },
    /// The header of a client's authorization is one that a webhook of it sends something else in.
    #[error(
        "authorization: webhook \"{webhook}\" has a header {header} of its own ({member}); give another header, here or there"
    )]
    WebhooksHeader {
        /// The member of the webhook.
        member: &'static str,
        /// The header.
        header: String,
        /// The webhook.
        webhook: WebhookId,
    },
}

/// Whether the org's plan is one of those that the profile of this name asks for. A profile that is in no catalogue any
/// more asks for nothing.
///
/// # Errors
/// That it is not.
pub fn check_entitled(catalogue: &Catalogue, org: &Org, profile: Option<&str>) -> Result<(), NotEntitled> {
    let Some((name, profile)) = profile.and_then(|name| catalogue.profile(name)) else { return Ok(()) };
    let plan = org.settings.plan.as_deref();
    if profile.entitles(plan) {
        return Ok(());
    }
    let plans = profile.plans.join(" or ");
    Err(NotEntitled {
        org: org.id.to_string(),
        plan: plan.map(str::to_owned),
        to: format!("webhooks with the profile {name}, which takes the plan {plans}"),
    })
}

/// Whether the org, as it is, may have this webhook, new or in place of the one of its name.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_webhook(catalogue: &Catalogue, org: &Org, webhook: &Webhook) -> Result<(), NotAllowed> {
    check_entitled(catalogue, org, webhook.profile.as_deref())?;
    check_number(catalogue, org, webhook)?;
    if let Target::Client { client, .. } = &webhook.target
        && let Some(client) = org.clients.get(client)
        && let Some((member, header)) = same_header(client, webhook)
    {
        let (header, client) = (header.to_owned(), client.id.clone());
        return Err(NotAllowed::ClientsHeader { member, header, client });
    }
    let Some((name, profile)) = webhook.profile.as_deref().and_then(|name| catalogue.profile(name)) else {
        return Ok(());
    };
    let member = match &webhook.target {
        Target::Url(_) => "url",
        Target::Client { .. } => "path",
    };
    let url = whole_url(org, webhook);
    if let Some(max) = profile.max_chars {
        let long = |text: &str| text.chars().count() > max;
        let password = webhook.password.as_ref().is_some_and(|password| long(password.expose()));
        if let Some(member) = long(&url).then_some(member).or(password.then_some("password")) {
            return Err(NotAllowed::TooLong { member, profile: name.to_owned(), max });
        }
    }
    let same = |other: &Webhook| {
        other.id != webhook.id && other.profile == webhook.profile && whole_url(org, other) == url
    };
    if profile.distinct_urls
        && let Some(other) = org.webhooks.values().find(|other| same(other))
    {
        return Err(NotAllowed::SameUrl { member, profile: name.to_owned(), other: other.id.clone() });
    }
    Ok(())
}

/// Whether the org, as it is, may have this client, new or in place of the one of its name.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_client(catalogue: &Catalogue, org: &Org, client: &Client) -> Result<(), NotAllowed> {
    check_entitled(catalogue, org, client.profile.as_deref())?;
    let goes_there =
        |target: &Target| matches!(target, Target::Client { client: id, .. } if *id == client.id);
    for webhook in org.webhooks.values().filter(|webhook| goes_there(&webhook.target)) {
        if let Some((member, header)) = same_header(client, webhook) {
            let (header, webhook) = (header.to_owned(), webhook.id.clone());
            return Err(NotAllowed::WebhooksHeader { member, header, webhook });
        }
    }
    Ok(())
}

/// The header that the client's authorization is sent in, if the webhook sends something else in it: one would silently
/// take the place of the other. With it, the member of the webhook that says so.
fn same_header<'c>(client: &'c Client, webhook: &Webhook) -> Option<(&'static str, &'c str)> {
    if webhook.authorization.is_some() {
        // It is sent instead.
        return None;
    }
    // The header that all other authorizations are sent in nothing else can have.
    let Some(Authorization::Header { name, .. }) = client.authorization.as_deref() else { return None };
    let password = webhook.password.as_ref();
    let password = password.map(|_| webhook.password_header.as_deref().unwrap_or(PASSWORD_HEADER));
    let signature = match webhook.signature.as_deref() {
        Some(Signature::Hex { header, .. }) => Some(&**header),
        Some(Signature::Standard { .. }) | None => None,
    };
    let member = if password == Some(name) {
        "password_header"
    } else if signature == Some(name) {
        "signature"
    } else if webhook.headers.0.iter().any(|(header, _)| **header == **name) {
        "headers"
    } else {
        return None;
    };
    Some((member, name))
}

/// Whether there is room for one more. One in the place of another takes none.
fn check_number(catalogue: &Catalogue, org: &Org, webhook: &Webhook) -> Result<(), NotAllowed> {
    let replaced = org.webhooks.get(&webhook.id);
    // The org's own limit says it of all its webhooks, and the profile is not asked.
    if let Some(max) = org.settings.max_webhooks {
        let full = org.webhooks.len() as u64 >= max && replaced.is_none();
        return if full { Err(NotAllowed::TooMany { whose: "the org".to_owned(), max }) } else { Ok(()) };
    }
    let Some((name, profile)) = webhook.profile.as_deref().and_then(|name| catalogue.profile(name)) else {
        return Ok(());
    };
    let has_it = |other: &Webhook| other.profile.as_deref() == Some(name);
    let Some(max) = profile.max_webhooks.filter(|_| !replaced.is_some_and(|replaced| has_it(replaced)))
    else {
        return Ok(());
    };
    if org.webhooks.values().filter(|other| has_it(other)).count() as u64 >= max {
        return Err(NotAllowed::TooMany { whose: format!("the profile {name}"), max });
    }
    Ok(())
}

/// The webhook's URL, its client's part and the variables as they stand.
fn whole_url(org: &Org, webhook: &Webhook) -> String {
    match &webhook.target {
        Target::Url(template) => template.to_string(),
        Target::Client { client, path } => {
            let base = org.clients.get(client).map_or("", |client| client.base_before(path));
            format!("{base}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Files;
    use crate::intake::tests::org;
    use crate::model::{Headers, Secret, SigningSecret, UnixMs, UrlTemplate};

    fn catalogue(profile: &str) -> Catalogue {
        let text = format!("product = 'shop'\n[events.'shop.sold']\n[profile]\n{profile}\n");
        Catalogue::read(&[Files::of("shop", &[("catalogue.toml", &text)])]).unwrap()
    }

    fn webhook(id: &str, url: &str) -> Webhook {
        let target = Target::Url(UrlTemplate::parse(url).unwrap());
        Webhook { profile: Some("shop".into()), ..Webhook::new(id.parse().unwrap(), target, UnixMs(0)) }
    }

    /// What is said of a webhook that an org with these others must not have.
    #[track_caller]
    fn refused(profile: &str, others: Vec<Webhook>, webhook: &Webhook) -> String {
        let refused = check_webhook(&catalogue(profile), &org(Some("pro"), others), webhook);
        refused.err().unwrap_or_else(|| panic!("{profile}: allowed")).to_string()
    }

    #[track_caller]
    fn allowed(profile: &str, others: Vec<Webhook>, webhook: &Webhook) {
        assert_eq!(
            check_webhook(&catalogue(profile), &org(Some("pro"), others), webhook),
            Ok(()),
            "{profile}"
        );
    }

    #[test]
    fn plans_entitle() {
        let given = webhook("a", "https://a.example/");
        allowed("plans = ['pro', 'max']", vec![], &given);
        let detail = refused("plans = ['max', 'big']", vec![], &given);
        assert_eq!(
            detail,
            "the plan of org acme (pro) is not entitled to webhooks with the profile shop, which takes the plan max or big"
        );
        allowed("plans = ['max']", vec![], &Webhook { profile: None, ..given.clone() });
        // What is in no catalogue any more bounds nothing.
        allowed("plans = ['max']", vec![], &Webhook { profile: Some("gone".into()), ..given });
    }

    #[test]
    fn webhooks_are_counted_by_profile() {
        let two = || vec![webhook("a", "https://a.example/"), webhook("b", "https://b.example/")];
        let third = webhook("c", "https://c.example/");
        allowed("max_webhooks = 3", two(), &third);
        let detail = refused("max_webhooks = 2", two(), &third);
        assert!(detail.starts_with("the profile shop allows 2 webhooks"), "{detail}");
        allowed("max_webhooks = 2", two(), &Webhook { profile: None, ..third.clone() });
        // In the place of another, also when the limit has come down since.
        allowed("max_webhooks = 1", two(), &webhook("a", "https://c.example/"));
        let mut plain = two();
        plain[1].profile = None;
        allowed("max_webhooks = 2", plain.clone(), &third);
        refused("max_webhooks = 1", plain, &webhook("b", "https://b.example/"));
    }

    #[test]
    fn the_orgs_own_limit_counts_all_and_takes_the_place_of_the_profiles() {
        let others = vec![webhook("a", "https://a.example/"), webhook("b", "https://b.example/")];
        let mut org = Org::clone(&org(None, others));
        let catalogue = catalogue("max_webhooks = 1");
        let third = webhook("c", "https://c.example/");
        for (max, allowed) in [(2, false), (3, true)] {
            org.settings.max_webhooks = Some(max);
            for webhook in [third.clone(), Webhook { profile: None, ..third.clone() }] {
                assert_eq!(check_webhook(&catalogue, &org, &webhook).is_ok(), allowed, "{max}");
            }
        }
        org.settings.max_webhooks = Some(1);
        assert_eq!(check_webhook(&catalogue, &org, &webhook("b", "https://c.example/")), Ok(()));
    }

    #[test]
    fn url_and_password_have_so_many_characters_at_most() {
        let given = webhook("a", "https://a.example/{id}");
        allowed("max_chars = 22", vec![], &given);
        assert_eq!(refused("max_chars = 21", vec![], &given), "url: the profile shop allows 21 characters");
        let password = Some(Secret::new("x".repeat(23)));
        let detail = refused("max_chars = 22", vec![], &Webhook { password, ..given });
        assert_eq!(detail, "password: the profile shop allows 22 characters");
    }

    #[test]
    fn a_url_is_had_once() {
        let other = webhook("a", "https://a.example/x");
        let with = |profile: Option<&str>| Webhook { profile: profile.map(Into::into), ..other.clone() };
        let given = webhook("b", "https://a.example/x");
        let detail = refused("distinct_urls = true", vec![other.clone()], &given);
        assert_eq!(detail, "url: webhook \"a\" has this URL already, and the profile shop allows each once");
        let disabled = Webhook { enabled: false, ..other.clone() };
        refused("distinct_urls = true", vec![disabled], &given);
        allowed("", vec![other.clone()], &given);
        allowed("distinct_urls = true", vec![with(None)], &given);
        allowed("distinct_urls = true", vec![with(Some("fair"))], &given);
        allowed("distinct_urls = true", vec![other.clone()], &other);
        allowed("distinct_urls = true", vec![other], &webhook("b", "https://a.example/X"));
    }

    fn client(base_url: &str, authorization: Option<Authorization>) -> Client {
        Client {
            id: "hr".parse().unwrap(),
            base_url: base_url.parse().unwrap(),
            authorization: authorization.map(Box::new),
            headers: Headers::default(),
            route: crate::model::Route::default(),
            profile: None,
            description: String::new(),
            created_at: UnixMs(0),
            updated_at: UnixMs(0),
        }
    }

    #[test]
    fn a_webhook_and_its_clients_authorization_do_not_share_a_header() {
        let in_header = |name: &str| {
            let value = Secret::new("v".to_owned());
            Some(Authorization::Header { name: name.to_owned(), value })
        };
        let secret = || Secret::new("s".to_owned());
        let path = || UrlTemplate::parse("/x").unwrap();
        let plain = Webhook::new(
            "a".parse().unwrap(),
            Target::Client { client: "hr".parse().unwrap(), path: path() },
            UnixMs(0),
        );
        let sent_in = |header: &str| Webhook {
            password: Some(secret()),
            password_header: Some(header.into()),
            ..plain.clone()
        };
        let signed_in = |header: &str| {
            let secrets = vec![SigningSecret { secret: secret(), until: None }];
            let signature = Signature::Hex { header: header.to_owned(), secrets };
            Webhook { signature: Some(Box::new(signature)), ..plain.clone() }
        };
        let with_header = Webhook { headers: Headers([("x-key".into(), secret())].into()), ..plain.clone() };
        let with_default = Webhook { password: Some(secret()), ..plain.clone() };
        for (webhook, name, member) in [
            (&with_header, "x-key", Some("headers")),
            (&with_header, "x-other", None),
            (&with_default, "x-tt-webhook-password", Some("password_header")),
            (&with_default, "x-key", None),
            (&sent_in("x-key"), "x-key", Some("password_header")),
            (&sent_in("x-key"), "x-tt-webhook-password", None),
            (&Webhook { password_header: Some("x-key".into()), ..plain.clone() }, "x-key", None),
            (&signed_in("x-key"), "x-key", Some("signature")),
            (&signed_in("x-key"), "authorization", None),
            // Its own goes out instead of the client's.
            (
                &Webhook { authorization: in_header("x-mine").map(Box::new), ..with_header.clone() },
                "x-key",
                None,
            ),
            (&Webhook { target: Target::Url(path()), ..with_header.clone() }, "x-key", None),
        ] {
            let catalogue = Catalogue::default();
            let client = client("https://a.example/", in_header(name));
            let mut org = Org::clone(&org(None, vec![]));
            org.clients = std::iter::once(client.clone()).collect();
            let refused = check_webhook(&catalogue, &org, webhook).err().map(|refused| match refused {
                NotAllowed::ClientsHeader { member, header, client } => {
                    assert_eq!((&*header, client.as_str()), (name, "hr"));
                    member
                }
                other => panic!("{other}"),
            });
            assert_eq!(refused, member, "{name}");
            // The other way round.
            org.webhooks = std::iter::once(webhook.clone()).collect();
            let refused = check_client(&catalogue, &org, &client).err().map(|refused| match refused {
                NotAllowed::WebhooksHeader { member, header, webhook } => {
                    assert_eq!((&*header, webhook.as_str()), (name, "a"));
                    member
                }
                other => panic!("{other}"),
            });
            assert_eq!(refused, member, "{name}");
        }
    }

    #[test]
    fn behind_a_client_the_whole_url_counts() {
        let other = webhook("a", "https://a.example/base/x");
        let mut org = Org::clone(&org(None, vec![other]));
        let client = client("https://a.example/base/", None);
        org.clients = std::iter::once(client).collect();
        let path = UrlTemplate::parse("/x").unwrap();
        let target = Target::Client { client: "hr".parse().unwrap(), path };
        let given = Webhook { target, ..webhook("b", "https://b.example/") };
        let refused =
            |profile: &str| check_webhook(&catalogue(profile), &org, &given).unwrap_err().to_string();
        assert!(refused("distinct_urls = true").starts_with("path: webhook \"a\" has this URL"));
        assert_eq!(refused("max_chars = 23"), "path: the profile shop allows 23 characters");
        assert_eq!(check_webhook(&catalogue("max_chars = 24"), &org, &given), Ok(()));
    }
}
