//! The types of what is asked for from outside take their examples, and refuse what is broken, naming the place.

use serde_json::{Value, json};

use super::payloads::{fault, needs, refuses, taken};
use super::requests::names;
use super::{example, with, without};

/// The types keep to the product's document, as those of what goes out do.
#[test]
fn payloads_of_requests_keep_to_their_document() {
    let wrong = |names: &str, value: &Value| -> Vec<(String, Value)> {
        names.split(' ').map(|name| (format!("/parameters/{name}"), value.clone())).collect()
    };
    for (event, name) in names() {
        let event_type = format!("trackingtime.inbound.{event}");
        let base = example(&event_type);
        assert_eq!(base["event_name"], json!(name));
        needs(&event_type, &base, "", "event_name account_id parameters source");
        needs(&event_type, &base, "/source", "service");
        refuses(
            &event_type,
            &base,
            [
                ("/event_name", json!("task.update")),
                ("/webhook_id", json!("7")),
                ("/account_id", json!("1725")),
                ("/user_id", json!("79634")),
                ("/parameters", json!([])),
                ("/source", json!("SLACK")),
                ("/source/service", json!("slack")),
                ("/source/delivery_id", json!(7)),
                ("/source/actor", json!({})),
                ("/source/received_at", json!("2024-05-02 13:00:00")),
                ("/source/received_at", json!(null)),
            ],
        );
        let lone = with(
            without(without(base.clone(), "/webhook_id"), "/user_id"),
            [("/source", json!({"service": "JSON"}))],
        );
        taken(&event_type, &lone);
        taken(&event_type, &with(base.clone(), [("/user_id", Value::Null), ("/more", json!(1))]));
        // What each parameter must be like: whole numbers, texts that may be empty, texts that may not, times.
        let (whole, any, some, times) = match event {
            "project.add" => ("", "notes", "name customer service", ""),
            "project.close" => ("id", "", "name", ""),
            "task.add" => ("project_id priority user_id list_id", "", "name project", "due_date"),
            "task.close" => ("id", "", "name project", ""),
            "task.track" => ("task_id project_id", "timezone notes", "task_name project_name", "date"),
            "task.stop" => ("task_id", "timezone", "task_name", "date"),
            "time_entry.add" => {
                ("task_id project_id user_id duration", "notes", "task_name project", "start end")
            }
            _ => ("id", "", "", ""),
        };
        for (names, broken, right) in [
            (whole, vec![json!(1.5), json!("1"), Value::Null], json!(7)),
            (any, vec![json!(7), Value::Null], json!("")),
            (some, vec![json!(7), Value::Null, json!("")], json!("x")),
            (times, vec![json!(7), json!("2024-05-02T10:00:00Z"), json!("")], json!("2024-05-02 10:00:00")),
        ] {
            for (pointer, right) in wrong(names, &right).iter().filter(|_| !names.is_empty()) {
                taken(&event_type, &with(base.clone(), [(pointer, right.clone())]));
                for value in &broken {
                    refuses(&event_type, &base, [(pointer, value.clone())]);
                }
            }
        }
    }
}

#[test]
fn parameters_of_requests_are_those_of_their_document() {
    let parameters = |event: &str, parameters: Value, at: Option<&str>| {
        let event_type = format!("trackingtime.inbound.{event}");
        let payload = with(example(&event_type), [("/parameters", parameters)]);
        assert_eq!(fault(&event_type, &payload).as_deref(), at, "{event}: {payload}");
    };
    let place = Some("/parameters");
    for (event, given, at) in [
        ("project.add", json!({"customer": "Acme"}), place),
        ("project.close", json!({}), place),
        ("project.close", json!({"id": 1}), None),
        ("task.add", json!({"project": "Website"}), place),
        ("task.add", json!({"name": "x", "estimated_time": 1.5, "json": [1]}), None),
        ("task.add", json!({"name": "x", "estimated_time": "1"}), Some("/parameters/estimated_time")),
        ("task.close", json!({"project": "Website"}), place),
        ("task.close", json!({"id": 1}), None),
        ("task.track", json!({"date": "2024-05-02 10:00:00"}), place),
        ("task.track", json!({"task_id": 1}), None),
        ("task.track", json!({"project_id": 1}), None),
        ("task.track", json!({"project_name": "x", "tags": [{}], "json": null}), None),
        ("task.track", json!({"task_id": 1, "tags": ["x"]}), Some("/parameters/tags/0")),
        ("task.track", json!({"task_id": 1, "return_task": 1}), Some("/parameters/return_task")),
        (
            "task.track",
            json!({"task_id": 1, "stop_running_task": "no"}),
            Some("/parameters/stop_running_task"),
        ),
        ("task.track", json!({"task_id": 1, "estimated_time": null}), Some("/parameters/estimated_time")),
        ("task.stop", json!({}), None),
        ("time_entry.add", json!({"start": "2024-05-02 10:00:00"}), place),
        ("time_entry.add", json!({"end": "2024-05-02 10:00:00"}), place),
        ("time_entry.add", json!({"start": "2024-05-02 10:00:00", "duration": 0}), None),
        (
            "time_entry.add",
            json!({"start": "2024-05-02 10:00:00", "duration": -1}),
            Some("/parameters/duration"),
        ),
        (
            "time_entry.add",
            json!({"start": "2024-05-02 10:00:00", "duration": 1, "is_billable": 1}),
            Some("/parameters/is_billable"),
        ),
        ("time_entry.delete", json!({}), place),
    ] {
        parameters(event, given, at);
    }
}
