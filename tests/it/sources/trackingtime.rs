//! TrackingTime's document, the incoming half, from the sender to the application: commands of Slack and
//! `HipChat`, what GitHub tells, and plain JSON.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::senders::{FORM, JSON, Sender, form, site_with, slash};
use crate::support::{Daemon, Receiver, wait_until};

/// An account of the product, which is an org here.
const ORG: &str = "1725";

/// A source, named by a number as the product's webhooks are.
fn put(daemon: &Daemon<'_>, source: &str, kind: &'static str) -> Sender {
    Sender::put(daemon, ORG, source, kind, &Value::Null)
}

/// What comes of a request: its payload beside account, webhook and the time that it came.
struct Expected {
    name: &'static str,
    webhook: u32,
    user: Option<u32>,
    parameters: Value,
    source: Value,
}

/// Each payload is as it should be, and came between these two moments.
#[track_caller]
fn check(receiver: &Receiver, expected: &[Expected], before: Timestamp) {
    let received = receiver.at("/app");
    assert_eq!(received.len(), expected.len());
    for (request, expected) in received.iter().zip(expected) {
        let mut payload: Value = serde_json::from_slice(&request.body).unwrap();
        let at = payload["source"].as_object_mut().unwrap().remove("received_at").unwrap();
        let at: Timestamp = at.as_str().unwrap().parse().unwrap();
        assert!(at.as_second() >= before.as_second() && at <= request.at, "{at}");
        let mut all = json!({
            "event_name": expected.name, "webhook_id": expected.webhook, "account_id": 1725,
            "parameters": expected.parameters, "source": expected.source,
        });
        if let Some(user) = expected.user {
            all["user_id"] = json!(user);
        }
        assert_eq!(payload, all);
    }
}

/// What is typed in Slack, what it is called, its parameters and what is said to who typed it.
fn commands() -> Vec<(&'static str, &'static str, &'static str, Value, &'static str)> {
    let time = json!({"start": "2024-05-02 10:00:00", "end": "2024-05-02 11:30:00", "task_name": "Landing page",
        "project": "Website"});
    let text = "add Landing page in Website from 2024-05-02 10:00:00 to 2024-05-02 11:30:00";
    let task = json!({"name": "Fix footer", "project": "Website"});
    vec![
        (
            "/project",
            "add Website for Acme",
            "project.add",
            json!({"name": "Website", "customer": "Acme"}),
            "Added project Website for Acme",
        ),
        ("/task", "add Fix footer in Website", "task.add", task.clone(), "Added task Fix footer in Website"),
        (
            "/track",
            "Landing page in Website",
            "task.track",
            json!({"task_name": "Landing page", "project_name": "Website"}),
            "Tracking Landing page in Website",
        ),
        ("/stop", "", "task.stop", json!({}), "Stopped"),
        ("/time", text, "event.add", time, "Added time for Landing page in Website"),
        (
            "/time",
            "delete 22176912",
            "event.delete",
            json!({"id": 22_176_912}),
            "Deleted time entry 22176912",
        ),
        ("/task", "close Fix footer in Website", "task.close", task, "Closed task Fix footer in Website"),
        ("/project", "close Website", "project.close", json!({"name": "Website"}), "Closed project Website"),
    ]
}

