use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::delivery::testing::delivery;
use crate::model::{Headers, Route, UnixMs};

fn parsed(text: &str) -> UrlTemplate {
    UrlTemplate::parse(text).unwrap()
}

fn hook(target: Target) -> Webhook {
    Webhook::new("orders".parse().unwrap(), target, UnixMs(0))
}

fn client(base_url: &str) -> Client {
    Client {
        id: "jira".parse().unwrap(),
        base_url: base_url.parse().unwrap(),
        authorization: None,
        headers: Headers::default(),
        route: Route::default(),
        profile: None,
        description: String::new(),
        created_at: UnixMs(0),
        updated_at: UnixMs(0),
    }
}

/// An event of `absence.event.created` with this payload and these attributes.
fn event(payload: &str, attributes: &[(&str, &str)]) -> Delivery {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Delivery {
        event_type: "absence.event.created".parse().unwrap(),
        attributes: attributes.iter().map(own).collect(),
        ..delivery(1, "evt_1", payload.as_bytes())
    }
}

fn sent(url: &str, event: &Delivery) -> Result<String, DeadReason> {
    let webhook = hook(Target::Url(parsed(url)));
    address(event, &webhook, None, &crate::catalogue::Catalogue::shipped())
        .map(|addressed| addressed.uri.to_string())
}

fn sent_to(base_url: &str, path: &str, event: &Delivery) -> Result<String, DeadReason> {
    let webhook = hook(Target::Client { client: "jira".parse().unwrap(), path: parsed(path) });
    address(event, &webhook, Some(&client(base_url)), &crate::catalogue::Catalogue::shipped())
        .map(|addressed| addressed.uri.to_string())
}

#[test]
fn a_url_without_variables_goes_out_as_it_is() {
    let event = event("not read", &[]);
    for url in ["https://a.example/x?y=%7Bz%7D", "http://127.0.0.1:8080/", "https://[::1]:9/a/../b"] {
        assert_eq!(sent(url, &event).unwrap(), url);
    }
}

