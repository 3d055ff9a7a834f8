//! `postrider serve`: the daemon. Puts the rooms together in the order of the path, runs until told to stop, stops in
//! order. Everything that can be wrong with the configuration is found before anything is touched.

mod doors;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use self::doors::Doors;
use super::Context;
use super::exit::{Exit, Failure, Result};
use crate::api::{self, App, LastError};
use crate::catalogue::{Catalogue, Current};
use crate::clock;
use crate::config::{Config, Inputs, Paths};
use crate::delivery::{Client, ClientSettings};
use crate::model::format_duration;
use crate::operate::key::{self, Origin};
use crate::operate::reload::Reloader;
use crate::operate::shutdown::{Patience, Step};
use crate::operate::signals::{Order, Orders};
use crate::operate::sockets::Passed;
use crate::operate::{limits, logs, notify, panics};
use crate::queue::{MasterKey, Notice, OpenError, Queue, StoreHealth};
use crate::scheduler::{self, Scheduler};
use crate::serving::ConnectionLimits;
use crate::sources::{self, Gate};

/// Threads for what may block: reads of the store and files. More would only wait for the same disk.
const BLOCKING_THREADS_MAX: usize = 64;
/// A request of a source is answered within milliseconds: whoever has many connections that take longer has to share.
const SOURCES_SHARE_AFTER: Duration = Duration::from_millis(250);
/// How long calls in progress may take to be told that the store has failed.
const FAILED_GRACE: Duration = Duration::from_secs(1);

