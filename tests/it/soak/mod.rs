//! Many events through short queues, with receivers that fail, restarts, kill -9 and clock steps: what a daemon takes of
//! memory, disk and descriptors after the last lap is what it took after the first ones.
//!
//! `POSTRIDER_TEST_SOAK=5000000 cargo test --release --test it soak -- --nocapture` is the long run, and prints every lap;
//! what CI runs is a short one. `POSTRIDER_TEST_SEED` repeats the choices of a run.

mod mill;
mod producer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;

use crate::support::clock::Clock;
use crate::support::daemon::retry;
use crate::support::kills::number_of;
use crate::support::{Daemon, Site, resident, wait_until_within};
use mill::Mill;
use producer::Producer;

const ORGS: usize = 64;
/// Events of the short run.
const EVENTS: u64 = 24_000;
/// Laps of the short run, and of the long one: each ends with a look at the figures and begins with a step of the clock.
const LAPS: (u64, u64) = (6, 40);
const ATTEMPTS: u32 = 3;
/// No lap takes longer, unless something stands.
const LAP_MAX: Duration = Duration::from_secs(1_800);
/// Ids are remembered for a day and history is kept for one: each lap is more than one.
const LAP_CLOCK_S: i64 = 25 * 60 * 60;

/// What the daemon takes at the end of a lap.
#[derive(Debug, Clone, Copy)]
struct Figures {
    resident: u64,
    disk: u64,
    descriptors: u64,
}

#[test]
fn soak_leaves_memory_store_and_descriptors_flat() {
    let asked = number_of("POSTRIDER_TEST_SOAK");
    let events = asked.unwrap_or(EVENTS);
    let laps = if asked.is_some() { LAPS.1 } else { LAPS.0 };
    let seed = number_of("POSTRIDER_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("POSTRIDER_TEST_SEED={seed} events={events} laps={laps} orgs={ORGS}");
    let mut rng = Rng::with_seed(seed);
    let site = Site::with(&Site::new().config().replace("debug", "info"));
    // A step must be seen before a lap's batches come: at once in short laps, within a second of long ones.
    let clock = Clock::of(&site);
    let clock = if asked.is_some() { clock.cached() } else { clock };
    let mill = Mill::start(ORGS, seed);
    let mut daemon = clock.start(&site);
    for org in 0..ORGS {
        let mut settings = retry(ATTEMPTS, 2, 2.0, 10);
        settings["timeout"] = json!("10s");
        daemon.org(&name(org), &mill.url(org), &settings);
    }
    let producers: Vec<_> = (0..ORGS).map(|org| Producer::new(org, site.submit_socket(), seed)).collect();
    let producers = Arc::new(producers);

    let mut figures = Vec::new();
    let mut crashes = 0;
    let mut second = 0;
    for lap in 1..=laps {
        let per_org = events * lap / laps / ORGS as u64;
        let began = Instant::now();
        second += LAP_CLOCK_S;
        clock.step_to(second);
        let running = producer::run(&producers, &mill, per_org);
        // Somewhere within the lap the clock goes an hour back or on, and the daemon may go. Not a day: a batch that got no
        // answer is handed in again, and its ids are remembered for a day.
        let at = mill.settled() + rng.u64(events / laps / 10..=events / laps / 2);
        wait_until_within(LAP_MAX, "there is load", || mill.settled() >= at || running.is_finished());
        second += if lap % 2 == 0 { -3_600 } else { 3_600 };
        clock.step_to(second);
        match lap % 3 {
            0 => {
                daemon.kill();
                crashes += 1;
                wait_until_within(LAP_MAX, "its connections are closed", || mill.open_connections() == 0);
                daemon = clock.start(&site);
            }
            1 => {
                assert!(daemon.terminate().success());
                daemon = clock.start(&site);
            }
            _ => {}
        }
        running.join().unwrap();
        for org in 0..ORGS {
            wait_until_within(LAP_MAX, "all of the lap is settled", || mill.last_of(org) == per_org);
        }
        settled(&daemon);
        let found = Figures {
            resident: resident(&daemon),
            disk: bytes_below(&site.data_dir()),
            descriptors: descriptors(&daemon),
        };
        println!("{}", lap_line(lap, per_org * ORGS as u64, began.elapsed(), &found, &mill));
        figures.push(found);
    }
    mill.check(crashes);
    flat("memory", &figures, |found| found.resident, 24 << 20);
    flat("disk", &figures, |found| found.disk, 48 << 20);
    flat("descriptors", &figures, |found| found.descriptors, 32);
    assert!(daemon.terminate().success());
}

fn name(org: usize) -> String {
    format!("org{org}")
}

/// Waits until nothing waits, by the daemon's own word.
fn settled(daemon: &Daemon<'_>) {
    wait_until_within(LAP_MAX, "nothing waits", || {
        let depth = |org: usize| daemon.get(&format!("/v1/orgs/{}", name(org)))["queue"]["depth"].clone();
        (0..ORGS).all(|org| depth(org) == 0)
    });
}

fn lap_line(lap: u64, events: u64, took: Duration, found: &Figures, mill: &Mill) -> String {
    let Figures { resident, disk, descriptors } = found;
    format!(
        "lap {lap}: {events} events, {} requests, {} repeats, {:.1} s, {} MiB of memory, {} MiB of disk, {descriptors} descriptors",
        mill.requests(),
        mill.repeats(),
        took.as_secs_f64(),
        resident >> 20,
        disk >> 20,
    )
}

/// The most of the last quarter is at most a third, and `slack`, more than the most of the second.
fn flat(what: &str, figures: &[Figures], of: impl Fn(&Figures) -> u64, slack: u64) {
    let quarter = figures.len().div_ceil(4);
    let most = |part: &[Figures]| part.iter().map(&of).max().unwrap();
    let early = most(&figures[quarter..(2 * quarter).min(figures.len())]);
    let late = most(&figures[figures.len() - quarter..]);
    assert!(
        late <= early + early / 3 + slack,
        "{what} grows: {early} in the second quarter, {late} in the last"
    );
}

fn bytes_below(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    let mut dirs: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            // What the daemon removes meanwhile takes nothing.
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                dirs.push(entry.path());
            } else {
                sum += data.blocks() * 512;
            }
        }
    }
    sum
}

fn descriptors(daemon: &Daemon<'_>) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64
}