#[test]
fn a_path_follows_its_clients_url() {
    let event = event(r#"{"id":7}"#, &[]);
    for (base, path, url) in [
        ("https://a.example", "", "https://a.example/"),
        ("https://a.example", "/x", "https://a.example/x"),
        ("https://a.example/v1", "", "https://a.example/v1"),
        ("https://a.example/v1/", "", "https://a.example/v1/"),
        ("https://a.example/v1", "/x?y=1", "https://a.example/v1/x?y=1"),
        ("https://a.example/v1/", "/x/", "https://a.example/v1/x/"),
        ("https://a.example:8443/v1/", "/{eventId}", "https://a.example:8443/v1/7"),
        ("http://[::1]:80/", "/events/{eventId}?id={eventId}", "http://[::1]/events/7?id=7"),
        ("https://a.example", "//b.example/{eventId}", "https://a.example//b.example/7"),
    ] {
        assert_eq!(sent_to(base, path, &event).unwrap(), url);
    }
    let webhook = hook(Target::Client { client: "jira".parse().unwrap(), path: parsed("/x") });
    assert_eq!(
        address(&event, &webhook, None, &crate::catalogue::Catalogue::shipped()).unwrap_err(),
        DeadReason::WebhookDeleted
    );
}

#[test]
fn values_come_from_attributes_and_then_from_the_payload() {
    let payload = r#"{ "id" : 1.50e+3, "eventType": {"id": true, "key": "\u00dcr/1"}, "seat": "7" }"#;
    let url = "https://a.example/{eventId}/{typeId}/{typeKey}";
    assert_eq!(sent(url, &event(payload, &[])).unwrap(), "https://a.example/1.50e%2B3/true/%C3%9Cr%2F1");
    assert_eq!(
        sent(url, &event(payload, &[("typeId", "x")])).unwrap(),
        "https://a.example/1.50e%2B3/x/%C3%9Cr%2F1"
    );
    // The payload is not even read where attributes have it all.
    let all = [("eventId", "a"), ("typeId", "b"), ("typeKey", "c")];
    assert_eq!(sent(url, &event("{", &all)).unwrap(), "https://a.example/a/b/c");
    // What the catalogue does not name is not looked for.
    assert_eq!(sent("https://a.example/{seat}", &event(payload, &[])), Err(DeadReason::MissingVariable));
    // The product's own name of a type, and a type that nobody knows.
    let changed = Delivery {
        event_type: "CalendarEventChanged".parse().unwrap(),
        ..event(r#"{"new":{"id":"e7"}}"#, &[])
    };
    assert_eq!(sent("https://a.example/{eventId}", &changed).unwrap(), "https://a.example/e7");
    let unknown = Delivery { event_type: "order.placed".parse().unwrap(), ..event(r#"{"id":7}"#, &[]) };
    assert_eq!(sent("https://a.example/{eventId}", &unknown), Err(DeadReason::MissingVariable));
}

#[test]
fn without_a_value_there_is_no_url() {
    let url = "https://a.example/{eventId}";
    for payload in [
        "{}",
        r#"{"id":null}"#,
        r#"{"id":""}"#,
        r#"{"id":[]}"#,
        r#"{"id":{}}"#,
        r#"{"ID":1}"#,
        "[1]",
        "7",
        "null",
    ] {
        assert_eq!(sent(url, &event(payload, &[])), Err(DeadReason::MissingVariable), "{payload}");
    }
    // Case counts, and an empty attribute is the event's own answer.
    let given = event("{}", &[("eventid", "1"), ("EventId", "1")]);
    assert_eq!(sent(url, &given), Err(DeadReason::MissingVariable));
    assert_eq!(sent(url, &event(r#"{"id":7}"#, &[("eventId", "")])), Err(DeadReason::MissingVariable));
}

#[test]
fn the_variable_at_fault_can_be_named() {
    let webhook = hook(Target::Url(parsed("https://a.example/{eventId}/{typeKey}/{seat}")));
    let fault = |payload: &str| {
        at_fault(&event(payload, &[("seat", "1")]), &webhook, &crate::catalogue::Catalogue::shipped())
            .map(str::to_owned)
    };
    assert_eq!(fault(r#"{"id":7}"#).as_deref(), Some("typeKey"));
    assert_eq!(fault(r#"{"id":"\ud800"}"#).as_deref(), Some("eventId"));
    assert_eq!(fault(r#"{"id":"..","eventType":{"key":"VAC"}}"#), None);
}

#[test]
fn a_value_is_one_segment_whatever_is_in_it() {
    let url = "https://a.example/x/{eventId}/y?z={eventId}";
    for (value, encoded) in [
        ("abc-._~XYZ019", "abc-._~XYZ019"),
        ("a/b", "a%2Fb"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a?b=c&d#e", "a%3Fb%3Dc%26d%23e"),
        ("a b+c%20", "a%20b%2Bc%2520"),
        ("%2e%2e", "%252e%252e"),
        ("@evil.example:1", "%40evil.example%3A1"),
        ("\\", "%5C"),
        ("{eventId}{typeId}", "%7BeventId%7D%7BtypeId%7D"),
        ("ä€😀", "%C3%A4%E2%82%AC%F0%9F%98%80"),
        ("\0\r\nhost: evil", "%00%0D%0Ahost%3A%20evil"),
        ("!$'()*,;[]|^`\"<>\u{7f}", "%21%24%27%28%29%2A%2C%3B%5B%5D%7C%5E%60%22%3C%3E%7F"),
        ("...", "..."),
    ] {
        let event = event("{}", &[("eventId", value)]);
        let url = sent(url, &event).unwrap_or_else(|reason| panic!("{value:?}: {reason}"));
        assert_eq!(url, format!("https://a.example/x/{encoded}/y?z={encoded}"));
    }
}

#[test]
fn values_that_would_make_it_another_url_are_refused() {
    let refused = |url: &str, value: &str| {
        assert_eq!(
            sent(url, &event("{}", &[("v", value)])),
            Err(DeadReason::InvalidVariable),
            "{url} {value}"
        );
    };
    for dots in [".", ".."] {
        refused("https://a.example/x/{v}", dots);
        refused("https://a.example/x/{v}/y", dots);
        refused("https://a.example/{v}?x", dots);
        assert!(sent("https://a.example/x?y={v}", &event("{}", &[("v", dots)])).is_ok());
        assert!(sent("https://a.example/x/a{v}", &event("{}", &[("v", dots)])).is_ok());
    }
    refused("https://a.example/x/.{v}", ".");
    refused("https://a.example/x/{v}{v}", ".");
    // Saving such templates is refused; they still lead nowhere.
    refused("https://a.example/%{v}", "2e");
    refused("https://a.example/x/.%2{v}/y", "e");
    refused("https://{v}/", "a.example");
    refused("https://a.{v}/", "example");
    refused("https://a.example{v}", "x");
    refused("https://a.example:{v}/", "443");
    refused("https://u@a.example/{v}", "x");
    refused("https://a.example/#{v}", "x");
    refused("{v}://a.example/", "https");
    refused("{v}", "x");
    refused("ftp://a.example/{v}", "x");
    let half = event(r#"{"id":"\ud800"}"#, &[]);
    assert_eq!(sent("https://a.example/{eventId}", &half), Err(DeadReason::InvalidVariable));
}

#[test]
fn a_url_has_at_most_8_kib() {
    let room = RENDERED_MAX - "https://a.example/".len();
    let sent = |length: usize| {
        let payload = format!(r#"{{"id":"{}"}}"#, "x".repeat(length));
        sent("https://a.example/{eventId}", &event(&payload, &[]))
    };
    assert_eq!(sent(room).unwrap().len(), RENDERED_MAX);
    assert_eq!(sent(room + 1), Err(DeadReason::InvalidVariable));
    assert_eq!(sent(1 << 20), Err(DeadReason::InvalidVariable));
}

/// Renders with values by name; a name without one is missing.
fn rendered(
    base: &str,
    template: &UrlTemplate,
    values: &BTreeMap<String, String>,
) -> Result<String, DeadReason> {
    let value = |name: &str| values.get(name).map(Cow::from).ok_or(DeadReason::MissingVariable);
    render(base, template, value)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap();
        bytes.push(if byte == b'%' { u8::try_from(digit() * 16 + digit()).unwrap() } else { byte });
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn each_variable_is_asked_for_once_per_place_and_its_value_is_not_looked_into() {
    let asked = Cell::new(0);
    let value = |name: &str| {
        assert_eq!(name, "a");
        asked.set(asked.get() + 1);
        Ok(Cow::from("{b}{a}"))
    };
    let url = render("", &parsed("https://a.example/{a}?{a}"), value).unwrap();
    assert_eq!(url, "https://a.example/%7Bb%7D%7Ba%7D?%7Bb%7D%7Ba%7D");
    assert_eq!(asked.get(), 2);
}

proptest! {
    /// A receiver that splits the URL and decodes its parts gets each value whole, in its place.
    #[test]
    fn every_value_arrives_whole(a in "\\PC{1,12}|[.%/{}a]{1,4}|.{1,5}", b in "\\PC{0,12}|.{0,5}") {
        let values = BTreeMap::from([("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())]);
        match rendered("", &parsed("https://a.example:8443/x/{a}/y?p={b}&q={a}"), &values) {
            Err(reason) => prop_assert!(a == "." || a == "..", "{:?}: {}", a, reason),
            Ok(text) => {
                let url = Url::parse(&text).unwrap();
                prop_assert_eq!(url.as_str(), &text);
                let segments: Vec<_> = url.path_segments().unwrap().map(decoded).collect();
                prop_assert_eq!(segments, ["x", &a, "y"]);
                let pairs: Vec<_> = url.query().unwrap().split('&').map(decoded).collect();
                prop_assert_eq!(pairs, [format!("p={b}"), format!("q={a}")]);
            }
        }
    }

    /// Whatever the template, even one that could not be saved, and whatever the values: what comes out is what the
    /// parser reads, at the host that stands in the template.
    #[test]
    fn the_host_never_changes(
        base in "|https://a\\.example|http://b\\.example:81/v1",
        start in "https?://[a-c]|https?://[a-c.@:/?#{}\\\\%-]{0,6}|[a-z:/.{}]{0,8}",
        rest in "(\\{[a-c]\\}/)?([a-c.@:/?#\\\\%&=2e -]|\\{[a-c]\\}){0,12}",
        values in proptest::collection::btree_map("[a-c]", "\\PC{0,6}|[.@:/?#\\\\%2e]{0,4}|[a-c.]{1,3}", 3),
    ) {
        let text = if base.is_empty() { format!("{start}{rest}") } else { rest };
        if let Ok(template) = UrlTemplate::parse(&text)
            && let Ok(rendered) = rendered(&base, &template, &values)
        {
            let url = Url::parse(&rendered).unwrap();
            prop_assert_eq!(url.as_str(), &rendered);
            let fixed = format!("{base}{text}");
            let untouched = Url::parse(fixed.split('{').next().unwrap()).unwrap();
            prop_assert_eq!(url.origin(), untouched.origin(), "{}", fixed);
            prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
            prop_assert!(Uri::try_from(rendered.as_str()).is_ok_and(|uri| uri.host() == url.host_str()));
        }
    }
}
