//! `postrider status`: the daemon in numbers.

use serde_json::Value;

use super::exit::{Exit, Failure, Result};
use super::{Context, output};

/// Exits 2 if the daemon does not accept events as it should; its numbers say why.
pub(super) async fn run(context: &Context) -> Result<()> {
    let status = context.admin()?.get("/v1/status").await?;
    if context.global.json {
        output::json(&status)?;
    } else {
        output::pairs(output::leaves(&status))?;
    }
    if is_full(&status) {
        return Err(Failure::new(
            Exit::NotFound,
            "the queues of all orgs together are full: events are refused",
        ));
    }
    if accepts(&status) { Ok(()) } else { Err(Failure::silent(Exit::NotFound)) }
}

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
    fn a_daemon_that_refuses_events_is_not_well() {
        assert!(accepts(&json!({"store": {"health": "accepting"}, "draining": false})));
        assert!(!accepts(&json!({"store": {"health": "disk-full"}, "draining": false})));
        assert!(!accepts(&json!({"store": {"health": "failed"}, "draining": false})));
        assert!(!accepts(&json!({"store": {"health": "accepting"}, "draining": true})));
        assert!(is_full(&json!({"limits": {"used": 1.0}})) && !is_full(&json!({"limits": {"used": 0.999}})));
    }
}
