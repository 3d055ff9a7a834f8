//! What requests of sources ask `TrackingTime` for: commands that people type, what GitHub tells, and plain requests.

use bytes::Bytes;
use serde_json::{Value, json};

use super::payloads::fault;
use super::{AT, LIMITS, example, shipped_files, with, without};
use crate::catalogue::files::REQUESTS_FILE;
use crate::catalogue::rules::Refused;
use crate::catalogue::{Catalogue, IncomingRequest, Mapped, RequestRefused};
use crate::model::OrgNumber;

/// A request, and what must come of it: types with what their payloads have beside account and time, and an answer.
struct Case {
    kind: &'static str,
    event: Option<&'static str>,
    body: Value,
    events: Vec<(&'static str, Value)>,
    answer: Option<String>,
}

impl Case {
    fn came(&self, catalogue: &Catalogue, source: &str, org: &str) -> Result<Mapped, RequestRefused> {
        let request = IncomingRequest {
            product: "trackingtime",
            kind: self.kind,
            source,
            event: self.event,
            id: Some("d-1"),
            body: &Bytes::from(self.body.to_string()),
            at: AT,
            org: &org.parse().unwrap(),
            org_number: OrgNumber(7),
        };
        catalogue.map(&request, &LIMITS)
    }

    /// What is otherwise than the case says. Each payload must be one that its type takes.
    fn check(&self, catalogue: &Catalogue) -> Result<(), String> {
        let came = self.came(catalogue, "outside", "acme").map_err(|refused| format!("{refused:?}"))?;
        let mut events = Vec::new();
        for event in &came.events {
            let payload: Value = serde_json::from_slice(&event.payload).unwrap();
            if let Some(place) = fault(event.event_type.as_str(), &payload) {
                return Err(format!("{payload} is wrong at {place}"));
            }
            let (account, at) = (&payload["account_id"], &payload["source"]["received_at"]);
            if (account, at) != (&json!(7), &json!("2024-05-02T11:30:00Z")) {
                return Err(format!("{payload} has a wrong account or time"));
            }
            let payload = without(without(payload, "/account_id"), "/source/received_at");
            let name = event.event_type.as_str().strip_prefix("trackingtime.inbound.").unwrap();
            events.push((name.to_owned(), payload));
        }
        let expected: Vec<_> =
            self.events.iter().map(|(name, payload)| ((*name).to_owned(), payload.clone())).collect();
        if events == expected && came.answer == self.answer {
            return Ok(());
        }
        Err(format!("{events:?} {:?} instead of {expected:?} {:?}", came.answer, self.answer))
    }
}

/// A slash command, as Slack posts it.
fn slash(command: &str, text: &str) -> Value {
    json!({
        "token": "tok", "team_id": "T0001", "channel_name": "test", "user_id": "U0000007", "user_name": "dana",
        "command": command, "text": text, "response_url": "https://hooks.slack.com/commands/T0001/1/abc",
        "trigger_id": "d-1",
    })
}

fn by_slack(name: &str, parameters: &Value) -> Value {
    json!({"event_name": name, "parameters": parameters, "source": {
        "service": "SLACK", "delivery_id": "d-1", "actor": "dana",
        "response_url": "https://hooks.slack.com/commands/T0001/1/abc",
    }})
}

/// A command from Slack that becomes the event that the product calls so.
fn done(typed: (&str, &str), name: &str, parameters: &Value, answer: &str) -> Case {
    let (event, _) = names().into_iter().find(|(_, known)| *known == name).unwrap();
    let events = vec![(event, by_slack(name, parameters))];
    Case {
        kind: "slack",
        event: None,
        body: slash(typed.0, typed.1),
        events,
        answer: Some(answer.to_owned()),
    }
}

/// A command from Slack that is only answered.
fn told(command: &str, text: &str, answer: &str) -> Case {
    let body = slash(command, text);
    Case { kind: "slack", event: None, body, events: vec![], answer: Some(answer.to_owned()) }
}

fn nothing(kind: &'static str, event: Option<&'static str>, body: Value) -> Case {
    Case { kind, event, body, events: vec![], answer: None }
}

fn track(text: &str, task: &str, project: Option<&str>) -> Case {
    let (parameters, answer) = match project {
        Some(project) => {
            (json!({"task_name": task, "project_name": project}), format!("Tracking {task} in {project}"))
        }
        None => (json!({"task_name": task}), format!("Tracking {task}")),
    };
    done(("/track", text), "task.track", &parameters, &answer)
}

fn commands() -> Vec<Case> {
    let time =
        json!({"start": "2024-05-02 10:00:00", "end": "2024-05-02 11:30:00", "task_name": "Landing page"});
    let in_website = with(time.clone(), [("/project", json!("Website"))]);
    let from = "from 2024-05-02 10:00:00 to 2024-05-02 11:30:00";
    vec![
        track("Landing page in Website", "Landing page", Some("Website")),
        track("[Landing page] in [Website]", "Landing page", Some("Website")),
        track("Write report", "Write report", None),
        track("in Website", "in Website", None),
        done(("/stop", ""), "task.stop", &json!({}), "Stopped"),
        done(("/stop", "Check in"), "task.stop", &json!({"task_name": "Check in"}), "Stopped Check in"),
        done(
            ("/project", "add Website for Acme"),
            "project.add",
            &json!({"name": "Website", "customer": "Acme"}),
            "Added project Website for Acme",
        ),
        done(
            ("/project", "add Website"),
            "project.add",
            &json!({"name": "Website"}),
            "Added project Website",
        ),
        done(
            ("/project", "close Website"),
            "project.close",
            &json!({"name": "Website"}),
            "Closed project Website",
        ),
        done(
            ("/task", "add Fix footer in Website"),
            "task.add",
            &json!({"name": "Fix footer", "project": "Website"}),
            "Added task Fix footer in Website",
        ),
        done(
            ("/task", "Close Fix footer"),
            "task.close",
            &json!({"name": "Fix footer"}),
            "Closed task Fix footer",
        ),
        done(
            ("/time", &format!("add Landing page {from}")),
            "event.add",
            &time,
            "Added time for Landing page",
        ),
        done(
            ("/time", &format!("add Landing page in Website {from}")),
            "event.add",
            &in_website,
            "Added time for Landing page in Website",
        ),
        done(
            ("/time", "delete 22176912"),
            "event.delete",
            &json!({"id": 22_176_912}),
            "Deleted time entry 22176912",
        ),
        Case {
            body: without(slash("/stop", ""), "/text"),
            ..done(("", ""), "task.stop", &json!({}), "Stopped")
        },
        nothing(
            "slack",
            None,
            json!({"type": "event_callback", "event": {"type": "message", "text": "/stop"}}),
        ),
        nothing("slack", None, json!([])),
    ]
}

/// What is half a command, or none.
fn half_commands() -> Vec<Case> {
    let track = "Usage: /track [task] in [project]";
    let time = "Usage: /time add [task] in [project] from [start] to [end], times like 2024-05-02 10:00:00";
    vec![
        told("/track", "", track),
        told("/track", "[] in Website", track),
        told("/time", "add Landing page from 10 to 11", time),
        told("/time", "add Landing page from 2024-05-02 10:00:00", time),
        told("/time", "add from 2024-05-02 10:00:00 to 2024-05-02 11:30:00", time),
        told("/time", "delete it", "Usage: /time delete [id]"),
        told("/time", "delete 1234567890123456", "Usage: /time delete [id]"),
        told("/project", "add", "Usage: /project add [name] for [customer]"),
        told("/task", "close", "Usage: /task close [name] in [project]"),
        // No command yet: what could follow is told.
        told("/project", "open x", "Usage: /project add [name] for [customer] or /project close [name]"),
        told("/task", "", "Usage: /task add [name] in [project] or /task close [name] in [project]"),
        told("/TIME", "x", "Usage: /time add [task] in [project] from [start] to [end] or /time delete [id]"),
        told("/other", "x", track),
    ]
}

fn message(text: &str, from: &Value) -> Value {
    json!({"event": "room_message", "webhook_id": "31", "item": {
        "message": {"id": "m", "from": from, "message": text}, "room": {"id": 77, "name": "Web team"},
    }})
}

fn messages() -> Vec<Case> {
    let event = |actor: &str| {
        json!({"event_name": "task.track", "parameters": {"task_name": "Landing page", "project_name": "Website"},
            "source": {"service": "HIPCHAT", "delivery_id": "d-1", "actor": actor}})
    };
    let typed = |from: Value, actor: &str| Case {
        kind: "hipchat",
        event: None,
        body: message("/track Landing page in Website", &from),
        events: vec![("task.track", event(actor))],
        answer: Some("Tracking Landing page in Website".to_owned()),
    };
    let usage = nothing("hipchat", None, message("/track", &json!("dana")));
    vec![
        typed(json!({"id": 501, "mention_name": "dana", "name": "Dana Kim"}), "dana"),
        typed(json!("Dana"), "Dana"),
        Case { answer: Some("Usage: /track [task] in [project]".to_owned()), ..usage },
        nothing("hipchat", None, message("Good morning in Paris", &json!("dana"))),
        nothing("hipchat", None, message("/project of the year", &json!("dana"))),
        nothing("hipchat", None, json!({"event": "room_enter", "item": {"room": {}}})),
    ]
}

fn github(action: &str) -> Value {
    json!({"action": action, "issue": {"number": 12, "title": "Fix footer"},
        "repository": {"id": 7001, "name": "website", "full_name": "acme/website"},
        "sender": {"login": "dana-dev", "id": 1}})
}

fn tellings() -> Vec<Case> {
    let asks = |event: &'static str, action: &str, name: &'static str, parameters: Value| {
        let payload = json!({"event_name": name, "parameters": parameters,
            "source": {"service": "GITHUB", "delivery_id": "d-1", "actor": "dana-dev"}});
        Case { events: vec![(name, payload)], ..nothing("github", Some(event), github(action)) }
    };
    let task = json!({"name": "Fix footer", "project": "website"});
    vec![
        asks("issues", "opened", "task.add", task.clone()),
        asks("issues", "closed", "task.close", task),
        asks("repository", "created", "project.add", json!({"name": "website"})),
        asks("repository", "archived", "project.close", json!({"name": "website"})),
        nothing("github", Some("issues"), github("reopened")),
        nothing("github", Some("repository"), github("deleted")),
        nothing("github", Some("pull_request"), github("opened")),
        nothing("github", Some("push"), without(github("opened"), "/action")),
        nothing("github", None, github("opened")),
        nothing("github", Some("issues"), with(github("x"), [("/event_name", json!("task.add"))])),
    ]
}

/// The product's name for each type.
pub(super) fn names() -> [(&'static str, &'static str); 8] {
    [
        ("project.add", "project.add"),
        ("project.close", "project.close"),
        ("task.add", "task.add"),
        ("task.close", "task.close"),
        ("task.track", "task.track"),
        ("task.stop", "task.stop"),
        ("time_entry.add", "event.add"),
        ("time_entry.delete", "event.delete"),
    ]
}

fn plain() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, service) in
        [("token", "JSON"), ("hmac", "JSON"), ("standard", "STANDARD_WEBHOOKS"), ("stripe", "STRIPE")]
    {
        for (event, name) in names() {
            let parameters = example(&format!("trackingtime.inbound.{event}"))["parameters"].clone();
            let body = json!({"event_name": name, "user_id": 79634, "parameters": parameters});
            let payload = with(
                body.clone(),
                [("/source", json!({"service": service, "delivery_id": "d-1", "actor": null}))],
            );
            cases.push(Case { events: vec![(event, payload)], ..nothing(kind, None, body) });
        }
        cases.push(nothing(kind, Some("task.add"), json!({"event_name": "task.update", "parameters": {}})));
    }
    let own =
        json!({"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": {"id": "in_1"}}});
    cases.extend([
        nothing("stripe", None, own),
        nothing("standard", None, json!({"type": "contact.created", "data": {"id": "1f81eb52"}})),
        nothing("token", None, json!({"command": "/stop", "text": ""})),
        nothing("token", None, json!("task.add")),
        nothing("token", None, json!({"event_name": ["task.add"]})),
        nothing("slack", None, json!({"event_name": "task.add", "parameters": {"name": "x"}})),
    ]);
    cases
}

