//! `postrider status`: the daemon in a sentence, and in numbers.

use serde_json::Value;

use super::exit::{Exit, Failure, Result};
use super::{Context, output};

/// Exits 2 if the daemon does not accept events as it should; its numbers say why.
pub(super) async fn run(context: &Context) -> Result<()> {
    let status = context.admin()?.get("/v1/status").await?;
    if context.global.json {
        output::json(&status)?;
    } else {
        let mut rows = vec![("summary".to_owned(), summary(&status))];
        rows.extend(output::leaves(&status));
        output::pairs(rows)?;
    }
    if is_full(&status) {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "{FULL}: events are refused\n`postrider shape` says whose deliveries wait and `postrider why ORG` why; \
                 queue.max_total_deliveries and queue.max_total_bytes are the limit"
            ),
        ));
    }
    if accepts(&status) { Ok(()) } else { Err(Failure::silent(Exit::NotFound)) }
}

const FULL: &str = "the queues of all orgs together are full";

/// What an operator wants to know first, in one sentence; every part of it is among the numbers as well.
fn summary(status: &Value) -> String {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str);
    let mut parts = vec![if status.get("draining").and_then(Value::as_bool) == Some(true) {
        "stops, and takes no events".to_owned()
    } else if text("/store/health") != Some("accepting") {
        format!("REFUSES EVENTS: {}", text("/store/detail").unwrap_or("the store does not accept writes"))
    } else if is_full(status) {
        format!("REFUSES EVENTS: {FULL}")
    } else {
        "takes events".to_owned()
    }];
    parts.push(match number("/counts/deliveries") {
        0 => "nothing waits".to_owned(),
        1 => "1 delivery waits".to_owned(),
        waiting => format!("{waiting} deliveries wait"),
    });
    for (pointer, one, more) in [
        ("/queues/delayed", "queue waits for a retry", "queues wait for a retry"),
        ("/queues/held", "queue is held", "queues are held"),
        ("/counts/dead_letters", "dead letter", "dead letters"),
        ("/counts/quarantined", "RECORD SET ASIDE", "RECORDS SET ASIDE"),
    ] {
        if number(pointer) > 0 {
            parts.push(output::count(number(pointer), one, more));
        }
    }
    // Less is the time that a start takes.
    if number("/oldest_due_age_ms") >= LATE_MS {
        parts.push(format!("the oldest is late by {} s", number("/oldest_due_age_ms") / 1000));
    }
    parts.join(", ")
}

/// From then on what is due counts as late.
const LATE_MS: u64 = 1000;

/// Whether what waits in all queues is at its limit.
fn is_full(status: &Value) -> bool {
    status.pointer("/limits/used").and_then(Value::as_f64).is_some_and(|used| used >= 1.0)
}

fn accepts(status: &Value) -> bool {
    let store = status.pointer("/store/health").and_then(Value::as_str);
    let draining = status.get("draining").and_then(Value::as_bool);
    store == Some("accepting") && draining != Some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_line_says_what_matters() {
        let well =
            json!({"store": {"health": "accepting"}, "counts": {"deliveries": 0}, "oldest_due_age_ms": 20});
        assert_eq!(summary(&well), "takes events, nothing waits");
        let busy = json!({"store": {"health": "accepting"}, "limits": {"used": 0.5}, "oldest_due_age_ms": 61_000,
            "counts": {"deliveries": 12, "dead_letters": 1, "quarantined": 1}, "queues": {"delayed": 2, "held": 1}});
        assert_eq!(
            summary(&busy),
            "takes events, 12 deliveries wait, 2 queues wait for a retry, 1 queue is held, 1 dead letter, \
             1 RECORD SET ASIDE, the oldest is late by 61 s"
        );
        let full =
            json!({"store": {"health": "accepting"}, "limits": {"used": 1.0}, "counts": {"deliveries": 1}});
        assert_eq!(
            summary(&full),
            "REFUSES EVENTS: the queues of all orgs together are full, 1 delivery waits"
        );
        let low = json!({"store": {"health": "disk-full", "detail": "free disk space is below the reserve"}});
        assert!(summary(&low).starts_with("REFUSES EVENTS: free disk space is below the reserve, "));
        assert!(summary(&json!({"draining": true, "store": {"health": "accepting"}})).starts_with("stops"));
    }

    #[test]
    fn a_daemon_that_refuses_events_is_not_well() {
        assert!(accepts(&json!({"store": {"health": "accepting"}, "draining": false})));
        assert!(!accepts(&json!({"store": {"health": "disk-full"}, "draining": false})));
        assert!(!accepts(&json!({"store": {"health": "failed"}, "draining": false})));
        assert!(!accepts(&json!({"store": {"health": "accepting"}, "draining": true})));
        assert!(is_full(&json!({"limits": {"used": 1.0}})) && !is_full(&json!({"limits": {"used": 0.999}})));
    }
}
