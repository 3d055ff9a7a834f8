//! The command line: one binary, `postrider serve` is the daemon, every other command talks to its sockets.
//!
//! Types of flags and the dispatch are here; each command is in a file of its name. Data goes to stdout, everything else
//! to stderr; exit codes are in [`exit`].

pub mod bench;
pub mod exit;
pub mod sink;
pub mod transport;

mod attempts;
mod bulk;
mod backup;
mod catalogue;
mod change;
mod check_config;
mod client;
mod compact;
mod completions;
mod confirm;
mod dead_letter;
mod demo;
mod destination;
mod enqueue;
mod export;
mod filter;
mod history;
mod import;
mod man;
mod ndjson;
mod org;
mod output;
mod paging;
mod printer;
mod queue;
mod rekey;
mod reload;
mod restore;
mod serve;
mod session;
mod several;
mod shape;
mod source;
mod status;
mod tail;
mod top;
mod verify;
mod webhook;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Config, Env, Inputs, PathFlags, Paths, paths};
use exit::{Exit, Failure, Result};
use transport::{ADMIN_SOCKET, SUBMIT_SOCKET, Transport};

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 nothing found or not so, 64 usage, 69 daemon not reachable, \
    73 cannot create a file, 75 try again later, 78 bad configuration";

/// Delivers webhooks, in order per org, through crashes and power loss.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    global: Global,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::doc_markdown, reason = "shown as help on a terminal, where names stand as they are")]
pub struct Global {
    /// Print JSON for machines instead of tables for people.
    #[arg(long, global = true)]
    pub json: bool,
    /// The directory of the sockets postrider.sock and admin.sock [env: POSTRIDER_RUNTIME_DIR].
    #[arg(long, global = true, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// The state directory [env: POSTRIDER_DATA]. With this flag `queue`, `why`, `shape`, `dead-letter`, `history`, `verify`,
    /// `backup`, `compact`, `rekey` and `export` work on the store of a stopped daemon.
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The configuration file [env: POSTRIDER_CONFIG] [default: /etc/postrider/postrider.toml if it is there].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The file with the key that seals the store [env: POSTRIDER_KEY_FILE] [default: the credential postrider.key, else
    /// postrider.key in the state directory].
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub key_file: Option<PathBuf>,
    /// The file with the key before it, until `postrider rekey` has ended [env: POSTRIDER_PREVIOUS_KEY_FILE] [default: the
    /// credential postrider-previous.key].
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub previous_key_file: Option<PathBuf>,
    /// Override a key of the configuration, for example --set egress.allow_http=127.0.0.1/32; may be repeated.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", hide_short_help = true)]
    pub set: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon, in the foreground; its log goes to stderr.
    Serve,
    /// Check the configuration, and show what is in force and where each value came from.
    CheckConfig,
    /// Hand in one event, or a batch; done only when it is on disk.
    Enqueue(enqueue::EnqueueArgs),
    /// Hand in a change of an entity; rules say which events fire.
    Change(change::ChangeArgs),
    /// Orgs: the tenants, each with a queue of its own.
    #[command(subcommand)]
    Org(org::OrgCommand),
    /// Clients of an org: what webhooks of one receiver have in common.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Webhooks of an org: where its events go.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Sources of an org: addresses where outside services post what becomes its events.
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// An org's queue: look at it, and act on its head.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Say in one line why an org's queue stands where it stands.
    Why(why::WhyArgs),
    /// Deliveries that were given up: list, show, retry, discard, export.
    #[command(subcommand, visible_alias = "dlq")]
    DeadLetter(dead_letter::DeadLetterCommand),
    /// What was delivered, kept for a while: list, show, replay.
    #[command(subcommand)]
    History(history::HistoryCommand),
    /// The daemon in numbers. Exits 2 if it does not accept events.
    Status,
    /// What waits, by org and age, as qshape shows it of mail.
    Shape(shape::ShapeArgs),
    /// Live: rates, what is in flight, and the orgs that stand worst.
    Top(top::TopArgs),
    /// What happens, as it happens: accepted, attempts, delivered, dead and more, one line each.
    Tail(tail::TailArgs),
    /// Have the daemon read its configuration again, and wait for the verdict. Exits 78 if the file is bad: the old
    /// configuration then stays in force.
    Reload,
    /// Open and check every record of the store, of a running daemon or with --data of a stopped one. Exits 1 if anything
    /// is wrong. Changes nothing.
    Verify(verify::VerifyArgs),
    /// Copy the store to a new file, as one moment leaves it, while the daemon works; or with --data that of a stopped one.
    Backup(backup::BackupArgs),
    /// Make a backup the store of a state directory that has none: restore FILE --data DIR.
    Restore(restore::RestoreArgs),
    /// Rewrite the store so that it takes no more space than it needs: with --data that of a stopped daemon at once, else
    /// when the daemon starts next.
    Compact,
    /// Seal every record with the current key, while the daemon works.
    Rekey,
    /// Write settings, what waits and what is dead as lines of JSON, without secrets.
    Export(export::ExportArgs),
    /// Take what `export` wrote into a running daemon; the same again makes nothing twice.
    Import(import::ImportArgs),
    /// Receive requests and print them: a webhook's other end, that can fail, delay and hang on demand.
    Sink(sink::SinkArgs),
    /// See it work: a daemon in a temporary directory, order, a retry and a dead letter in a few seconds.
    Demo,
    /// Event types that are known: list them, show one, check a directory of your own, print an example.
    #[command(subcommand)]
    Catalogue(catalogue::CatalogueCommand),
    /// Measure what this machine can do, against bare loops in the same program.
    Bench(bench::BenchArgs),
    /// Print a script by which a shell completes commands and flags.
    Completions(completions::CompletionsArgs),
    /// Print the manual page of postrider, or write all pages below a directory.
    Man(man::ManArgs),
}

/// What a command knows of its surroundings. The environment is a value, read once in `main`.
#[derive(Debug, Clone)]
pub struct Context {
    /// Flags of every command.
    pub global: Global,
    /// The process environment.
    pub env: Env,
}

/// Parses, runs, and says how it went. All of `main`.
pub fn main(arguments: impl IntoIterator<Item = OsString>, env: Env) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    let context = Context { global: cli.global, env };
    match run(&context, cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::note(&format!("postrider: {failure}"));
            }
            ExitCode::from(failure.code())
        }
    }
}

