//! Large numbers: a backlog and a restart with it, many orgs, many events through one store.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Bench;
use super::daemon::Daemon;
use super::deliver::{delivered, scaled};
use super::load::{self, Stop};
use super::report::Report;
use super::rows::{Measured, Scenario};

/// The rows `memory-*` and `start-waiting`.
pub async fn waiting(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    const ORGS: usize = 100;
    // Heads that hang while the backlog is built and are due at once after the restart.
    const WEBHOOK: &str =
        r#","timeout":"60s","retry":{"attempts":100,"first_delay":"100ms","factor":1,"max_delay":"100ms"}"#;
    if !bench.begins(Scenario::Waiting) {
        return Ok(());
    }
    let mut daemon = bench.daemon("waiting").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = daemon.resident_mib()?;
    if bench.wants("memory-idle") {
        report.rows.push(Measured::plain("memory-idle", idle, ""));
    }
    if !bench.wants("memory-waiting") && !bench.wants("start-waiting") {
        return Ok(());
    }
    let orgs = daemon.configure("org", ORGS, &bench.url("/late"), WEBHOOK).await?;
    bench.receiver.answer_late(false);
    let events = Stop::After(bench.sizes.waiting);
    load::ndjson(&daemon.socket(), &orgs, &bench.payloads, events).await?;
    let note = size_note(bench, bench.sizes.waiting, "waiting");
    if bench.wants("memory-waiting") {
        let more = daemon.resident_mib()? - idle;
        report.rows.push(Measured::plain("memory-waiting", more, note.clone()));
    }
    if bench.wants("start-waiting") {
        daemon.kill()?;
        bench.receiver.answer_late(true);
        let (before, start) = (bench.receiver.received(), Instant::now());
        let first = async {
            bench.receiver.wait_for(before + 1).await?;
            anyhow::Ok(start.elapsed())
        };
        let (ready, first) = tokio::join!(daemon.spawn(), first);
        ready?;
        report.rows.push(Measured::plain("start-waiting", first?.as_secs_f64(), note));
    }
    Ok(())
}

/// The rows `orgs-*`.
pub async fn orgs(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    const ACTIVE: usize = 1_000;
    if !bench.begins(Scenario::Orgs) {
        return Ok(());
    }
    let mut many = bench.daemon("many").await?;
    let mut active = many.configure("org", bench.sizes.orgs, &bench.url("/ok"), "").await?;
    let note = size_note(bench, active.len() as u64, "orgs");
    active.truncate(ACTIVE);
    many.kill()?;
    let ready = many.spawn().await?;
    if bench.wants("orgs-start") {
        report.rows.push(Measured::plain("orgs-start", ready.as_secs_f64(), note.clone()));
    }
    if bench.wants("orgs-memory") {
        report.rows.push(Measured::plain("orgs-memory", many.resident_mib()?, note.clone()));
    }
    if bench.wants("orgs-throughput") {
        let few = bench.daemon("few").await?;
        few.configure("org", ACTIVE, &bench.url("/ok"), "").await?;
        // As many for both: enough for one round, as far as the round before can tell.
        let events = Cell::new(2_000);
        let round = bench.sizes.round;
        let run = async |daemon: &Daemon, events: u64| {
            let mut feed = async |events| {
                load::ndjson(&daemon.socket(), &active, &bench.payloads, Stop::After(events)).await
            };
            delivered(bench, daemon, &mut feed, events).await
        };
        let rounds = bench
            .alternate(
                async || {
                    let rate = run(&few, events.get()).await?;
                    events.set(scaled(rate, round));
                    Ok(rate)
                },
                async || run(&many, events.get()).await,
            )
            .await?;
        report.rows.extend(Measured::paired("orgs-throughput", &rounds, note));
    }
    Ok(())
}

/// The row `store-size`: bursts that are waited for, so that the queue stays short.
pub async fn store_size(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    const BURST: u64 = 2_000;
    if !bench.begins(Scenario::StoreSize) {
        return Ok(());
    }
    let daemon = bench.daemon("churn").await?;
    let orgs = daemon.configure("org", 64, &bench.url("/ok"), "").await?;
    let mut feed =
        async |events| load::ndjson(&daemon.socket(), &orgs, &bench.payloads, Stop::After(events)).await;
    for _ in 0..bench.sizes.churn / BURST {
        delivered(bench, &daemon, &mut feed, BURST).await?;
    }
    let note = size_note(bench, bench.sizes.churn, "events");
    report.rows.push(Measured::plain("store-size", daemon.store_mib()?, note));
    Ok(())
}

/// The size a row was measured at; honest where it is not the one that the goal is about.
fn size_note(bench: &Bench<'_>, count: u64, what: &str) -> String {
    let reduced = if bench.sizes.full { "" } else { "; reduced, --full for the goal's size" };
    format!("{count} {what}{reduced}")
}