#[test]
fn every_command_of_slack_arrives_in_order_and_is_answered() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org(ORG, &receiver.url("/app"), &json!({"events": ["trackingtime.inbound.*.*"]}));
    let (slack, before) = (put(&daemon, "7", "slack"), Timestamp::now());
    let mut expected = Vec::new();
    for (number, (command, text, name, parameters, answer)) in commands().into_iter().enumerate() {
        let id = format!("1714640000.42.{number}");
        let reply = slack.post(&slack.command(&id, command, text)).expect(200);
        assert_eq!(reply.text(), json!({"response_type": "ephemeral", "text": answer}).to_string());
        assert_eq!(reply.header("content-type"), Some(JSON));
        let source = json!({"service": "SLACK", "delivery_id": id, "actor": "dana",
            "response_url": "https://hooks.slack.com/commands/T0001/1/abc"});
        expected.push(Expected { name, webhook: 7, user: None, parameters, source });
        // What is only half said is told how it goes on, and nothing arrives.
        let usage = slack.post(&slack.command(&format!("{id}.half"), "/track", " ")).expect(200).json();
        assert_eq!(usage["text"], "Usage: /track [task] in [project]");
    }
    daemon.drained(ORG);
    check(&receiver, &expected, before);
    let types: Vec<_> = daemon.get(&format!("/v1/orgs/{ORG}/sources/7/requests"))["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|seen| (seen["verdict"].clone(), seen["event"].clone(), seen["events"].clone()))
        .take(2)
        .collect();
    assert_eq!(
        types,
        [(json!("unmapped"), json!("/track"), json!(0)), (json!("accepted"), json!("/project"), json!(1))]
    );
}

#[test]
fn half_a_command_is_told_how_it_goes_on() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org(ORG, &receiver.url("/app"), &json!({}));
    let (slack, hipchat) = (put(&daemon, "7", "slack"), put(&daemon, "8", "hipchat"));
    let time = "Usage: /time add [task] in [project] from [start] to [end]";
    for (number, (command, text, usage)) in [
        ("/track", "", "Usage: /track [task] in [project]".to_owned()),
        ("/task", "add", "Usage: /task add [name] in [project]".to_owned()),
        ("/task", "close", "Usage: /task close [name] in [project]".to_owned()),
        ("/project", "add", "Usage: /project add [name] for [customer]".to_owned()),
        ("/project", "close", "Usage: /project close [name]".to_owned()),
        ("/time", "add x from 10:00 to 11:00", format!("{time}, times like 2024-05-02 10:00:00")),
        ("/time", "delete it", "Usage: /time delete [id]".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("t-{number}");
        let said = slack.post(&slack.command(&id, command, text)).expect(200).json();
        assert_eq!(said, json!({"response_type": "ephemeral", "text": usage}), "{command} {text}");
        let body = message(&id, &format!("{command} {text}"));
        let said = hipchat.post(&hipchat.sign(JSON, "", body.to_string().as_bytes())).expect(200).json();
        assert_eq!((&said["message"], &said["message_format"]), (&json!(usage), &json!("text")));
    }
    // What people say to each other is none of ours.
    let body = message("m", "Good morning in Paris").to_string();
    assert_eq!(hipchat.post(&hipchat.sign(JSON, "", body.as_bytes())).expect(200).body, b"");
    assert!(daemon.queue(ORG).is_empty() && receiver.count() == 0);
}

/// A message in a room.
fn message(id: &str, text: &str) -> Value {
    json!({"event": "room_message", "item": {
        "message": {"id": id, "from": {"id": 501, "mention_name": "dana", "name": "Dana Kim"}, "message": text},
        "room": {"id": 77, "name": "Web team"},
    }})
}

#[test]
fn messages_of_hipchat_arrive_and_the_room_is_told() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org(ORG, &receiver.url("/app"), &json!({}));
    let (hipchat, before) = (put(&daemon, "8", "hipchat"), Timestamp::now());
    let mut expected = Vec::new();
    for (number, (command, text, name, parameters, answer)) in commands().into_iter().enumerate() {
        let id = format!("4c6d9a52-3f0b-4a57-9a5c-{number:012}");
        let body = message(&id, format!("{command} {text}").trim_end());
        let said = hipchat.post(&hipchat.sign(JSON, "", body.to_string().as_bytes())).expect(200).json();
        let notice = json!({"message": answer, "message_format": "text", "notify": false, "color": "green"});
        assert_eq!(said, notice);
        let source = json!({"service": "HIPCHAT", "delivery_id": id, "actor": "dana"});
        expected.push(Expected { name, webhook: 8, user: None, parameters, source });
    }
    daemon.drained(ORG);
    check(&receiver, &expected, before);
}

