//! The subject: the real daemon, started from this very binary in a directory of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Method;

use super::load::Connection;
use super::payload;
use super::workspace::Children;

/// A daemon that has not become ready in this time never will.
const READY_MAX: Duration = Duration::from_secs(120);

/// A place for one daemon's store, and the daemon while it runs. Dropping it kills the daemon and removes the place.
pub struct Daemon {
    home: PathBuf,
    runtime_dir: PathBuf,
    child: Option<Child>,
    children: Children,
}

/// What a daemon has beside the defaults.
#[derive(Default)]
pub struct Extras {
    /// A catalogue for the bench's events.
    pub knows: bool,
    /// Where it takes requests of sources, as many as come.
    pub sources: Option<SocketAddr>,
}

impl Daemon {
    /// Starts one on an empty store in `home`, its sockets in `runtime_dir` (a socket's path has to be short).
    pub async fn start(
        home: PathBuf,
        runtime_dir: PathBuf,
        children: Children,
        extras: Extras,
    ) -> anyhow::Result<Daemon> {
        fs::create_dir_all(&home)?;
        fs::create_dir_all(&runtime_dir)?;
        let directory = if extras.knows { home.join("catalogue") } else { PathBuf::new() };
        if extras.knows {
            payload::write_catalogue(&directory)?;
        }
        let listen = extras.sources.map(|address| address.to_string()).unwrap_or_default();
        let config = format!(
            "[egress]\nallow_http = [\"127.0.0.1/32\"]\n[catalogue]\ndir = '{}'\n\
             [sources]\nlisten = \"{listen}\"\nmax_rate = 1_000_000\n",
            directory.display()
        );
        fs::write(home.join("postrider.toml"), config)?;
        let mut daemon = Daemon { home, runtime_dir, child: None, children };
        daemon.spawn().await?;
        Ok(daemon)
    }

    /// Starts the daemon on this store (again) and waits until it is ready. Answers how long that took.
    pub async fn spawn(&mut self) -> anyhow::Result<Duration> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let start = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("--config")
            .arg(self.home.join("postrider.toml"))
            .arg("--data")
            .arg(self.store())
            .arg("--runtime-dir")
            .arg(&self.runtime_dir)
            // Overrides of the configuration, and sockets of systemd, are meant for others.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the daemon")?;
        self.children.add(child.id());
        self.child = Some(child);
        while !self.is_ready().await {
            let exited = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if exited.is_some() || start.elapsed() > READY_MAX {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                bail!("the daemon did not become ready ({exited:?}); its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(start.elapsed())
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(&self.socket()).await else { return false };
        connection.expect(Method::GET, "/readyz", Bytes::new()).await.is_ok()
    }

    /// Kills it as power loss of the process does: at once, without a word.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
            self.children.remove(child.id());
        }
        Ok(())
    }

    /// The producers' socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("postrider.sock")
    }

    /// A connection to the operators' socket.
    pub async fn admin(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.runtime_dir.join("admin.sock")).await
    }

    fn store(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// What it keeps in memory, in MiB.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        let pid = self.child.as_ref().context("no daemon runs")?.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// The processor time it has used since it was started, to a hundredth of a second.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        /// Of what /proc counts in, whatever the kernel's own clock.
        const TICK: Duration = Duration::from_millis(10);
        let pid = self.child.as_ref().context("no daemon runs")?.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(TICK * ticks)
    }

    /// What it says of itself.
    pub async fn status(&self) -> anyhow::Result<serde_json::Value> {
        let answer = self.admin().await?.expect(Method::GET, "/v1/status", Bytes::new()).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Deliveries that wait in its queues.
    pub async fn waiting(&self) -> anyhow::Result<u64> {
        let status = self.status().await?;
        status
            .pointer("/counts/deliveries")
            .and_then(serde_json::Value::as_u64)
            .context("status without deliveries")
    }

    /// What its store takes on disk, in MiB. The ballast that is kept for a full disk is not counted.
    pub fn store_mib(&self) -> anyhow::Result<f64> {
        Ok(super::mib(allocated_bytes(&self.store())?))
    }

    /// Creates `count` orgs named `PREFIX-N`, each with one webhook that goes to `url`, over some connections at once.
    /// Answers their names.
    pub async fn configure(
        &self,
        prefix: &str,
        count: usize,
        url: &str,
        webhook: &str,
    ) -> anyhow::Result<Vec<String>> {
        const CONNECTIONS: usize = 32;
        let orgs: Vec<String> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
        let mut tasks = tokio::task::JoinSet::new();
        for share in orgs.chunks(count.div_ceil(CONNECTIONS).max(1)) {
            let mut admin = self.admin().await?;
            let share = share.to_vec();
            let body = Bytes::from(format!(r#"{{"url":"{url}"{webhook}}}"#));
            tasks.spawn(async move {
                for org in share {
                    let path = format!("/v1/orgs/{org}");
                    admin.expect(Method::PUT, &path, Bytes::from_static(b"{}")).await?;
                    admin.expect(Method::PUT, &format!("{path}/webhooks/bench"), body.clone()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(finished) = tasks.join_next().await {
            finished??;
        }
        Ok(orgs)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is left to tell about it.
        drop(self.kill());
        drop(fs::remove_dir_all(&self.home));
        drop(fs::remove_dir_all(&self.runtime_dir));
    }
}

fn allocated_bytes(path: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() {
            allocated_bytes(&entry.path())?
        } else if entry.file_name().to_string_lossy().contains("ballast") {
            0
        } else {
            std::os::unix::fs::MetadataExt::blocks(&meta) * 512
        };
    }
    Ok(total)
}