fn usage_error(error: &clap::Error) -> ExitCode {
    // Help and version come as errors too; if they cannot be printed, nobody is reading.
    error.print().unwrap_or_default();
    if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
}

fn run(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::Serve => serve::run(context),
        Command::CheckConfig => check_config::run(context),
        Command::Bench(args) => bench::run(context, &args),
        Command::Catalogue(command) => catalogue::run(context, &command),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
        command => block_on(run_client(context, command)),
    }
}

/// Commands that talk to the API need one thread.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime does not start: {error}")))?;
    let done = runtime.block_on(work);
    // A read of stdin cannot be called off; it must not keep the process.
    runtime.shutdown_background();
    done
}

async fn run_client(context: &Context, command: Command) -> Result<()> {
    match command {
        // Dispatched before a runtime was started.
        Command::Serve
        | Command::CheckConfig
        | Command::Bench(_)
        | Command::Catalogue(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
        Command::Enqueue(args) => enqueue::run(context, args).await,
        Command::Change(args) => change::run(context, args).await,
        Command::Org(command) => org::run(context, command).await,
        Command::Client(command) => client::run(context, command).await,
        Command::Webhook(command) => webhook::run(context, command).await,
        Command::Source(command) => source::run(context, command).await,
        Command::Queue(command) => queue::run(context, command).await,
        Command::Why(args) => why::run(context, args).await,
        Command::DeadLetter(command) => dead_letter::run(context, command).await,
        Command::History(command) => history::run(context, command).await,
        Command::Status => status::run(context).await,
        Command::Shape(args) => shape::run(context, args).await,
        Command::Top(args) => top::run(context, args).await,
        Command::Tail(args) => tail::run(context, args).await,
        Command::Reload => reload::run(context).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Backup(args) => backup::run(context, args).await,
        Command::Restore(args) => restore::run(context, args).await,
        Command::Compact => compact::run(context).await,
        Command::Rekey => rekey::run(context).await,
        Command::Export(args) => export::run(context, args).await,
        Command::Import(args) => import::run(context, args).await,
        Command::Sink(args) => sink::run(context, args).await,
        Command::Demo => demo::run(context).await,
    }
}

impl Context {
    /// Where sockets, state and key are.
    pub fn paths(&self) -> Result<Paths> {
        Ok(paths::look_up(&self.path_flags(), &self.env, |path| path.exists())?)
    }

    fn path_flags(&self) -> PathFlags {
        PathFlags {
            runtime_dir: self.global.runtime_dir.clone(),
            data: self.global.data.clone(),
            key_file: self.global.key_file.clone(),
            previous_key_file: self.global.previous_key_file.clone(),
        }
    }

    /// What the configuration is made from.
    #[must_use]
    pub fn inputs(&self) -> Inputs {
        Inputs { file: self.global.config.clone(), env: self.env.clone(), flags: self.global.set.clone() }
    }

    /// The checked configuration. What is odd about it is said on stderr.
    pub fn config(&self) -> Result<Config> {
        let config = self.inputs().load()?;
        for warning in &config.warnings {
            output::note(&format!("postrider: {warning}"));
        }
        Ok(config)
    }

    /// The socket for everything.
    fn admin(&self) -> Result<Transport> {
        self.socket(ADMIN_SOCKET)
    }

    /// The socket for events.
    fn submit(&self) -> Result<Transport> {
        self.socket(SUBMIT_SOCKET)
    }

    fn socket(&self, name: &str) -> Result<Transport> {
        let dir = paths::runtime_dir(&self.path_flags(), &self.env, |path| path.exists())?;
        Ok(Transport::Socket(dir.path.join(name)))
    }
}

#[cfg(test)]
mod tests;