#[test]
fn what_github_tells_of_issues_and_repositories_arrives() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org(ORG, &receiver.url("/app"), &json!({}));
    let (github, before) = (put(&daemon, "9", "github"), Timestamp::now());
    let task = json!({"name": "Fix footer", "project": "website"});
    let mut expected = Vec::new();
    for (number, (event, action, name)) in [
        ("repository", "created", Some("project.add")),
        ("issues", "opened", Some("task.add")),
        ("issues", "labeled", None),
        ("issues", "closed", Some("task.close")),
        ("push", "opened", None),
        ("repository", "archived", Some("project.close")),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("5b1f2a90-08a6-11ef-9d3c-{number:012}");
        let body = json!({"action": action, "issue": {"number": 12, "title": "Fix footer"},
            "repository": {"id": 7001, "name": "website", "full_name": "acme/website"},
            "sender": {"login": "dana-dev", "id": 1}})
        .to_string();
        // As JSON and as a form, as the webhook's setting at GitHub says.
        let call = match number % 2 {
            0 => github.sign(JSON, &id, body.as_bytes()),
            _ => github.sign(FORM, &id, &form(&[("payload", &body)])),
        };
        let answer = github.post(&call.with("x-github-event", event)).expect(200).json();
        assert_eq!(answer["events"].as_array().unwrap().len(), usize::from(name.is_some()), "{event}");
        let parameters = if event == "issues" { task.clone() } else { json!({"name": "website"}) };
        let source = json!({"service": "GITHUB", "delivery_id": id, "actor": "dana-dev"});
        expected.extend(name.map(|name| Expected { name, webhook: 9, user: None, parameters, source }));
    }
    daemon.drained(ORG);
    check(&receiver, &expected, before);
}

#[test]
fn plain_json_arrives_with_its_parameters_as_they_were() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org(ORG, &receiver.url("/app"), &json!({}));
    let before = Timestamp::now();
    let kinds = [
        ("10", "token", "JSON"),
        ("11", "hmac", "JSON"),
        ("12", "standard", "STANDARD_WEBHOOKS"),
        ("13", "stripe", "STRIPE"),
    ];
    let mut expected = Vec::new();
    for (source, kind, service) in kinds {
        let sender = put(&daemon, source, kind);
        for (number, (_, _, name, mut parameters, _)) in commands().into_iter().enumerate() {
            // What the document has beside what can be typed stays along.
            parameters["json"] = json!({"é": [1.5, null]});
            let id = format!("d-{number}");
            let body = json!({"id": id, "event_name": name, "user_id": 79634, "parameters": parameters});
            let reply = sender.post(&sender.sign(JSON, &id, body.to_string().as_bytes())).expect(200).json();
            assert_eq!(reply["events"].as_array().unwrap().len(), 1, "{kind} {name}");
            let source_of = json!({"service": service, "delivery_id": id, "actor": null});
            let webhook = source.parse().unwrap();
            expected.push(Expected { name, webhook, user: Some(79634), parameters, source: source_of });
        }
    }
    daemon.drained(ORG);
    check(&receiver, &expected, before);
}

