//! A network of our own: a machine where the daemon runs, and an internet beside it that has every address. Both are
//! network namespaces, joined by a pair of interfaces; making them takes root and iproute2.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Site;

/// The machine's own addresses toward the internet: one interface, so the second is one that the kernel routes to from
/// the first.
pub const OWN: [&str; 2] = ["93.184.216.1", "93.184.216.2"];
/// A receiver out there, on the same link.
pub const PUBLIC: &str = "93.184.216.34";
/// Where the machine asks for names.
const NAME_SERVER: &str = "127.0.0.53";

/// Gone when dropped.
pub struct Network {
    machine: Namespace,
    internet: Namespace,
}

impl Network {
    /// Makes both. The machine has these addresses beside loopback and [`OWN`], and this hosts file.
    pub fn new(addresses: &[&str], hosts: &str) -> Network {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("pr{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let machine = Namespace::new(&format!("{id}m"));
        let internet = Namespace::new(&format!("{id}i"));
        machine.ip(&["link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", &internet.name]);
        internet.ip(&["addr", "add", &format!("{PUBLIC}/24"), "dev", "down0"]);
        internet.ip(&["addr", "add", "2606:2800::34/64", "dev", "down0", "nodad"]);
        internet.ip(&["link", "set", "down0", "up"]);
        // Every address beyond the one link is there as well.
        internet.ip(&["route", "add", "local", "default", "dev", "lo", "table", "main"]);
        internet.ip(&["-6", "route", "add", "local", "default", "dev", "lo", "table", "main"]);
        for own in OWN {
            machine.ip(&["addr", "add", &format!("{own}/24"), "dev", "up0"]);
        }
        machine.ip(&["addr", "add", "2606:2800::1/64", "dev", "up0", "nodad"]);
        machine.ip(&["link", "set", "up0", "up"]);
        machine.ip(&["route", "add", "default", "via", PUBLIC]);
        machine.ip(&["-6", "route", "add", "default", "via", "2606:2800::34"]);
        for address in addresses {
            machine.ip(&["addr", "add", address, "dev", "lo"]);
        }
        std::fs::write(machine.etc().join("resolv.conf"), format!("nameserver {NAME_SERVER}\n")).unwrap();
        std::fs::write(machine.etc().join("hosts"), hosts).unwrap();
        Network { machine, internet }
    }

    /// The socket of the machine's name server.
    pub fn name_server(&self) -> UdpSocket {
        self.machine.inside(|| UdpSocket::bind((NAME_SERVER, 53)).unwrap())
    }

    /// Every address of the machine, on this port.
    pub fn machine(&self, port: u16) -> Everyone {
        Everyone::start(self.machine.inside(|| TcpListener::bind(("::", port)).unwrap()))
    }

    /// Every address that is not the machine's, on this port.
    pub fn internet(&self, port: u16) -> Everyone {
        Everyone::start(self.internet.inside(|| TcpListener::bind(("::", port)).unwrap()))
    }

    /// From the machine there is no way to this address.
    pub fn cut_off(&self, address: &str) {
        self.machine.ip(&["route", "add", "unreachable", address]);
    }

    /// `postrider serve` on the machine.
    pub fn serve_command(&self, site: &Site) -> Command {
        let serve = site.serve_command();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.machine.name]).arg(serve.get_program()).args(serve.get_args());
        command.env_clear();
        for (name, value) in serve.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(site.log_append());
        command
    }
}

/// One namespace, with files of its own below `/etc`.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(name: &str) -> Namespace {
        run(Command::new("ip").args(["netns", "add", name]));
        let namespace = Namespace { name: name.to_owned() };
        std::fs::create_dir_all(namespace.etc()).unwrap();
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// What lies here is in `/etc` for commands run inside.
    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    fn ip(&self, arguments: &[&str]) {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments));
    }

    /// Does something inside, on a thread of its own. Sockets stay where they were made.
    fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let link = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                what()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(self.etc());
        let _left_behind = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: install iproute2"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A listener that answers every connection's first request with 200 and closes, and counts whom it was reached as.
pub struct Everyone {
    seen: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Everyone {
    fn start(listener: TcpListener) -> Everyone {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let everyone = Everyone { seen: seen.clone() };
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let reached = stream.local_addr().unwrap().ip().to_canonical();
                *seen.lock().unwrap().entry(reached).or_default() += 1;
                let _read = stream.read(&mut [0; 4096]);
                let _sent =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            }
        });
        everyone
    }

    /// Connections by the address that was dialled.
    pub fn seen(&self) -> BTreeMap<IpAddr, usize> {
        self.seen.lock().unwrap().clone()
    }
}
