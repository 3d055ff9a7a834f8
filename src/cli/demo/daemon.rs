//! A daemon for the demo: a child process in a temporary directory, gone with it at the end.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::PATIENCE;
use crate::cli::exit::{Failure, Result};
use crate::cli::transport::{ADMIN_SOCKET, SUBMIT_SOCKET, Transport};
use crate::config::Env;

/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// The path of a Unix socket has at most 107 bytes; beyond this the usual temporary directory is not used.
const TEMP_DIR_BYTES_MAX: usize = 60;

/// A running daemon.
pub(super) struct Daemon {
    child: Child,
    dir: PathBuf,
    /// Its socket for events.
    pub(super) submit: Transport,
    /// Its socket for everything.
    pub(super) admin: Transport,
}

impl Daemon {
    /// Starts it, and waits until it is ready.
    pub(super) async fn start(env: &Env) -> Result<Daemon> {
        let dir = temp_dir(env);
        let failed = |what: &str, error: &std::io::Error| Failure::failed(format!("cannot {what}: {error}"));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| failed(&format!("create {}", dir.display()), &error))?;
        let spawned = spawn(&dir, env);
        let child = spawned.map_err(|error| {
            remove(&dir);
            failed("start the daemon", &error)
        })?;
        let socket = |name| Transport::Socket(dir.join(name));
        let (submit, admin) = (socket(SUBMIT_SOCKET), socket(ADMIN_SOCKET));
        let mut daemon = Daemon { child, dir, submit, admin };
        match daemon.ready().await {
            Ok(()) => Ok(daemon),
            Err(reason) => Err(Failure::failed(format!("{reason}; its log:\n{}", daemon.log()))),
        }
    }

    async fn ready(&mut self) -> std::result::Result<(), String> {
        let start = Instant::now();
        while self.admin.get("/readyz").await.is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the daemon ended at once with {status}"));
            }
            if start.elapsed() > PATIENCE {
                return Err("the daemon does not become ready".to_owned());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Where it lives.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Asks it to end, and fails if it does not end well.
    pub(super) async fn stop(&mut self) -> Result<()> {
        // Already gone is told by its exit status.
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap_or_default();
        let start = Instant::now();
        let status: ExitStatus = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if start.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
                Ok(None) => return Err(Failure::failed("the daemon does not end")),
                Err(error) => return Err(Failure::failed(format!("the daemon is lost: {error}"))),
            }
        };
        if status.success() {
            Ok(())
        } else {
            Err(Failure::failed(format!("the daemon ended with {status}; its log:\n{}", self.log())))
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
        remove(&self.dir);
    }
}

fn spawn(dir: &Path, env: &Env) -> std::io::Result<Child> {
    let config = dir.join("postrider.toml");
    std::fs::write(
        &config,
        "[egress]\nallow_http = [\"127.0.0.1/32\"]\n[store]\nreserve_bytes = \"16MiB\"\n",
    )?;
    let log = File::create(dir.join("log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--runtime-dir")
        .arg(dir)
        // Settings meant for a real daemon must not reach this one.
        .env_clear()
        .envs(env.get_key_value("PATH"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn()
}

/// A name that nobody else has.
fn temp_dir(env: &Env) -> PathBuf {
    let usual = env.get("TMPDIR").filter(|dir| !dir.is_empty() && dir.len() <= TEMP_DIR_BYTES_MAX);
    let parent = usual.map_or("/tmp", String::as_str);
    Path::new(parent).join(format!("postrider-demo-{}-{:08x}", std::process::id(), fastrand::u32(..)))
}

/// What cannot be removed stays; its name says whose it is.
fn remove(dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap_or_default();
}
