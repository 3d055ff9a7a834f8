//! Events in and out again: how many, how fast, and how little of it others' trouble costs.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::daemon::Daemon;
use super::load::{self, Stop};
use super::payload::MATCH;
use super::post::post_loop;
use super::receiver::SLOW;
use super::report::Report;
use super::rows::{Measured, Scenario};
use super::{Bench, per_second};

/// Orgs that the trickle of the latency rows goes to, each over a connection of its own.
const TRICKLE_ORGS: usize = 16;
const HANGING: usize = 1_000;

/// The rows `deliver-*`, and what one org gets whose receiver takes its time.
pub async fn throughput(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if !bench.begins(Scenario::Deliver) {
        return Ok(());
    }
    let daemon = bench.daemon("deliver").await?;
    let orgs = daemon.configure("org", 64, &bench.url("/ok"), "").await?;
    if bench.wants("deliver-64") {
        let mark = bench.mark(&daemon)?;
        let producers = async |events: u64| {
            let each = Stop::After(events.div_ceil(64));
            load::producers(&daemon.socket(), &orgs, &bench.payloads, each).await
        };
        let rounds = against_bare(bench, &daemon, 64, producers).await?;
        report.rows.extend(Measured::paired(
            "deliver-64",
            &rounds,
            format!("64 producers; {}", bench.cost(&daemon, &mark)?),
        ));
    }
    if bench.wants("deliver-1") {
        // A lone producer that waits for each answer would measure `enqueue-1` again.
        let mark = bench.mark(&daemon)?;
        let one = orgs.get(..1).unwrap_or_default();
        let stream =
            async |events| load::ndjson(&daemon.socket(), one, &bench.payloads, Stop::After(events)).await;
        let rounds = against_bare(bench, &daemon, 1, stream).await?;
        report.rows.extend(Measured::paired(
            "deliver-1",
            &rounds,
            format!("one NDJSON stream; {}", bench.cost(&daemon, &mark)?),
        ));

        let slow = daemon.configure("slow", 1, &bench.url("/slow"), "").await?;
        let mut feed =
            async |events| load::ndjson(&daemon.socket(), &slow, &bench.payloads, Stop::After(events)).await;
        let rate = delivered(bench, &daemon, &mut feed, 50).await?;
        report.slow_receiver = Some((rate, SLOW.as_secs_f64() * 1000.0));
    }
    Ok(())
}

/// The row `deliver-known`: what it costs that a type is known.
pub async fn known(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if !bench.begins(Scenario::Known) {
        return Ok(());
    }
    let (plain, knowing) = (bench.daemon("plain").await?, bench.knowing_daemon("knowing").await?);
    let orgs = plain.configure("org", 64, &bench.url("/ok"), "").await?;
    knowing.configure("org", 64, &bench.url("/ok"), MATCH).await?;
    let round = bench.sizes.round;
    let rate = async |daemon: &Daemon, events: u64| {
        let mut feed = async |events: u64| {
            load::producers(&daemon.socket(), &orgs, &bench.payloads, Stop::After(events.div_ceil(64))).await
        };
        delivered(bench, daemon, &mut feed, events).await
    };
    // Enough for one round, as far as the round before can tell.
    let events = std::cell::Cell::new(1_000);
    let rounds = bench
        .alternate(
            async || {
                let rate = rate(&plain, events.get()).await?;
                events.set(scaled(rate, round));
                Ok(rate)
            },
            async || rate(&knowing, events.get()).await,
        )
        .await?;
    report.rows.extend(Measured::paired("deliver-known", &rounds, "64 producers".to_owned()));
    Ok(())
}

/// Alternates the bare POST loop with the daemon, which `feed` gives as many events as it is told.
async fn against_bare(
    bench: &Bench<'_>,
    daemon: &Daemon,
    connections: usize,
    mut feed: impl AsyncFnMut(u64) -> anyhow::Result<u64>,
) -> anyhow::Result<Vec<super::rows::Round>> {
    let body = Bytes::from(bench.payloads.payload(Instant::now()));
    let round = bench.sizes.round;
    // Enough for one round, as far as the round before can tell.
    let mut events = 1_000;
    bench
        .alternate(
            async || {
                let start = Instant::now();
                let address = bench.receiver.address;
                let posted = post_loop(address, "/ok", connections, body.clone(), start + round).await?;
                Ok(per_second(posted, start.elapsed()))
            },
            async || {
                let rate = delivered(bench, daemon, &mut feed, events).await?;
                events = scaled(rate, round);
                Ok(rate)
            },
        )
        .await
}

