//! `postrider bench`: what this machine can do, held against bare loops in the same program.
//!
//! Every row runs the real daemon, started from this binary in a temporary directory, and talks to it over its sockets.
//! Where a row is judged by a ratio, short runs of the bare loop and of the daemon alternate and the median ratio
//! counts, so that whatever else the machine does meets both. It is a tool for people and not a test: it fails only
//! when something could not be measured.

mod binary;
mod daemon;
mod deliver;
mod enqueue;
mod load;
mod payload;
mod post;
mod receiver;
mod report;
mod rows;
mod scale;
mod sources;
mod workspace;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::{Daemon, Extras};
use payload::Payloads;
use receiver::Receiver;
use report::Report;
use rows::{Better, Measured, Round, SPECS, Scenario, Spec};
use workspace::Workspace;

use super::exit::{Failure, Result};
use super::{Context, output};

/// Measure what this machine can do: events accepted and delivered per second, latency, memory, start-up, disk.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Use the full sizes (1,000,000 waiting, 100,000 orgs, 5,000,000 events); takes many minutes and several GiB
    #[arg(long)]
    full: bool,
    /// Run only this row, or every row whose name starts with it; may be given again
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Put the stores below this directory, on the disk to be measured [default: beside the state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// List the rows and what they are held to, and measure nothing
    #[arg(long)]
    list: bool,
}

/// How long and how large.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Alternations per row; the first, which warms up, not counted.
    rounds: usize,
    /// About how long the daemon and the bare loop each run per round.
    round: Duration,
    /// How long the trickle of the latency rows lasts.
    trickle: Duration,
    /// Events waiting.
    waiting: u64,
    /// Orgs configured.
    orgs: usize,
    /// Events through the short queue.
    churn: u64,
    full: bool,
}

impl Sizes {
    const SHORT: Sizes = Sizes {
        rounds: 5,
        round: Duration::from_millis(500),
        trickle: Duration::from_secs(4),
        waiting: 50_000,
        orgs: 5_000,
        churn: 100_000,
        full: false,
    };
    const FULL: Sizes = Sizes {
        rounds: 9,
        round: Duration::from_secs(2),
        trickle: Duration::from_secs(30),
        waiting: 1_000_000,
        orgs: 100_000,
        churn: 5_000_000,
        full: true,
    };
}

/// Runs the bench, on a runtime of its own.
pub(super) fn run(context: &Context, args: &BenchArgs) -> Result<()> {
    if args.list {
        return SPECS.iter().try_for_each(|spec| output::line(&list_line(spec)));
    }
    if let Some(unknown) = args.only.iter().find(|only| !SPECS.iter().any(|spec| spec.key.starts_with(*only)))
    {
        let message = format!("there is no row \"{unknown}\"; `postrider bench --list` shows them");
        return Err(Failure::usage(message));
    }
    let parent = match &args.dir {
        Some(dir) => dir.clone(),
        None => beside(&context.paths()?.data_dir.path),
    };
    let report = measure(args, &parent)?;
    for warning in &report.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if context.global.json {
        output::json(&report.json())?;
    } else {
        output::table(report::HEADINGS, report.cells())?;
        let summary = report.summary();
        if !summary.is_empty() {
            output::line("")?;
        }
        summary.iter().try_for_each(|sentence| output::line(sentence))?;
    }
    if report.failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!("not measured: {}", report.failures.join("; "))))
    }
}

/// The state directory's own parent: the same disk, and nothing of the daemon's.
fn beside(state: &Path) -> PathBuf {
    state.parent().unwrap_or(state).to_path_buf()
}

fn list_line(spec: &Spec) -> String {
    let against = spec.against.map(|against| format!(", against {against}")).unwrap_or_default();
    let kind = if spec.against.is_some() { "ratio" } else { spec.unit };
    let bound = if spec.better == Better::Higher { "at least" } else { "at most" };
    format!("{:<16} {}{against}: {bound} {}, aim {} ({kind})", spec.key, spec.what, spec.at_least, spec.aim)
}

/// How many processors there are.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Threads for producers, and as many for the receiver: half of the machine stays with the daemon.
fn load_threads() -> usize {
    (cores() / 2).clamp(1, 4)
}

/// What every scenario needs.
struct Bench<'a> {
    args: &'a BenchArgs,
    sizes: Sizes,
    workspace: Workspace,
    receiver: Receiver,
    payloads: Payloads,
    /// Events that daemons took in rows whose cost is told.
    events: Cell<u64>,
}

/// Where a daemon's cost is counted from.
struct Mark {
    cpu: Duration,
    events: u64,
}

