//! The real binary on directories of its own: start, stop, kill, start again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Reply};
use super::{PATIENCE, wait_until};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_postrider");

/// The binary that daemons are started from: that under test, or another build of it (`POSTRIDER_TEST_BINARY`).
fn binary() -> PathBuf {
    std::env::var_os("POSTRIDER_TEST_BINARY").map_or_else(|| BINARY.into(), PathBuf::from)
}

/// Directories and settings that outlive a daemon: one installation.
pub struct Site {
    dir: TempDir,
    /// What is in `postrider.toml`.
    config: String,
}

impl Site {
    /// With what tests need: receivers on loopback over plain http, every log line, no free space set aside.
    pub fn new() -> Site {
        Site::with(
            "[egress]\nallow_http = [\"127.0.0.1/32\"]\n[log]\nlevel = \"debug\"\nformat = \"text\"\n[store]\nreserve_bytes = \"1MiB\"\n",
        )
    }

    /// With this configuration.
    pub fn with(config: &str) -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap(), config: config.to_owned() };
        std::fs::create_dir(site.run_dir()).unwrap();
        site.configure(config);
        site
    }

    /// Replaces the configuration file.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.config_file(), config).unwrap();
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &str {
        &self.config
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("postrider.toml")
    }

    pub fn submit_socket(&self) -> PathBuf {
        self.run_dir().join("postrider.sock")
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.run_dir().join("admin.sock")
    }

    /// Everything every daemon here wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The log, for a daemon to write to.
    pub fn log_append(&self) -> File {
        File::options().create(true).append(true).open(self.log_file()).unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// `postrider` with the paths of this site and an environment that holds nothing else of ours.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("POSTRIDER_CONFIG", self.config_file())
            .env("POSTRIDER_RUNTIME_DIR", self.run_dir())
            .env("POSTRIDER_DATA", self.data_dir())
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .arg(subcommand);
        command
    }

    /// `postrider serve`, its log going to the site's.
    pub fn serve_command(&self) -> Command {
        let mut command = self.command("serve");
        command.stdout(Stdio::null()).stderr(self.log_append());
        command
    }

    /// Starts a daemon and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Daemon<'_> {
        self.start_command(self.serve_command())
    }

    /// Starts a daemon by this command and waits until it is ready.
    #[track_caller]
    pub fn start_command(&self, mut command: Command) -> Daemon<'_> {
        let mut daemon = self.spawn(&mut command);
        wait_until("the daemon is ready", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status} instead of becoming ready:\n{}", self.log());
            }
            http::request(&self.admin_socket(), "GET", "/readyz", None).is_ok_and(|reply| reply.status == 200)
        });
        daemon
    }

    /// Starts a daemon by this command and does not wait.
    pub fn spawn(&self, command: &mut Command) -> Daemon<'_> {
        Daemon { child: command.spawn().unwrap(), site: self }
    }

    /// Runs `serve` that is expected to end by itself; its exit code and what it said.
    #[track_caller]
    pub fn serve_refused(&self, configure: impl FnOnce(&mut Command)) -> (i32, String) {
        let mut command = self.command("serve");
        configure(&mut command);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("serve was expected to refuse to start");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon<'site> {
    child: Child,
    site: &'site Site,
}

impl Daemon<'_> {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit once it has come.
    #[track_caller]
    pub fn terminate(self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// A request to the admin socket, with a JSON body if there is one.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.try_admin(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.site.log()))
    }

    /// The same, for when the daemon may be gone.
    pub fn try_admin(&self, method: &str, path: &str, body: &Value) -> Result<Reply, std::io::Error> {
        let text = body.to_string();
        let body = (!body.is_null()).then_some(("application/json", text.as_bytes()));
        http::request(&self.site.admin_socket(), method, path, body)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.admin("GET", path, &Value::Null).expect(200).json()
    }

    /// Creates an org and one webhook `main` to `url` with these other settings.
    #[track_caller]
    pub fn org(&self, org: &str, url: &str, settings: &Value) {
        self.org_only(org);
        self.webhook(org, "main", url, settings);
    }

    #[track_caller]
    pub fn org_only(&self, org: &str) {
        let reply = self.admin("PUT", &format!("/v1/orgs/{org}"), &json!({}));
        assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
    }

    #[track_caller]
    pub fn webhook(&self, org: &str, webhook: &str, url: &str, settings: &Value) {
        let mut body = json!({ "url": url });
        if let Some(settings) = settings.as_object() {
            body.as_object_mut().unwrap().extend(settings.clone());
        }
        let reply = self.admin("PUT", &format!("/v1/orgs/{org}/webhooks/{webhook}"), &body);
        assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
    }

    /// Hands in one event on the submit socket; the answer, which must be 202.
    #[track_caller]
    pub fn enqueue(&self, org: &str, event: &Value) -> Value {
        self.try_enqueue(org, event).unwrap().expect(202).json()
    }

    /// The same, for when it may fail.
    pub fn try_enqueue(&self, org: &str, event: &Value) -> Result<Reply, std::io::Error> {
        enqueue(&self.site.submit_socket(), org, event)
    }

    /// Every item of a list, page after page.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=1000{after}"));
            all.extend(items(&page));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    }

    /// The org's queue, head first.
    #[track_caller]
    pub fn queue(&self, org: &str) -> Vec<Value> {
        self.list(&format!("/v1/orgs/{org}/queue"))
    }

    /// The org's dead letters, oldest first.
    #[track_caller]
    pub fn dead_letters(&self, org: &str) -> Vec<Value> {
        self.list(&format!("/v1/orgs/{org}/dead-letters"))
    }

    /// Waits until nothing of the org waits any more, by its depth: what has left a list may not be committed yet.
    #[track_caller]
    pub fn drained(&self, org: &str) {
        wait_until("the queue is empty", || self.get(&format!("/v1/orgs/{org}"))["queue"]["depth"] == 0);
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.site.log());
        }
    }
}

/// Hands in one event.
pub fn enqueue(socket: &Path, org: &str, event: &Value) -> Result<Reply, std::io::Error> {
    http::request(
        socket,
        "POST",
        &format!("/v1/orgs/{org}/events"),
        Some(("application/json", event.to_string().as_bytes())),
    )
}

/// The items of a list.
#[track_caller]
pub fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().unwrap_or_else(|| panic!("no items in {list}")).clone()
}

/// The `retry` of a webhook: how many attempts, and the waits between them.
pub fn retry(attempts: u32, first_ms: u64, factor: f64, max_ms: u64) -> Value {
    json!({"retry": {
        "attempts": attempts, "first_delay": format!("{first_ms}ms"), "factor": factor, "max_delay": format!("{max_ms}ms"),
    }})
}