/// Runs the daemon.
pub(super) fn run(context: &Context) -> Result<()> {
    // First of all, while there is one thread: it takes things out of the environment.
    let passed = Passed::take().map_err(failed)?;
    // Whatever is created from now on is for its owner; the sockets are opened up one by one.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let inputs = context.inputs();
    let config = inputs.load()?;
    let paths = context.paths()?;
    let catalogue = load_catalogue(&config)?;
    let mut client = ClientSettings::try_from(&config).map_err(bad_config)?;

    let level = logs::init(&config.log);
    panics::install();
    for warning in &config.warnings {
        tracing::warn!(%warning, "configuration");
    }
    limits::forbid_core_files();
    let max_in_flight = max_in_flight(&config);
    client.connections_kept = max_in_flight;
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let client = Client::new(client).map_err(bad_config)?;
    let orders = Orders::new().map_err(|error| failed(format!("cannot take over signals: {error}")))?;
    let start = Start { context, inputs, config, catalogue, paths, client, level, max_in_flight };
    start.daemon(passed)?.run(&runtime, orders)
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|error| failed(format!("the runtime does not start: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn failed(error: impl ToString) -> Failure {
    Failure::failed(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn bad_config(error: impl ToString) -> Failure {
    Failure::new(Exit::BadConfig, error.to_string())
}

fn load_catalogue(config: &Config) -> Result<Current> {
    Catalogue::load(&config.catalogue).map(|catalogue| Current::new(Arc::new(catalogue))).map_err(bad_config)
}

/// What a daemon is made from. Nothing is touched yet.
struct Start<'a> {
    context: &'a Context,
    inputs: Inputs,
    config: Config,
    catalogue: Current,
    paths: Paths,
    client: Client,
    level: logs::LevelHandle,
    max_in_flight: usize,
}

impl Start<'_> {
    /// Opens the store, binds the sockets, starts delivering.
    fn daemon(self, mut passed: Passed) -> Result<Daemon> {
        let data_dir = &self.paths.data_dir.path;
        create_data_dir(data_dir)?;
        Queue::check_directory(data_dir).map_err(refused_store)?;
        let key = self.key()?;
        let previous_key = key::find_previous(&self.paths, &self.context.env).map_err(failed)?;
        let options = self.config.store_options(data_dir.clone(), key, previous_key);
        let opened = if Queue::is_to_be_compacted(data_dir) {
            notify::while_compacting(|| Queue::open(&options))
        } else {
            Queue::open(&options)
        };
        let (queue, notices) = opened.map_err(refused_store)?;
        // Before anything is delivered: a daemon that cannot be talked to must not run.
        let listening = doors::listen(&self.paths, &mut passed)?;
        let (certificate, has_tls) = doors::certificate(&self.config)?;
        let outside = doors::listen_outside(&self.config, &mut passed, has_tls)?;
        let metrics = doors::listen_metrics(&self.config, &mut passed)?;
        queue.figures().orgs.set(&self.config.metrics.orgs);
        let scheduler = self.scheduler(&queue, notices);

        let last_error = LastError::default();
        let settings = api::Settings::of(&self.config, self.catalogue.get());
        let limits = connection_limits(&self.config);
        let at = outside.as_ref().map(|outside| outside.at);
        let judged_by = sources::Settings::of(&self.config, self.catalogue.get(), settings.changes, at);
        let gate = Arc::new(Gate::new(queue.clone(), judged_by));
        let outside = outside.map(|outside| outside.with(gate.clone(), certificate.clone()));
        let reloader = Arc::new(Reloader::new(
            self.inputs,
            self.config,
            self.catalogue,
            (self.client, self.max_in_flight),
            (gate.clone(), certificate, at),
            self.level,
        ));
        let reload = reloader.clone();
        let app = App::new(queue.clone(), Some(scheduler.clone()), settings)
            .with_last_error(last_error.clone())
            .with_gate(gate)
            .with_reload(Box::new(move || reload.reload()));
        let app = Arc::new(app);
        if let Some(found) = app.unknown_profile() {
            tracing::warn!(
                "{found}, which is in no catalogue in force: limits and plans of such profiles are not asked for, and requests \
                 of such sources are refused; name their products in catalogue.products or catalogue.dir"
            );
        }
        reloader.set_app(Arc::downgrade(&app));
        let stop = app.draining();
        let doors = Doors::start(listening, (outside, metrics), &app, (&limits.0, limits.1), &stop)?;
        Ok(Daemon { queue, scheduler, reloader, doors, stop, last_error })
    }

    fn key(&self) -> Result<MasterKey> {
        let place = key::Place::of(&self.paths, &self.context.env);
        let (key, origin) = key::find_or_generate(&place).map_err(failed)?;
        let file = place.path.display();
        match (origin, place.kind) {
            (Origin::Generated, _) => tracing::warn!(
                %file,
                "made a key beside what it protects: who gets a copy of this directory can read everything; keep a copy of \
                 the key elsewhere, or move it there and name it by --key-file"
            ),
            (Origin::Found, key::Kind::Own) => tracing::warn!(
                %file,
                "the key lies beside what it protects: who gets a copy of this directory can read everything"
            ),
            (Origin::Found, _) => {}
        }
        Ok(key)
    }

    fn scheduler(&self, queue: &Queue, notices: UnboundedReceiver<Notice>) -> Scheduler {
        let settings = scheduler::Settings {
            max_in_flight: self.max_in_flight,
            max_payload_bytes: self.config.scheduler.max_payload_bytes,
            catalogue: self.catalogue.clone(),
        };
        Scheduler::start(queue.clone(), notices, self.client.clone(), settings)
    }
}

/// As configured, or as many as the open files allow.
fn max_in_flight(config: &Config) -> usize {
    let open_files = limits::raise_open_files();
    let configured = config.scheduler.max_in_flight;
    let max_in_flight = limits::clamp_in_flight(configured, open_files);
    if max_in_flight < configured {
        tracing::warn!(
            configured,
            max_in_flight,
            open_files,
            "fewer attempts at once than configured: the limit on open files does not allow more"
        );
    }
    max_in_flight
}

/// As configured, or with as many connections as the open files allow: of the sockets, and of the listener for sources.
fn connection_limits(config: &Config) -> (ConnectionLimits, ConnectionLimits) {
    let open_files = limits::raise_open_files();
    let clamped = |mut limits: ConnectionLimits, of| {
        let configured = limits.connections;
        limits.connections = limits::clamp_connections(configured, open_files);
        if limits.connections < configured {
            tracing::warn!(
                of,
                configured,
                max_connections = limits.connections,
                open_files,
                "fewer connections than configured: the limit on open files does not allow more"
            );
        }
        limits
    };
    let of_sources = ConnectionLimits {
        connections: config.sources.max_connections,
        header_timeout: config.sources.header_timeout,
        share_after: SOURCES_SHARE_AFTER,
        ..ConnectionLimits::from(config)
    };
    (clamped(ConnectionLimits::from(config), "each socket"), clamped(of_sources, "sources"))
}

fn create_data_dir(dir: &Path) -> Result<()> {
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|error| {
        Failure::new(
            Exit::CannotCreate,
            format!("cannot create the state directory {}: {error}", dir.display()),
        )
    })
}

fn refused_store(error: OpenError) -> Failure {
    match error {
        OpenError::DiskFull(_) => Failure::new(Exit::TryAgain, error.to_string()),
        OpenError::Locked { .. } | OpenError::Refused(_) => failed(error),
    }
}

/// A running daemon.
struct Daemon {
    queue: Queue,
    scheduler: Scheduler,
    reloader: Arc<Reloader>,
    doors: Doors,
    /// Cancelled: no new connection, no new call.
    stop: CancellationToken,
    last_error: LastError,
}

/// Why the daemon stops.
enum End {
    /// It was told to.
    Ordered,
    /// Something of ours broke; the process ends with 1, to be started again.
    Broken(String),
}

impl Daemon {
    fn run(mut self, runtime: &Runtime, mut orders: Orders) -> Result<()> {
        let outcome = runtime.block_on(async {
            let scheduler = self.scheduler.clone();
            tokio::spawn(notify::feed_watchdog(move || scheduler.progress()));
            tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "ready");
            notify::ready();
            let end = self.until_end(&mut orders).await;
            self.stop(end, orders).await
        });
        drop(self.doors);
        outcome
    }

    async fn until_end(&mut self, orders: &mut Orders) -> End {
        let mut health = self.queue.health();
        loop {
            tokio::select! {
                order = orders.next() => match order {
                    Order::Drain | Order::AtOnce => return End::Ordered,
                    Order::Reload => self.reload().await,
                },
                changed = health.changed() => {
                    let now = health.borrow_and_update().clone();
                    if let Some(end) = self.on_health(now, changed.is_err()) {
                        return end;
                    }
                }
                () = self.scheduler.gone() => {
                    return End::Broken("the scheduler has stopped by itself".to_owned());
                }
                () = self.doors.broken() => return End::Broken("a socket is no longer served".to_owned()),
            }
        }
    }

    async fn reload(&self) {
        let reloader = self.reloader.clone();
        // It has said what came of it; a reload that panicked has been logged as such.
        let _said = tokio::task::spawn_blocking(move || reloader.reload()).await;
    }

    /// What the store's state means; `gone` if there is no committer any more.
    fn on_health(&self, health: StoreHealth, gone: bool) -> Option<End> {
        match health {
            StoreHealth::Failed(reason) => Some(End::Broken(format!("the store has failed: {reason}"))),
            _ if gone => Some(End::Broken("the store has stopped by itself".to_owned())),
            StoreHealth::DiskFull => {
                let message = "free disk space is below the reserve: events are refused, deliveries go on";
                tracing::error!(message);
                self.last_error.note(clock::now(), message.to_owned());
                notify::taking(false);
                None
            }
            StoreHealth::Accepting => {
                tracing::info!("there is enough disk space again: events are accepted");
                notify::taking(true);
                None
            }
        }
    }

    /// Nothing new; what is going on ends; the store is closed.
    async fn stop(&mut self, end: End, mut orders: Orders) -> Result<()> {
        let at_once = CancellationToken::new();
        let hurry = at_once.clone();
        tokio::spawn(async move {
            while orders.next().await != Order::AtOnce {}
            hurry.cancel();
        });
        let (grace, outcome) = match end {
            End::Ordered => {
                notify::stopping();
                (self.reloader.grace(), Ok(()))
            }
            End::Broken(reason) => {
                tracing::error!(reason, "ending, to be started again on what is on disk");
                self.last_error.note(clock::now(), reason.clone());
                notify::failed();
                (FAILED_GRACE, Err(Failure::failed(reason)))
            }
        };
        tracing::info!(
            in_flight = self.scheduler.snapshot().in_flight,
            grace = format_duration(grace),
            "stopping: no new calls and attempts, those in progress may end"
        );
        let patience = Patience::new(grace, at_once);
        self.stop.cancel();
        let (cut, abandoned) = {
            let scheduler = &self.scheduler;
            let in_flight = || scheduler.snapshot().in_flight;
            // A failed store can take no outcome, so nothing is gained by waiting for one.
            let attempts_grace = if outcome.is_ok() { grace } else { Duration::ZERO };
            tokio::join!(
                patience.wait("calls on the sockets", || "", self.doors.drained()),
                patience.wait("attempts in flight", in_flight, scheduler.drain(attempts_grace)),
            )
        };
        let abandoned = match abandoned {
            Step::Done(abandoned) => abandoned,
            Step::LeftBehind => self.scheduler.drain(Duration::ZERO).await,
        };
        self.queue.close().await;
        tracing::info!(
            calls_cut = matches!(cut, Step::LeftBehind | Step::Done(1..)),
            attempts_abandoned = abandoned,
            "stopped"
        );
        outcome
    }
}
