//! Telling the service manager how we are: ready, reloading, stopping, alive. Without one, all of this does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Ready to take events.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reading the configuration again; [`ready`] ends it. From systemd 253 on the time is compulsory.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock to announce the reload"),
    }
}

/// On the way out.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping: attempts in flight are ending")]);
}

/// Starting takes longer than usual, for instance after a long backlog: `more` is granted from now.
pub fn extend_start(more: Duration) {
    send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))]);
}

/// Feeds the service manager's watchdog for as long as `progress` keeps growing; returns at once if there is none.
///
/// So a scheduler that is stuck gets the daemon restarted, though every timer still fires.
pub async fn feed_watchdog(progress: impl Fn() -> u64) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Twice per limit, as sd_watchdog_enabled(3) recommends: one look may come late.
    let mut looks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = None;
    let mut stuck = false;
    loop {
        looks.tick().await;
        let now = progress();
        if seen == Some(now) {
            if !stuck {
                tracing::error!(
                    limit_ms = limit.as_millis(),
                    "the scheduler makes no progress: the watchdog is not fed"
                );
            }
            stuck = true;
        } else {
            stuck = false;
            send(&[NotifyState::Watchdog]);
        }
        seen = Some(now);
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager does not take notifications");
    }
}
