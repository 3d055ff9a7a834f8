//! The real daemon as a child process: started on a data directory, waited for, killed, asked for its last words.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::http::{Answer, Connection};

/// What every wait ends with: longer than anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How to start it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The key; without one, the daemon keeps its own in the data directory.
    pub key_file: Option<PathBuf>,
    /// `POSTRIDER_STORE_RESERVE_BYTES`.
    pub reserve_bytes: Option<String>,
    /// `POSTRIDER_SOURCES_LISTEN`.
    pub sources_port: Option<u16>,
    /// A command to start it under, with its arguments: strace.
    pub under: Vec<String>,
}

/// A running daemon; killed on drop.
pub struct Daemon {
    child: Child,
    runtime: TempDir,
    /// Whether `child` is a wrapper and the daemon its child.
    wrapped: bool,
}

impl Daemon {
    /// Starts it on `data` and does not wait for anything.
    pub fn spawn(data: &Path, options: &Options) -> Daemon {
        let runtime = tempfile::Builder::new().prefix("pr").tempdir().expect("a runtime directory");
        let mut words = options.under.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_postrider")]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg("serve").arg("--data").arg(data).arg("--runtime-dir").arg(runtime.path());
        if let Some(key) = &options.key_file {
            command.arg("--key-file").arg(key);
        }
        // An environment that holds nothing else of ours.
        command.env_clear().env("HOME", runtime.path()).env("RUST_BACKTRACE", "1");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(reserve) = &options.reserve_bytes {
            command.env("POSTRIDER_STORE_RESERVE_BYTES", reserve);
        }
        if let Some(port) = options.sources_port {
            command.env("POSTRIDER_SOURCES_LISTEN", port.to_string());
            command.env("POSTRIDER_SOURCES_MAX_RATE", "1000000");
        }
        let log = File::create(runtime.path().join("log")).expect("a log file");
        command.env("POSTRIDER_EGRESS_ALLOW_HTTP", "127.0.0.1/32").stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Daemon { child, runtime, wrapped: !options.under.is_empty() }
    }

    /// Starts it and waits until it is ready.
    pub fn start(data: &Path, options: &Options) -> Daemon {
        let mut daemon = Daemon::spawn(data, options);
        wait_until("the daemon is ready", || {
            if let Some(status) = daemon.exited() {
                panic!("the daemon ended with {status} before it was ready:\n{}", daemon.log());
            }
            daemon.is_ready()
        });
        daemon
    }

    /// Whether it says so.
    pub fn is_ready(&self) -> bool {
        Connection::open(&self.admin_socket())
            .and_then(|mut connection| connection.call("GET", "/readyz", ""))
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Where producers connect.
    pub fn submit_socket(&self) -> PathBuf {
        self.runtime.path().join("postrider.sock")
    }

    /// Where operators connect.
    pub fn admin_socket(&self) -> PathBuf {
        self.runtime.path().join("admin.sock")
    }

    /// One call on the admin socket, which must be answered.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        Connection::open(&self.admin_socket())
            .and_then(|mut connection| connection.call(method, path, body))
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()))
    }

    /// What it has written to stderr, without its account of each failed attempt.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.runtime.path().join("log")).unwrap_or_default();
        log.lines()
            .filter(|line| !line.contains("scheduler::attempt"))
            .fold(String::new(), |log, line| log + line + "\n")
    }

    /// Its status, once it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the daemon does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The daemon's own process, be it wrapped or not.
    fn pid(&self) -> Option<rustix::process::Pid> {
        let id = self.child.id();
        let id = if self.wrapped {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()?
        } else {
            id
        };
        rustix::process::Pid::from_raw(i32::try_from(id).ok()?)
    }

    /// Asks it to stop and waits until it has; answers its status.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        let pid = self.pid().expect("a running daemon");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal sent");
        self.wait_for_exit()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.exited().is_none() {
            if let Some(pid) = self.pid() {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
            self.child.wait().ok();
        }
    }
}