/// Feeds `events`, and answers how many a second were accepted, delivered and removed until none was left.
pub(super) async fn delivered(
    bench: &Bench<'_>,
    daemon: &Daemon,
    feed: &mut impl AsyncFnMut(u64) -> anyhow::Result<u64>,
    events: u64,
) -> anyhow::Result<f64> {
    let before = bench.receiver.received();
    let start = Instant::now();
    let accepted = feed(events).await?;
    bench.drained(daemon, before + accepted).await?;
    bench.events.set(bench.events.get() + accepted);
    Ok(per_second(accepted, start.elapsed()))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small and positive")]
pub(super) fn scaled(rate: f64, time: Duration) -> u64 {
    (rate * time.as_secs_f64()) as u64 + 64
}

/// The rows `latency-*`.
pub async fn latency(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    const RATE: u32 = 200;
    if !bench.begins(Scenario::Latency) {
        return Ok(());
    }
    let daemon = bench.daemon("latency").await?;
    let orgs = daemon.configure("org", TRICKLE_ORGS, &bench.url("/ok"), "").await?;
    trickle(bench, &daemon, &orgs, RATE, Duration::from_millis(500)).await?;
    let ages = trickle(bench, &daemon, &orgs, RATE, bench.sizes.trickle).await?;
    let note = format!("{} events", ages.len());
    for (key, share) in [("latency-p50", 0.5), ("latency-p99", 0.99)] {
        if bench.wants(key) {
            report.rows.push(Measured::plain(key, quantile_ms(&ages, share), note.clone()));
        }
    }
    Ok(())
}

/// The row `isolation`: two daemons, one of them with hanging receivers, get the same trickle in turn.
pub async fn isolation(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    const RATE: u32 = 400;
    if !bench.begins(Scenario::Isolation) {
        return Ok(());
    }
    let alone = bench.daemon("alone").await?;
    let beside = bench.daemon("beside").await?;
    let hanging = beside.configure("hanging", HANGING, &bench.url("/hang"), "").await?;
    let alone_orgs = alone.configure("org", TRICKLE_ORGS, &bench.url("/ok"), "").await?;
    let beside_orgs = beside.configure("org", TRICKLE_ORGS, &bench.url("/ok"), "").await?;
    let each_one = Stop::After(HANGING as u64);
    load::ndjson(&beside.socket(), &hanging, &bench.payloads, each_one).await?;
    bench.receiver.wait_for_hanging(HANGING as u64).await?;

    let time = bench.sizes.trickle / 2;
    let rounds = bench
        .alternate(
            async || Ok(quantile_ms(&trickle(bench, &alone, &alone_orgs, RATE, time).await?, 0.99)),
            async || Ok(quantile_ms(&trickle(bench, &beside, &beside_orgs, RATE, time).await?, 0.99)),
        )
        .await?;
    report.rows.extend(Measured::paired("isolation", &rounds, format!("{RATE} events/s")));
    Ok(())
}

/// Sends `rate` events a second and answers their ages when the receiver had them, sorted.
async fn trickle(
    bench: &Bench<'_>,
    daemon: &Daemon,
    orgs: &[String],
    rate: u32,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let before = bench.receiver.received();
    bench.receiver.note_ages();
    let accepted = load::steady(&daemon.socket(), orgs, &bench.payloads, rate, time).await?;
    bench.receiver.wait_for(before + accepted).await?;
    let mut ages = bench.receiver.take_ages();
    ages.sort_unstable();
    Ok(ages)
}

/// The age that this share of `sorted` does not exceed, in milliseconds.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index between 0 and the length"
)]
fn quantile_ms(sorted: &[Duration], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index).map_or(f64::NAN, |age| age.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert!((quantile_ms(&sorted, 0.5) - 100.0).abs() < 1e-9);
        assert!((quantile_ms(&sorted, 0.99) - 198.0).abs() < 1e-9);
        assert!((quantile_ms(&sorted, 1.0) - 200.0).abs() < 1e-9);
        assert!(quantile_ms(&[], 0.5).is_nan());
    }
}
