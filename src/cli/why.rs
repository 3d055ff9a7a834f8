//! `postrider why`: one line on why an org's queue stands where it stands.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::exit::{Exit, Result};
use super::queue::last;
use super::transport::Transport;
use super::{Context, output};
use crate::clock;
use crate::model::{OrgId, UnixMs};

/// Of which org.
#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// The org.
    org: OrgId,
}

pub(super) async fn run(context: &Context, args: WhyArgs) -> Result<()> {
    let session = context.admin_or_store().await?;
    let said = ask(context, &session.api, &args.org).await;
    session.close().await;
    said
}

async fn ask(context: &Context, api: &Transport, name: &OrgId) -> Result<()> {
    let org = api.get(&format!("/v1/orgs/{name}")).await?;
    let head = org.pointer("/queue/head").cloned().unwrap_or_default();
    let webhook = match head.get("webhook").and_then(Value::as_str) {
        Some(id) => match api.get(&format!("/v1/orgs/{name}/webhooks/{id}")).await {
            Ok(webhook) => webhook,
            // It was deleted, which is the answer.
            Err(failure) if failure.exit == Exit::NotFound => Value::Null,
            Err(failure) => return Err(failure),
        },
        None => Value::Null,
    };
    let why = explain(&org, &webhook, clock::now());
    if context.global.json {
        return output::json(&json!({"org": name, "why": why, "queue": org.get("queue")}));
    }
    output::line(&output::plain(&format!("{name}: {why}")))
}

/// The line. `webhook` is where the head of the org's queue goes, null if that is gone.
fn explain(org: &Value, webhook: &Value, now: UnixMs) -> String {
    let queue = org.get("queue").unwrap_or(&Value::Null);
    let head = queue.get("head").unwrap_or(&Value::Null);
    let state = queue.get("state").and_then(Value::as_str).unwrap_or("idle");
    let paused = pause(queue);
    if head.is_null() {
        let idle = match org.get("dead_letters").and_then(Value::as_u64).unwrap_or(0) {
            0 => "nothing waits".to_owned(),
            dead => format!("nothing waits; {}", output::count(dead, "dead letter", "dead letters")),
        };
        return paused.map_or(idle.clone(), |paused| format!("{paused}, {idle}"));
    }
    let made = head.get("attempts").and_then(Value::as_u64).unwrap_or(0);
    let is_held = head.get("held").and_then(Value::as_bool) == Some(true);
    let mut parts: Vec<_> = paused.into_iter().collect();
    if is_held {
        parts.push("held after its last attempt until retry-now or skip".to_owned());
    }
    parts.push(format!("head {}", output::cell(head, "/id")));
    parts.push(format!("webhook {}", output::cell(head, "/webhook")));
    let number = made + 1;
    parts.push(match webhook.pointer("/retry/attempts").and_then(Value::as_u64) {
        _ if is_held => output::count(made, "attempt made", "attempts made"),
        Some(all) if number <= all => format!("attempt {number} of {all}"),
        _ => format!("attempt {number}"),
    });
    if head.get("last").is_some_and(Value::is_object) {
        // Of an answer the status says enough; without one the kind of failure is too little.
        let detail = head.pointer("/last/detail").and_then(Value::as_str).unwrap_or_default();
        let is_answered = head.pointer("/last/status").is_some_and(|status| !status.is_null());
        let more = if is_answered || detail.is_empty() { String::new() } else { format!(" ({detail})") };
        parts.push(format!("last {}{more}", last(head)));
    }
    if webhook.is_null() {
        parts.push("which is deleted: it becomes a dead letter when its turn comes".to_owned());
    } else if webhook.get("enabled").and_then(Value::as_bool) == Some(false) {
        parts.push("which is disabled: it becomes a dead letter when its turn comes".to_owned());
    }
    match state {
        "in-flight" => parts.push("in flight now".to_owned()),
        "delayed" => parts.push(next(head, now)),
        "ready" => parts.push("starts as soon as there is a slot".to_owned()),
        _ => {}
    }
    let behind = queue.get("depth").and_then(Value::as_u64).unwrap_or(1).saturating_sub(1);
    parts.push(if behind == 0 { "nothing behind it".to_owned() } else { format!("{behind} behind it") });
    parts.join(", ")
}

/// Why and since when the org is paused, if it is.
fn pause(queue: &Value) -> Option<String> {
    let paused = queue.get("paused").filter(|paused| paused.is_object())?;
    let mut text = "paused".to_owned();
    if let Some(at) = paused.get("at").and_then(Value::as_str) {
        text = format!("{text} since {at}");
    }
    if let Some(reason) = paused.get("reason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
        text = format!("{text} ({reason})");
    }
    Some(text)
}

/// When the next attempt is.
fn next(head: &Value, now: UnixMs) -> String {
    let Some(at) = head.get("not_before").and_then(Value::as_str).and_then(UnixMs::parse) else {
        return "waiting".to_owned();
    };
    let wait = at.since(now);
    if wait.is_zero() { "next now".to_owned() } else { format!("next in {}", rounded(wait)) }
}

