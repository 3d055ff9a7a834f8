//! Telling the service manager how we are: ready, reloading, stopping, alive. Without one, all of this does nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Whether events are taken: the one word of what `systemctl status` shows that outlives a reload.
static TAKES: AtomicBool = AtomicBool::new(true);

/// Ready to do what the status says.
pub fn ready() {
    send(&[NotifyState::Ready, status()]);
}

/// From now on events are taken, or refused for want of disk space.
pub fn taking(takes: bool) {
    TAKES.store(takes, Ordering::Relaxed);
    send(&[status()]);
}

fn status() -> NotifyState<'static> {
    NotifyState::Status(if TAKES.load(Ordering::Relaxed) {
        "ready: taking and delivering events"
    } else {
        "the disk is below its reserve: refusing events, delivering what waits"
    })
}

/// The store has failed; the process is about to end.
pub fn failed() {
    send(&[NotifyState::Stopping, NotifyState::Status("the store has failed: ending, to be started again")]);
}

/// Reading the configuration again; [`ready`] ends it. From systemd 253 on the time is compulsory.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock to announce the reload"),
    }
}

/// Does what takes long before [`ready`], and keeps the service manager from giving up meanwhile.
pub fn while_compacting<T>(work: impl FnOnce() -> T) -> T {
    /// How long the start may take from each time that this is said.
    const EXTENSION: Duration = Duration::from_secs(60);
    std::thread::scope(|scope| {
        let (working, ended) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            let still = [NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status("compacting the store")];
            send(&still);
            while ended.recv_timeout(EXTENSION / 3) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                send(&still);
            }
        });
        let done = work();
        drop(working);
        done
    })
}

/// On the way out.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping: attempts in flight are ending")]);
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
                    limit_s = limit.as_secs_f64(),
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
