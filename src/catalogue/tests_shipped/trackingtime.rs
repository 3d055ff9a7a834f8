//! TrackingTime: what happens to projects, tasks and time entries, and who did it.

use serde_json::{Value, json};

use super::{Case, example, fires, play, with, without};
use crate::catalogue::Catalogue;

fn entity(event_type: &str) -> Value {
    example(event_type)["data"].clone()
}

/// The payload of an event without its id, from an account and a user.
fn told(object: &str, name: &str, data: &Value, account: i64, user: &Value) -> Value {
    json!({
        "event_name": name, "account_id": account, "user_id": user, "created_at": "2024-05-02 11:30:00",
        "object": object, "data": data,
    })
}

/// Projects are told when they are added and closed.
pub(super) fn projects() -> Vec<Case> {
    let (open, closed) = (entity("trackingtime.project.added"), entity("trackingtime.project.closed"));
    let (added, closing) = ("trackingtime.project.added", "trackingtime.project.closed");
    let renamed = with(open.clone(), [("/name", json!("Other"))]);
    let told = |name, data: &Value| told("project", name, data, 7, &Value::Null);
    vec![
        fires("added", Value::Null, open.clone(), [(added, told("project.add", &open))]),
        fires("closed", open.clone(), closed.clone(), [(closing, told("project.close", &closed))]),
        fires("renamed", open.clone(), renamed, []),
        fires("closed before", closed.clone(), with(closed.clone(), [("/name", json!("Other"))]), []),
        fires("opened again", closed.clone(), open.clone(), []),
        fires("added as a closed one", Value::Null, closed, []),
        fires("deleted", open, Value::Null, []),
    ]
}

const ADDED: &str = "trackingtime.task.added";
const UPDATED: &str = "trackingtime.task.updated";
const STARTED: &str = "trackingtime.task.tracking_started";
const STOPPED: &str = "trackingtime.task.tracking_stopped";
const CLOSED: &str = "trackingtime.task.closed";

/// Tasks are told from their first minute to their last.
pub(super) fn tasks() -> Vec<Case> {
    let idle = entity(ADDED);
    let running = entity(STARTED);
    let stopped = entity(STOPPED);
    let closed = entity(CLOSED);
    let of = |name: &'static str, data: &Value| {
        let product = match name {
            ADDED => "task.add",
            UPDATED => "task.update",
            STARTED => "task.track",
            STOPPED => "task.stop",
            _ => "task.close",
        };
        (name, told("task", product, data, 1725, &Value::Null))
    };
    let renamed = |task: &Value| with(task.clone(), [("/name", json!("Landing page v2"))]);
    let assigned = with(idle.clone(), [("/users/0/id", json!(79635)), ("/user/id", json!(79635))]);
    let bare = without(idle.clone(), "/billing");
    let resting = with(running.clone(), [("/tracking", json!(false)), ("/accumulated_time", json!(60))]);
    let ended = with(closed.clone(), [("/end_date", Value::Null)]);
    let cut = with(running.clone(), [("/tracking", json!(false)), ("/is_archived", json!(true))]);
    vec![
        fires("added", Value::Null, idle.clone(), [of(ADDED, &idle)]),
        fires(
            "added and tracked at once",
            Value::Null,
            running.clone(),
            [of(ADDED, &running), of(STARTED, &running)],
        ),
        fires("added as a closed one", Value::Null, closed.clone(), []),
        fires("renamed", idle.clone(), renamed(&idle), [of(UPDATED, &renamed(&idle))]),
        fires("assigned", idle.clone(), assigned.clone(), [of(UPDATED, &assigned)]),
        fires("something new", bare.clone(), idle.clone(), [of(UPDATED, &idle)]),
        fires("something gone", idle.clone(), bare.clone(), [of(UPDATED, &bare)]),
        fires("tracked", idle.clone(), running.clone(), [of(STARTED, &running)]),
        fires("still tracked", running.clone(), running.clone(), []),
        fires("stopped", running.clone(), stopped.clone(), [of(STOPPED, &stopped)]),
        fires("only time passed", resting, idle.clone(), []),
        fires(
            "renamed and tracked",
            idle.clone(),
            renamed(&running),
            [of(UPDATED, &renamed(&running)), of(STARTED, &renamed(&running))],
        ),
        fires("closed", stopped.clone(), closed.clone(), [of(UPDATED, &closed), of(CLOSED, &closed)]),
        fires(
            "closed, nothing else",
            with(ended.clone(), [("/is_archived", json!(false))]),
            ended.clone(),
            [of(CLOSED, &ended)],
        ),
        fires(
            "closed while it was tracked",
            running.clone(),
            cut.clone(),
            [of(STOPPED, &cut), of(CLOSED, &cut)],
        ),
        fires(
            "opened again",
            ended.clone(),
            with(ended.clone(), [("/is_archived", json!(false))]),
            [of(UPDATED, &with(ended, [("/is_archived", json!(false))]))],
        ),
        fires("deleted", idle, Value::Null, []),
        fires("deleted while it was tracked", running, Value::Null, []),
    ]
}

const ENTRY_ADDED: &str = "trackingtime.time_entry.added";
const ENTRY_UPDATED: &str = "trackingtime.time_entry.updated";
const ENTRY_DELETED: &str = "trackingtime.time_entry.deleted";

/// Time entries are told until they are deleted.
pub(super) fn time_entries() -> Vec<Case> {
    let (first, second) = (entity(ENTRY_ADDED), entity(ENTRY_UPDATED));
    let told = |name, data: &Value| told("event", name, data, 7, &json!(79634));
    vec![
        fires("added", Value::Null, first.clone(), [(ENTRY_ADDED, told("event.created", &first))]),
        fires("changed", first.clone(), second.clone(), [(ENTRY_UPDATED, told("event.updated", &second))]),
        fires("not changed", first.clone(), first.clone(), []),
        fires("deleted", second.clone(), Value::Null, [(ENTRY_DELETED, told("event.deleted", &second))]),
    ]
}

/// Account and user are numbers of the product: what the entity or the actor says, else the org and nobody.
#[test]
fn the_account_and_who_acted_are_found() {
    let entry = entity(ENTRY_ADDED);
    let owned = with(entry.clone(), [("/account_id", json!(1725))]);
    let nobody = with(entry.clone(), [("/user_id", json!(0))]);
    let by = |actor: Value, data: &Value, account: i64, user: i64| Case {
        actor,
        ..fires(
            "by an actor",
            Value::Null,
            data.clone(),
            [(ENTRY_ADDED, told("event", "event.created", data, account, &json!(user)))],
        )
    };
    let cases = [
        by(json!({"account_id": 1, "user_id": 2, "id": 3}), &entry, 1, 2),
        by(json!({"accountId": 4, "userId": 5, "id": 3}), &entry, 4, 5),
        by(json!({"id": 6}), &entry, 7, 6),
        by(json!({"account_id": 1, "user_id": null}), &owned, 1725, 79634),
        by(json!({"id": "someone", "account_id": "1"}), &entry, 7, 79634),
        by(json!("someone"), &nobody, 7, 0),
        by(json!([1, 2]), &entry, 7, 79634),
    ];
    play(&Catalogue::shipped(), "trackingtime.time_entry", &cases);
}
