//! `postrider reload`: the daemon reads its configuration again, and this waits for what it makes of it.

use http::Method;
use serde_json::Value;

use super::exit::Result;
use super::{Context, output};

/// Exits 78 if the file is bad; the old configuration is then still in force.
pub(super) async fn run(context: &Context) -> Result<()> {
    let answer = context.admin()?.call(Method::POST, "/v1/reload", None).await?;
    output::done(context.global.json, &answer, &said(&answer))
}

/// In force, but for what is read at the start only.
fn said(answer: &Value) -> String {
    let waiting = answer.get("waiting_for_restart").map(output::shown).unwrap_or_default();
    let but = if waiting.is_empty() { String::new() } else { format!("; after a restart also: {waiting}") };
    format!("the configuration is reloaded and in force{but}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_said() {
        let in_force = "the configuration is reloaded and in force";
        assert_eq!(said(&json!({"reloaded": true, "waiting_for_restart": []})), in_force);
        let waiting = json!({"reloaded": true, "waiting_for_restart": ["store.cache_bytes", "log.format"]});
        assert_eq!(
            said(&waiting),
            format!("{in_force}; after a restart also: store.cache_bytes, log.format")
        );
    }
}