fn cases() -> Vec<Case> {
    commands().into_iter().chain(half_commands()).chain(messages()).chain(tellings()).chain(plain()).collect()
}

#[test]
fn every_request_comes_to_what_is_documented() {
    let catalogue = Catalogue::shipped();
    for case in cases() {
        if let Err(found) = case.check(&catalogue) {
            panic!("{} {:?} {}: {found}", case.kind, case.event, case.body);
        }
    }
    assert_eq!(catalogue.request_products().collect::<Vec<_>>(), ["trackingtime"]);
}

/// Every rule has a case that it is for, and one that it is not for: without it, or if it always held, some case would
/// come out otherwise.
#[test]
fn every_rule_for_requests_has_a_case_that_it_is_for_and_one_that_it_is_not_for() {
    const HEAD: &str = "[[rules]]\nwhen = \"";
    let cases = cases();
    let shipped = shipped_files().into_iter().find(|files| files.name() == "trackingtime").unwrap();
    let text = &shipped.texts[REQUESTS_FILE];
    let heads: Vec<usize> = text.match_indices(HEAD).map(|(at, _)| at + HEAD.len()).collect();
    assert_eq!(heads.len(), text.matches("[[rules]]").count());
    for (rule, when) in (0..heads.len()).flat_map(|rule| [(rule, "false"), (rule, "true")]) {
        let (before, after) = text.split_at(heads[rule]);
        let changed = format!("{before}{when}\"\n{}", after.split_once("\"\n").unwrap().1);
        let mut files = shipped.clone();
        files.texts.insert(REQUESTS_FILE.to_owned(), changed.into());
        let catalogue = Catalogue::read(&[files]).unwrap();
        let is_seen = cases.iter().any(|case| case.check(&catalogue).is_err());
        assert!(is_seen, "nothing shows that rule {rule} must not be {when} always");
    }
}