/// `0.4 s`, `3.1 s`, `12 min`.
fn rounded(wait: Duration) -> String {
    let seconds = wait.as_secs_f64();
    if seconds < 120.0 { format!("{seconds:.1} s") } else { format!("{:.0} min", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_301_060_000);

    fn head() -> Value {
        json!({"id": "evt_1", "webhook": "orders", "attempts": 3, "not_before": "2026-11-21T22:44:23.100Z",
            "last": {"status": 503, "duration_ms": 120, "error": "status"}})
    }

    fn org(state: &str, depth: u64, head: &Value) -> Value {
        json!({"queue": {"state": state, "depth": depth, "head": head}, "dead_letters": 0})
    }

    fn webhook() -> Value {
        json!({"enabled": true, "retry": {"attempts": 10}})
    }

    #[track_caller]
    fn check(org: &Value, webhook: &Value, expected: &str) {
        assert_eq!(explain(org, webhook, NOW), expected);
    }

    #[test]
    fn a_waiting_head_is_told_in_one_line() {
        check(
            &org("delayed", 813, &head()),
            &webhook(),
            "head evt_1, webhook orders, attempt 4 of 10, last 503 after 120 ms, next in 3.1 s, 812 behind it",
        );
    }

    #[test]
    fn the_other_states_have_their_words() {
        let start = "head evt_1, webhook orders, attempt 4 of 10, last 503 after 120 ms";
        let in_flight = format!("{start}, in flight now, nothing behind it");
        check(&org("in-flight", 1, &head()), &webhook(), &in_flight);
        let ready = format!("{start}, starts as soon as there is a slot, 1 behind it");
        check(&org("ready", 2, &head()), &webhook(), &ready);
        let mut held = org("held", 2, &head());
        held["queue"]["paused"] = json!({"reason": "maintenance", "at": "2026-11-21T22:00:00.000Z"});
        let paused = format!("paused since 2026-11-21T22:00:00.000Z (maintenance), {start}, 1 behind it");
        check(&held, &webhook(), &paused);
    }

    #[test]
    fn a_held_head_and_a_pause_during_an_attempt_are_told() {
        let mut head = head();
        head["held"] = json!(true);
        check(
            &org("held", 3, &head),
            &webhook(),
            "held after its last attempt until retry-now or skip, head evt_1, webhook orders, 3 attempts made, \
             last 503 after 120 ms, 2 behind it",
        );
        let mut ending = org("in-flight", 1, &self::head());
        ending["queue"]["paused"] = json!({"at": "2026-11-21T22:00:00.000Z"});
        let why = explain(&ending, &webhook(), NOW);
        assert!(why.starts_with("paused since") && why.contains("in flight now"), "{why}");
    }

    #[test]
    fn an_empty_queue_has_nothing_to_explain() {
        check(&org("idle", 0, &Value::Null), &Value::Null, "nothing waits");
        let mut dead = org("idle", 0, &Value::Null);
        dead["dead_letters"] = json!(2);
        check(&dead, &Value::Null, "nothing waits; 2 dead letters");
        let mut held = org("held", 0, &Value::Null);
        held["queue"]["paused"] = json!({"at": "2026-11-21T22:00:00.000Z"});
        check(&held, &Value::Null, "paused since 2026-11-21T22:00:00.000Z, nothing waits");
    }

    #[test]
    fn a_webhook_that_takes_nothing_is_told() {
        let gone = explain(&org("ready", 1, &head()), &Value::Null, NOW);
        assert!(gone.contains("attempt 4, last") && gone.contains("which is deleted"), "{gone}");
        let disabled = explain(&org("ready", 1, &head()), &json!({"enabled": false}), NOW);
        assert!(disabled.contains("which is disabled"), "{disabled}");
    }

    #[test]
    fn a_failure_without_a_status_names_its_reason() {
        let mut head = head();
        head["last"] = json!({"status": null, "error": "timeout", "duration_ms": 10_000});
        let why = explain(&org("ready", 1, &head), &webhook(), NOW);
        assert!(why.contains("last timeout after 10000 ms,"), "{why}");
        head["last"]["detail"] = json!("no answer within 10s");
        let why = explain(&org("ready", 1, &head), &webhook(), NOW);
        assert!(why.contains("last timeout after 10000 ms (no answer within 10s),"), "{why}");
        // A status says it already.
        head["last"]["status"] = json!(503);
        let why = explain(&org("ready", 1, &head), &webhook(), NOW);
        assert!(why.contains("last 503 after 10000 ms,"), "{why}");
    }

    #[test]
    fn waits_are_rounded_for_people() {
        assert_eq!(rounded(Duration::from_millis(49)), "0.0 s");
        assert_eq!(rounded(Duration::from_millis(3149)), "3.1 s");
        assert_eq!(rounded(Duration::from_secs(720)), "12 min");
    }
}