#[test]
fn webhooks_choose_by_service_actor_user_source_and_event() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org_only(ORG);
    let matching = [
        ("from-slack", json!({"match": {"service": "SLACK"}})),
        ("from-chats", json!({"match": {"service": ["SLACK", "HIPCHAT"]}})),
        ("by-dana", json!({"match": {"actor": "dana"}})),
        ("by-dana-dev", json!({"match": {"actor": "dana-dev", "service": "GITHUB"}})),
        ("for-user", json!({"match": {"userId": "79634"}})),
        ("for-other-user", json!({"match": {"userId": "79635"}})),
        ("at-source", json!({"match": {"source": "9"}})),
        ("of-kind", json!({"match": {"kind": "token"}})),
        ("called", json!({"match": {"event": "/stop"}})),
        ("tasks-only", json!({"events": ["trackingtime.inbound.task.*"], "match": {"kind": "token"}})),
        ("outgoing", json!({"events": ["task"]})),
    ];
    for (webhook, settings) in &matching {
        daemon.webhook(ORG, webhook, &receiver.url(&format!("/{webhook}")), settings);
    }
    let reached = |sender: &Sender, call| {
        let before = receiver.count();
        sender.post(&call).expect(200);
        daemon.drained(ORG);
        let mut reached: Vec<_> = receiver.received().drain(before..).map(|request| request.path).collect();
        reached.sort();
        reached.join(" ")
    };
    let (slack, hipchat) = (put(&daemon, "7", "slack"), put(&daemon, "8", "hipchat"));
    let (github, plain) = (put(&daemon, "9", "github"), put(&daemon, "10", "token"));
    assert_eq!(
        reached(&slack, slack.command("t-1", "/stop", "")),
        "/by-dana /called /from-chats /from-slack"
    );
    let said = message("m-1", "/stop").to_string();
    assert_eq!(reached(&hipchat, hipchat.sign(JSON, "", said.as_bytes())), "/by-dana /from-chats");
    let told = json!({"action": "opened", "issue": {"title": "x"}, "repository": {"name": "y"},
        "sender": {"login": "dana-dev"}})
    .to_string();
    let call = github.sign(JSON, "d-1", told.as_bytes()).with("x-github-event", "issues");
    assert_eq!(reached(&github, call), "/at-source /by-dana-dev");
    let ask = |id: &str, name: &str, user: u32| {
        let body = json!({"event_name": name, "user_id": user, "parameters": {"name": "x"}}).to_string();
        plain.sign(JSON, id, body.as_bytes())
    };
    assert_eq!(reached(&plain, ask("1", "task.add", 79634)), "/for-user /of-kind /tasks-only");
    assert_eq!(reached(&plain, ask("2", "project.add", 79635)), "/for-other-user /of-kind");
}

#[test]
fn slack_is_answered_at_once_and_again_when_the_application_is_done() {
    // It plays the application at one path, and Slack at another.
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org_only(ORG);
    daemon.webhook(ORG, "app", &receiver.url("/app"), &json!({"events": ["trackingtime.inbound.*.*"]}));
    let answers = receiver.url("/commands/{team}/{number}/{secret}");
    daemon.webhook(ORG, "answers", &answers, &json!({"events": ["slack.answer"]}));
    let slack = put(&daemon, "7", "slack");
    let response_url = receiver.url("/commands/T0001/5219817/k4naryOfSlack");
    let fields = slash("1714640000.42.1", "/track", "Landing page in Website", &response_url);
    let first = slack.post(&slack.sign(FORM, "", &form(&fields))).expect(200).json();
    assert_eq!(first["text"], "Tracking Landing page in Website");

    wait_until("the application has it", || receiver.at("/app").len() == 1);
    let asked: Value = serde_json::from_slice(&receiver.at("/app")[0].body).unwrap();
    let url = asked["source"]["response_url"].as_str().unwrap();
    let path = url.strip_prefix(&receiver.url("/commands/")).unwrap();
    let [team, number, secret] = path.split('/').collect::<Vec<_>>()[..] else { panic!("{path}") };
    let task = asked["parameters"]["task_name"].as_str().unwrap();
    let payload = json!({"response_type": "in_channel", "text": format!("{task} runs since 10:00")});
    let event = json!({"type": "slack.answer", "payload": payload,
        "attributes": {"team": team, "number": number, "secret": secret}});
    assert_eq!(daemon.enqueue(ORG, &event)["deliveries"], 1);
    daemon.drained(ORG);

    let said = receiver.at("/commands/T0001/5219817/k4naryOfSlack");
    assert_eq!((said.len(), receiver.count()), (1, 2));
    assert_eq!((&*said[0].method, said[0].header("content-type")), ("POST", JSON));
    assert_eq!(said[0].body, r#"{"response_type":"in_channel","text":"Landing page runs since 10:00"}"#);
    assert!(daemon.dead_letters(ORG).is_empty() && !site.log().contains("k4nary"));
}
