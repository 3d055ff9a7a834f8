//! A bare Debian that is booted: a root made by debootstrap once and kept below the target directory, an overlay over it that
//! is thrown away, and systemd as process 1 in a container of systemd-nspawn, with a network of its own.
//!
//! What runs inside is reached by `nsenter`, its files through `/proc`.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::cli::Ran;
use crate::support::wait_until;

/// What is installed beside what every Debian has.
const PACKAGES: &str = "systemd-sysv";
/// Boots, with everything that is to be read inside: a directory here, and where it is there.
const BOOT: &str = "set -e
root=$1 dir=$2; shift 2
mount -t overlay overlay -o \"lowerdir=$root,upperdir=$dir/upper,workdir=$dir/work\" \"$dir/root\"
exec systemd-nspawn --quiet --directory=\"$dir/root\" --register=no --keep-unit \\
    --private-network --resolv-conf=off --timezone=off --link-journal=no --console=pipe --boot \"$@\"";

/// A booted machine; gone when dropped.
pub struct Machine {
    supervisor: Child,
    /// The process id, seen from here, of what is process 1 there.
    init: u32,
    dir: TempDir,
    /// One machine at a time: they would share their control groups.
    _turn: File,
}

impl Machine {
    /// Boots one in which each of these directories is readable at the path beside it.
    #[track_caller]
    pub fn boot(shared: &[(&Path, &str)]) -> Machine {
        assert!(
            rustix::process::geteuid().is_root(),
            "booting a system in a container takes root: run the tests as root"
        );
        let (root, turn) = debian();
        let dir = tempfile::Builder::new().prefix("booted-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["upper", "work", "root"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let console = File::create(dir.path().join("console")).unwrap();
        // Mounts and processes go with the namespaces, and those with this thread, however it ends.
        let mut boot = Command::new("setpriv");
        boot.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
        boot.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", BOOT, "boot"]);
        boot.arg(root).arg(dir.path());
        for (here, there) in shared {
            boot.arg(format!("--bind-ro={}:{there}", here.display()));
        }
        boot.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
        let supervisor = boot.spawn().expect("setpriv is there: Debian has it in the package util-linux");
        let mut machine = Machine { supervisor, init: 0, dir, _turn: turn };
        wait_until("the container has a process 1", || {
            machine.is_up();
            machine.init = init_of(machine.supervisor.id()).unwrap_or(0);
            machine.init != 0
        });
        wait_until("the machine has booted", || {
            machine.is_up();
            let state = machine.run("systemctl is-system-running");
            assert_ne!(state.out, "degraded\n", "{:?}", machine.run("systemctl --failed"));
            state.out == "running\n"
        });
        machine
    }

    fn is_up(&mut self) {
        if let Some(status) = self.supervisor.try_wait().unwrap() {
            panic!(
                "systemd-nspawn ended with {status}: {}\nIt takes the packages systemd-container and util-linux, and a kernel \
                 that lets root mount overlays and make namespaces",
                std::fs::read_to_string(self.dir.path().join("console")).unwrap_or_default()
            );
        }
    }

    /// Runs a script for the shell inside, as root.
    pub fn run(&self, script: &str) -> Ran {
        let output = Command::new("nsenter")
            .args(["--all", &format!("--target={}", self.init), "sh", "-c", script])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/root")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .expect("nsenter is there: Debian has it in the package util-linux");
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Ran { code: output.status.code().unwrap_or(-1), out, err }
    }

    /// The same for a script that must succeed; what it wrote to stdout.
    #[track_caller]
    pub fn must(&self, script: &str) -> String {
        let ran = self.run(&format!("set -e\n{script}"));
        assert_eq!(ran.code, 0, "{script}\nstdout: {}\nstderr: {}\n{}", ran.out, ran.err, self.journal());
        ran.out
    }

    /// A property of the service.
    pub fn service(&self, property: &str) -> String {
        self.must(&format!("systemctl show --property={property} --value postrider.service"))
            .trim()
            .to_owned()
    }

    /// What the service, and systemd about it, has written so far.
    pub fn journal(&self) -> String {
        self.run("journalctl --no-pager --output=short-precise --unit=postrider").out
    }

    /// Waits until the service's log has this.
    #[track_caller]
    pub fn logged(&self, text: &str) {
        wait_until(&format!("the log has {text:?}"), || self.journal().contains(text));
    }

    /// Where a file of the machine is, seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Does something in the machine's network. Sockets and threads that it makes stay there.
    pub fn in_its_network<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let link = File::open(format!("/proc/{}/ns/net", self.init)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                what()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.init != 0 {
            eprintln!("--- the machine's journal ---\n{}", self.run("journalctl --no-pager --lines=200").out);
        }
        // All that it made goes with it.
        let _gone_already = self.supervisor.kill();
        let _gone_already = self.supervisor.wait();
    }
}

/// The process below this one that is process 1 of the container: two namespaces down, since its supervisor has one as well.
fn init_of(process: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let own = std::fs::read_to_string("/proc/self/status").ok()?;
    let depth = own.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().count();
    if ids.split_whitespace().count() == depth + 2 && ids.ends_with("\t1") {
        return Some(process);
    }
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().filter_map(|child| child.parse().ok()).find_map(init_of)
}

/// The root that machines stand on, and the turn to use it. It is made when it is not there: the mirror is the one of this
/// machine's apt, the release that of this machine.
fn debian() -> (PathBuf, File) {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("debian-root");
    std::fs::create_dir_all(&place).unwrap();
    let turn = File::create(place.join("turn")).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    let release = os_release("VERSION_CODENAME");
    let root = place.join(format!("{release}-{PACKAGES}"));
    if !root.exists() {
        // One that was not finished may be there.
        let making = place.join("making");
        if making.exists() {
            std::fs::remove_dir_all(&making).unwrap();
        }
        let made = Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), &release])
            .arg(&making)
            .arg(mirror(&release))
            .output()
            .expect("debootstrap is installed: Debian has it in a package of its name");
        let said = String::from_utf8_lossy(&made.stdout);
        assert!(made.status.success(), "debootstrap: {said}{}", String::from_utf8_lossy(&made.stderr));
        std::fs::rename(making, &root).unwrap();
    }
    (root, turn)
}

fn os_release(key: &str) -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("/etc/os-release has no {key}")).trim_matches('"').to_owned()
}

/// Where this machine's apt has its release from.
fn mirror(release: &str) -> String {
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"])
        .output()
        .expect("apt-get is there: these tests need a Debian");
    let targets = String::from_utf8(targets.stdout).unwrap();
    let of_release = targets.lines().find_map(|line| line.strip_prefix(&format!("{release} main ")));
    of_release.unwrap_or_else(|| panic!("apt has no source for {release} main: {targets}")).to_owned()
}