#[test]
fn an_account_and_a_webhook_that_are_numbers_are_the_products() {
    let plain = nothing("token", None, json!({"event_name": "task.stop", "parameters": {}}));
    let catalogue = Catalogue::shipped();
    for (source, org, webhook, account) in [
        ("42", "1725", json!(42), 1725),
        ("042", "acme", json!(42), 7),
        ("4x", "1725x", Value::Null, 7),
        ("1234567890123456", "1234567890123456", Value::Null, 7),
    ] {
        let came = plain.came(&catalogue, source, org).unwrap();
        let payload: Value = serde_json::from_slice(&came.events[0].payload).unwrap();
        assert_eq!((&payload["webhook_id"], &payload["account_id"]), (&webhook, &json!(account)), "{source}");
        assert_eq!(payload.get("webhook_id").is_none(), webhook.is_null());
        assert_eq!(payload.get("user_id"), None);
    }
}

#[test]
fn parameters_stay_as_they_were_sent_and_what_is_missing_is_named() {
    let catalogue = Catalogue::shipped();
    let body = r#"{"parameters": { "name":"Caf\u00e9",  "estimated_time": 1.50, "x": [ ] },"event_name":"task.add"}"#;
    let request = |body: &'static str, kind| IncomingRequest {
        product: "trackingtime",
        kind,
        source: "shop",
        event: Some("issues"),
        id: None,
        body: Box::leak(Box::new(Bytes::from_static(body.as_bytes()))),
        at: AT,
        org: Box::leak(Box::new("acme".parse().unwrap())),
        org_number: OrgNumber(7),
    };
    let came = catalogue.map(&request(body, "hmac"), &LIMITS).unwrap();
    let payload = std::str::from_utf8(&came.events[0].payload).unwrap();
    let expected = r#"{"event_name":"task.add","account_id":7,"parameters":{ "name":"Caf\u00e9",  "estimated_time": 1.50, "x": [ ] },"source":{"service":"JSON","delivery_id":null,"actor":null,"received_at":"2024-05-02T11:30:00Z"}}"#;
    assert_eq!(payload, expected);
    for (body, kind, at) in [
        (r#"{"event_name":"task.add"}"#, "token", "/body/parameters"),
        (r#"{"action":"opened","repository":{"name":"x"}}"#, "github", "/body/issue"),
        ("not json", "token", "/body"),
    ] {
        let refused = catalogue.map(&request(body, kind), &LIMITS).unwrap_err();
        let RequestRefused::Rules(Refused::Failed { field, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(field, at, "{body}");
    }
}
