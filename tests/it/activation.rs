//! Sockets passed by a service manager, and what it is told: without one, by passing them as it does (`sd_listen_fds(3)`)
//! and listening where it listens (`sd_notify(3)`).

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::BINARY;
use crate::support::{Daemon, PATIENCE, Receiver, Site, http, wait_until};

/// What a service manager keeps while the daemon comes and goes.
struct Manager {
    submit: UnixListener,
    admin: UnixListener,
    notify: UnixDatagram,
}

impl Manager {
    fn new(site: &Site) -> Manager {
        let notify = UnixDatagram::bind(site.dir().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager {
            submit: UnixListener::bind(site.submit_socket()).unwrap(),
            admin: UnixListener::bind(site.admin_socket()).unwrap(),
            notify,
        }
    }

    /// `serve` with the sockets as descriptors 3 and 4: the shell moves them there, and becomes the daemon under the
    /// process id that it has put into the environment.
    fn serve(&self, site: &Site, watchdog: Duration) -> Command {
        const SCRIPT: &str = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=admin:submit; \
                              exec \"$0\" serve 3<&1 4<&0 0</dev/null 1>/dev/null";
        let serve = site.serve_command();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, BINARY]).env_clear();
        command.envs(serve.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
        // The sockets are found as they are under systemd: it names no directory.
        command.env_remove("POSTRIDER_RUNTIME_DIR").env("RUNTIME_DIRECTORY", site.dir().join("unused"));
        command.env("NOTIFY_SOCKET", site.dir().join("notify"));
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command.stdin(Stdio::from(OwnedFd::from(self.submit.try_clone().unwrap())));
        command.stdout(Stdio::from(OwnedFd::from(self.admin.try_clone().unwrap())));
        command
            .stderr(std::fs::File::options().create(true).append(true).open(site.dir().join("log")).unwrap());
        command
    }

    /// The next notification that has `word`.
    #[track_caller]
    fn told(&self, word: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer).unwrap_or_else(|error| panic!("no {word}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(word) {
                return text;
            }
        }
    }
}

fn start<'site>(manager: &Manager, site: &'site Site) -> Daemon<'site> {
    site.start_command(manager.serve(site, Duration::from_secs(1)))
}

#[test]
fn activation_takes_the_passed_sockets_and_producers_wait_through_a_restart() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let receiver = Receiver::start();
    // A producer that comes before the daemon does.
    let mut early = UnixStream::connect(site.submit_socket()).unwrap();
    early.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let daemon = start(&manager, &site);
    assert_eq!(http::read_reply(&mut early).unwrap().status, 200);
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    assert!(!site.dir().join("unused").exists(), "nothing else is bound");
    daemon.kill();

    let socket = site.submit_socket();
    let producer = std::thread::spawn(move || {
        crate::support::daemon::enqueue(&socket, "acme", &json!({"type": "t", "payload": 1}))
    });
    let daemon = start(&manager, &site);
    producer.join().unwrap().unwrap().expect(202);
    wait_until("it is delivered", || receiver.count() == 1);
    assert!(daemon.terminate().success());
    assert!(site.submit_socket().exists() && site.admin_socket().exists(), "they are not ours to remove");
}

#[test]
fn activation_the_service_manager_is_told_what_happens() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let daemon = start(&manager, &site);
    assert!(manager.told("READY=1").contains("STATUS="));
    for _ in 0..3 {
        manager.told("WATCHDOG=1");
    }
    daemon.signal(Signal::HUP);
    assert!(manager.told("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.told("READY=1");
    // A reload that fails ends as well, with the old configuration in force.
    site.configure("nonsense");
    daemon.signal(Signal::HUP);
    manager.told("RELOADING=1");
    manager.told("READY=1");
    daemon.signal(Signal::TERM);
    manager.told("STOPPING=1");
    assert!(daemon.wait().success());
}

#[test]
fn activation_the_status_says_that_the_disk_is_below_its_reserve() {
    let site = Site::with(&Site::new().config().replace("\"1MiB\"", "\"100000GiB\""));
    let manager = Manager::new(&site);
    let mut daemon = site.spawn(&mut manager.serve(&site, Duration::from_secs(1)));
    manager.told("STATUS=the disk is below its reserve: refusing events");
    // A reload does not take it back.
    daemon.signal(Signal::HUP);
    manager.told("RELOADING=1");
    assert!(manager.told("READY=1").contains("refusing events"));
    assert!(daemon.ended().is_none());
}

#[test]
fn activation_a_named_directory_goes_before_passed_sockets() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let named = site.dir().join("named");
    let mut command = manager.serve(&site, Duration::from_secs(1));
    command.env("POSTRIDER_RUNTIME_DIR", &named);
    let mut daemon = site.spawn(&mut command);
    wait_until("it listens where it was told to", || {
        assert!(daemon.ended().is_none(), "{}", site.log());
        http::request(&named.join("admin.sock"), "GET", "/readyz", None)
            .is_ok_and(|reply| reply.status == 200)
    });
}
