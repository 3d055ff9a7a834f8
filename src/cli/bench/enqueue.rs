//! Events in: every org is paused, so that nothing but accepting is measured.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use super::daemon::Daemon;
use super::load::{self, Stop};
use super::report::Report;
use super::rows::{Measured, Scenario};
use super::{Bench, payload, per_second};
use crate::queue::bare::BareStore;

const PRODUCERS: usize = 64;

/// The rows `enqueue-*`.
pub async fn rows(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if !bench.begins(Scenario::Enqueue) {
        return Ok(());
    }
    let daemon = bench.daemon("enqueue").await?;
    let orgs = paused_orgs(bench, &daemon).await?;
    let value: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(payload::SIZE).collect();
    let (socket, round) = (daemon.socket(), bench.sizes.round);

    if bench.wants("enqueue-1") {
        let mut file = File::create(bench.workspace.store("append"))?;
        let one = orgs.get(..1).unwrap_or_default();
        let mark = bench.mark(&daemon)?;
        let rounds = bench
            .alternate(
                async || Ok(append_and_sync(&mut file, &value, round)?),
                async || timed(bench, load::producers(&socket, one, &bench.payloads, stop(round))).await,
            )
            .await?;
        report.rows.extend(Measured::paired("enqueue-1", &rounds, bench.cost(&daemon, &mark)?));
    }
    if !bench.wants("enqueue-64") && !bench.wants("enqueue-stream") {
        return Ok(());
    }
    let mut bare = BareStore::open(&bench.workspace.store("bare"))?;
    if bench.wants("enqueue-64") {
        let mark = bench.mark(&daemon)?;
        let rounds = bench
            .alternate(
                async || group_commit(&mut bare, &value, round),
                async || timed(bench, load::producers(&socket, &orgs, &bench.payloads, stop(round))).await,
            )
            .await?;
        let note = format!("64 orgs; {}", bench.cost(&daemon, &mark)?);
        report.rows.extend(Measured::paired("enqueue-64", &rounds, note));
    }
    if bench.wants("enqueue-stream") {
        let mark = bench.mark(&daemon)?;
        let rounds = bench
            .alternate(
                async || group_commit(&mut bare, &value, round),
                async || timed(bench, load::ndjson(&socket, &orgs, &bench.payloads, stop(round))).await,
            )
            .await?;
        let note = format!("64 orgs in turn; {}", bench.cost(&daemon, &mark)?);
        report.rows.extend(Measured::paired("enqueue-stream", &rounds, note));
    }
    Ok(())
}

/// When a round that begins now ends.
pub fn stop(round: Duration) -> Stop {
    Stop::At(Instant::now() + round)
}

/// Events per second of a load.
pub async fn timed(
    bench: &Bench<'_>,
    load: impl Future<Output = anyhow::Result<u64>>,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let events = load.await?;
    bench.events.set(bench.events.get() + events);
    Ok(per_second(events, start.elapsed()))
}

/// Orgs that only take in.
pub async fn paused_orgs(bench: &Bench<'_>, daemon: &Daemon) -> anyhow::Result<Vec<String>> {
    let orgs = daemon.configure("org", PRODUCERS, &bench.url("/ok"), "").await?;
    let mut admin = daemon.admin().await?;
    for org in &orgs {
        admin.expect(Method::POST, &format!("/v1/orgs/{org}/pause"), Bytes::from_static(b"{}")).await?;
    }
    Ok(orgs)
}

fn append_and_sync(file: &mut File, value: &[u8], time: Duration) -> std::io::Result<f64> {
    let start = Instant::now();
    let mut appended = 0;
    while start.elapsed() < time {
        file.write_all(value)?;
        file.sync_data()?;
        appended += 1;
    }
    Ok(per_second(appended, start.elapsed()))
}

/// Values per second that the bare store takes from as many writers.
pub fn group_commit(bare: &mut BareStore, value: &[u8], time: Duration) -> anyhow::Result<f64> {
    let start = Instant::now();
    let inserted = bare.group_commit(PRODUCERS, value, time)?;
    Ok(per_second(inserted, start.elapsed()))
}
