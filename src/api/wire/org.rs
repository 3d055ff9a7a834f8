//! Orgs: settings in, settings and the state of the queue out. PURE.

use serde::Serialize;

use super::delivery::QueuedOut;
use super::webhook::description;
use super::{Members, PauseOut};
use crate::model::{OrgId, OrgSettings, UnixMs};
use crate::serving::problem::Problem;

const PLAN_MAX: usize = 128;

/// Reads the body of `PUT /v1/orgs/{org}`. What is not given gets its default.
pub(in crate::api) fn read_org(body: &[u8], now: UnixMs) -> Result<OrgSettings, Problem> {
    let members = Members::parse(body, &["plan", "limits", "description"])?;
    let plan = members.text("plan")?;
    let fits = |plan: &str| (1..=PLAN_MAX).contains(&plan.len()) && !plan.chars().any(char::is_control);
    if plan.as_deref().is_some_and(|plan| !fits(plan)) {
        let rule = format!("must have 1 to {PLAN_MAX} bytes and no control characters; null means none");
        return Err(members.invalid("plan", rule));
    }
    let limits = members.object("limits", &["deliveries", "bytes", "webhooks"])?;
    let limit = |name: &str| match &limits {
        Some(limits) => match limits.value(name, "a whole number above 0")? {
            Some(0_u64) => {
                Err(limits.invalid(name, "must be above 0; null means that the org has none of its own"))
            }
            limit => Ok(limit),
        },
        None => Ok(None),
    };
    Ok(OrgSettings {
        plan: plan.map(Into::into),
        max_deliveries: limit("deliveries")?,
        max_bytes: limit("bytes")?,
        max_webhooks: limit("webhooks")?,
        description: description(&members)?,
        created_at: now,
        updated_at: now,
    })
}

/// An org as shown.
#[derive(Serialize)]
pub(in crate::api) struct OrgOut<'a> {
    pub(in crate::api) id: &'a OrgId,
    pub(in crate::api) plan: Option<&'a str>,
    pub(in crate::api) limits: LimitsOut,
    pub(in crate::api) description: &'a str,
    pub(in crate::api) created_at: UnixMs,
    pub(in crate::api) updated_at: UnixMs,
    pub(in crate::api) webhooks: usize,
    pub(in crate::api) queue: QueueOut,
    pub(in crate::api) dead_letters: u64,
}

/// The limits in force: the org's own, or the daemon's; of webhooks, none if only their profiles bound them.
#[derive(Serialize)]
pub(in crate::api) struct LimitsOut {
    pub(in crate::api) deliveries: u64,
    pub(in crate::api) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::api) webhooks: Option<u64>,
}

/// An org's queue in short.
#[derive(Serialize)]
pub(in crate::api) struct QueueOut {
    pub(in crate::api) depth: u64,
    pub(in crate::api) bytes: u64,
    pub(in crate::api) state: &'static str,
    pub(in crate::api) oldest_at: Option<UnixMs>,
    pub(in crate::api) paused: Option<PauseOut>,
    pub(in crate::api) head: Option<QueuedOut>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(body: &str, field: &str) {
        let problem =
            read_org(body.as_bytes(), UnixMs(0)).err().unwrap_or_else(|| panic!("accepted: {body}"));
        assert_eq!(problem.field.as_deref(), Some(field), "{body}");
    }

    #[test]
    fn everything_may_be_left_out() {
        let settings = read_org(b"{}", UnixMs(7)).unwrap();
        assert_eq!((settings.plan, settings.max_deliveries, settings.max_bytes), (None, None, None));
        assert_eq!((settings.created_at, settings.description.as_str()), (UnixMs(7), ""));
        let settings = read_org(
            br#"{"plan":"pro","limits":{"deliveries":5,"bytes":null,"webhooks":40},"description":"x"}"#,
            UnixMs(0),
        )
        .unwrap();
        assert_eq!(
            (settings.plan.as_deref(), settings.max_deliveries, settings.max_bytes, settings.max_webhooks),
            (Some("pro"), Some(5), None, Some(40))
        );
    }

    #[test]
    fn each_wrong_field_is_named() {
        refused(r#"{"plan":""}"#, "/plan");
        refused(r#"{"plan":7}"#, "/plan");
        refused(r#"{"limits":7}"#, "/limits");
        refused(r#"{"limits":{"deliveries":0}}"#, "/limits/deliveries");
        refused(r#"{"limits":{"bytes":-1}}"#, "/limits/bytes");
        refused(r#"{"limits":{"webhooks":0}}"#, "/limits/webhooks");
        refused(r#"{"limits":{"events":1}}"#, "/limits/events");
        refused(r#"{"description":7}"#, "/description");
        refused(r#"{"name":"x"}"#, "/name");
    }
}