fn measure(args: &BenchArgs, parent: &Path) -> anyhow::Result<Report> {
    let origin = Instant::now();
    // 1,000 hanging receivers are 1,000 connections here and as many in the daemon, which inherits the limit.
    workspace::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(load_threads())
        .thread_name("load")
        .enable_all()
        .build()?;
    let bench = Bench {
        args,
        sizes: if args.full { Sizes::FULL } else { Sizes::SHORT },
        workspace: Workspace::create(parent)?,
        receiver: Receiver::start(origin, load_threads())?,
        payloads: Payloads::new(origin),
        events: Cell::new(0),
    };
    let mut report = Report { full: args.full, warnings: bench.workspace.warnings(), ..Report::default() };
    if cfg!(debug_assertions) {
        report
            .warnings
            .push("this is a debug build: its figures say nothing about a release build".to_owned());
    }
    runtime.block_on(every_row(&bench, &mut report));
    Ok(report)
}

/// A row that cannot be measured does not keep the others from being.
async fn every_row(bench: &Bench<'_>, report: &mut Report) {
    let enqueue = enqueue::rows(bench, report).await;
    report.note("enqueue", enqueue);
    let sources = sources::rows(bench, report).await;
    report.note("source", sources);
    let throughput = deliver::throughput(bench, report).await;
    report.note("deliver", throughput);
    let known = deliver::known(bench, report).await;
    report.note("known", known);
    let latency = deliver::latency(bench, report).await;
    report.note("latency", latency);
    let isolation = deliver::isolation(bench, report).await;
    report.note("isolation", isolation);
    let waiting = scale::waiting(bench, report).await;
    report.note("waiting", waiting);
    let orgs = scale::orgs(bench, report).await;
    report.note("orgs", orgs);
    let store_size = scale::store_size(bench, report).await;
    report.note("store-size", store_size);
    let binary_size = binary_size(bench, report);
    report.note("binary-size", binary_size);
}

fn binary_size(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if bench.begins(Scenario::Binary) {
        let bytes = binary::stripped_len(&std::fs::read(std::env::current_exe()?)?)?;
        report.rows.push(Measured::plain("binary-size", mib(bytes), ""));
    }
    Ok(())
}

impl Bench<'_> {
    /// Whether this row was asked for.
    fn wants(&self, key: &str) -> bool {
        self.args.only.is_empty() || self.args.only.iter().any(|only| key.starts_with(only.as_str()))
    }

    /// Whether any row of this scenario was asked for. Says so, since it takes a while.
    fn begins(&self, scenario: Scenario) -> bool {
        let rows: Vec<_> =
            SPECS.iter().filter(|spec| spec.scenario == scenario && self.wants(spec.key)).collect();
        for spec in &rows {
            output::note(&format!("measuring {}: {}", spec.key, spec.what));
        }
        !rows.is_empty()
    }

    /// A daemon on an empty store.
    async fn daemon(&self, name: &str) -> anyhow::Result<Daemon> {
        self.start(name, Extras::default()).await
    }

    /// A daemon that takes requests of sources there.
    async fn daemon_with_sources(&self, name: &str, address: SocketAddr) -> anyhow::Result<Daemon> {
        self.start(name, Extras { sources: Some(address), ..Extras::default() }).await
    }

    /// A daemon with a catalogue that has the bench's events.
    async fn knowing_daemon(&self, name: &str) -> anyhow::Result<Daemon> {
        self.start(name, Extras { knows: true, ..Extras::default() }).await
    }

    async fn start(&self, name: &str, extras: Extras) -> anyhow::Result<Daemon> {
        let workspace = &self.workspace;
        Daemon::start(workspace.store(name), workspace.runtime(name), workspace.children(), extras).await
    }

    /// From here on, what the daemon does is counted.
    fn mark(&self, daemon: &Daemon) -> anyhow::Result<Mark> {
        Ok(Mark { cpu: daemon.cpu_time()?, events: self.events.get() })
    }

    /// What an event has cost the daemon since: other than a rate it says little about what else the machine did.
    fn cost(&self, daemon: &Daemon, since: &Mark) -> anyhow::Result<String> {
        let events = self.events.get().saturating_sub(since.events).max(1);
        let cpu = daemon.cpu_time()?.saturating_sub(since.cpu);
        Ok(format!("{:.0} µs of CPU per event", 1e6 / per_second(events, cpu)))
    }

    /// Where the receiver answers this way.
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.receiver.address)
    }

    /// Waits until this many payloads have come in and nothing waits in the daemon any more.
    async fn drained(&self, daemon: &Daemon, received: u64) -> anyhow::Result<()> {
        self.receiver.wait_for(received).await?;
        while daemon.waiting().await? > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Alternates `baseline` and `subject`, each answering its figure; the first round warms up and does not count.
    async fn alternate(
        &self,
        mut baseline: impl AsyncFnMut() -> anyhow::Result<f64>,
        mut subject: impl AsyncFnMut() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Vec<Round>> {
        let mut rounds = Vec::with_capacity(self.sizes.rounds + 1);
        for _ in 0..=self.sizes.rounds {
            rounds.push(Round { baseline: baseline().await?, subject: subject().await? });
        }
        rounds.remove(0);
        Ok(rounds)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
