//! The two listening sockets: passed by systemd, or bound here. (Where outside services post is TCP; it may be passed too.)
//!
//! Who may talk to the daemon is decided by who may open these files: mode 0660 and a group each,
//! `postrider-submit` and `postrider-admin`, where those groups exist.

use std::io::{Error, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;

/// A socket's mode: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes events.
    Submit,
    /// Takes everything.
    Admin,
}

impl Role {
    /// The socket's file name in the runtime directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Role::Submit => "postrider.sock",
            Role::Admin => "admin.sock",
        }
    }

    /// What systemd calls it: `FileDescriptorName=`.
    #[must_use]
    pub fn fd_name(self) -> &'static str {
        match self {
            Role::Submit => "submit",
            Role::Admin => "admin",
        }
    }

    /// Whose members may use it.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Role::Submit => "postrider-submit",
            Role::Admin => "postrider-admin",
        }
    }
}

/// Why there is no socket. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SocketError {
    /// Somebody answers there.
    #[error("{path} is in use: another daemon listens there; stop it, or choose another --runtime-dir")]
    InUse { path: String },
    /// Something else has the name.
    #[error("{path} is in the way: it is not a socket; remove it, or choose another --runtime-dir")]
    NotASocket { path: String },
    /// The path does not fit into a socket's address.
    #[error("{path} is too long for a socket: at most 107 bytes; choose a shorter --runtime-dir")]
    TooLong { path: String },
    /// The directory or the socket cannot be made.
    #[error("cannot listen on {path}: {error}")]
    Bind { path: String, error: Error },
    /// What systemd passed is not what was expected.
    #[error("the sockets passed by the service manager cannot be used: {0}")]
    Passed(Error),
}

/// What the service manager passed, taken out of the environment.
#[derive(Default)]
pub struct Passed {
    submit: Option<UnixListener>,
    admin: Option<UnixListener>,
    sources: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

/// What systemd calls the sockets for outside services and for Prometheus: `FileDescriptorName=`.
const SOURCES: &str = "sources";
const METRICS: &str = "metrics";

impl Passed {
    /// Takes them. To be called once, first thing: it changes the environment.
    pub fn take() -> Result<Passed, SocketError> {
        let names = sd_notify::listen_fds_with_names().map_err(SocketError::Passed)?;
        let names: Vec<String> = names.map(|(_, name)| name).collect();
        let mut fds = ListenFd::from_env();
        let mut passed = Passed::default();
        for (index, name) in names.iter().enumerate() {
            if name == SOURCES && passed.sources.is_none() {
                passed.sources = fds.take_tcp_listener(index).map_err(SocketError::Passed)?;
                continue;
            }
            if name == METRICS && passed.metrics.is_none() {
                passed.metrics = fds.take_tcp_listener(index).map_err(SocketError::Passed)?;
                continue;
            }
            let Some(listener) = fds.take_unix_listener(index).map_err(SocketError::Passed)? else {
                continue;
            };
            match role_of(name, &listener) {
                Some(Role::Submit) if passed.submit.is_none() => passed.submit = Some(listener),
                Some(Role::Admin) if passed.admin.is_none() => passed.admin = Some(listener),
                _ => {
                    let message = format!(
                        "there is no use for the one named {name:?}: expected submit, admin, sources and metrics"
                    );
                    return Err(SocketError::Passed(Error::other(message)));
                }
            }
        }
        Ok(passed)
    }

    /// Whether neither of the two is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.submit.is_none() && self.admin.is_none()
    }

    /// Gives up the two: others are bound in their place.
    pub fn forget_sockets(&mut self) {
        (self.submit, self.admin) = (None, None);
    }

    /// The socket for outside services.
    pub fn take_sources(&mut self) -> Option<TcpListener> {
        self.sources.take()
    }

    /// The socket for Prometheus.
    pub fn take_metrics(&mut self) -> Option<TcpListener> {
        self.metrics.take()
    }

    fn take_role(&mut self, role: Role) -> Option<UnixListener> {
        match role {
            Role::Submit => self.submit.take(),
            Role::Admin => self.admin.take(),
        }
    }
}

/// By its name or, when socket units were written without `FileDescriptorName=`, by its path.
fn role_of(name: &str, listener: &UnixListener) -> Option<Role> {
    let address = listener.local_addr().ok();
    let file = address.as_ref().and_then(|address| address.as_pathname()?.file_name()?.to_str());
    [Role::Submit, Role::Admin]
        .into_iter()
        .find(|role| name == role.fd_name())
        .or_else(|| [Role::Submit, Role::Admin].into_iter().find(|role| file == Some(role.file_name())))
}

/// A listening socket and, if it was bound here, what to remove at the end.
#[derive(Debug)]
pub struct Listening {
    /// Which one it is.
    pub role: Role,
    /// The socket, non-blocking.
    pub listener: UnixListener,
    /// Set when bound here.
    own: Option<OwnSocket>,
}

impl Listening {
    /// What the socket leaves behind in the file system, to be kept until the end of the process.
    #[must_use]
    pub fn split(self) -> (UnixListener, Option<OwnSocket>) {
        (self.listener, self.own)
    }
}

/// A socket file of ours. Removed on drop, if it is still the one we made.
#[derive(Debug)]
pub struct OwnSocket {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|(inode, _)| inode == self.inode) {
            let _gone_already = std::fs::remove_file(&self.path);
        }
    }
}

/// The passed socket of this role, else one bound in `dir`.
pub fn listen(role: Role, passed: &mut Passed, dir: &Path) -> Result<Listening, SocketError> {
    let path = dir.join(role.file_name());
    let failed = |error| SocketError::Bind { path: path.display().to_string(), error };
    let (listener, own) = if let Some(listener) = passed.take_role(role) {
        (listener, None)
    } else {
        create_dir(dir).map_err(failed)?;
        let (listener, own) = bind(role, &path)?;
        (listener, Some(own))
    };
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Listening { role, listener, own })
}

/// A directory that we make is open to the group of the process at most, unless the sockets have groups of their own.
fn create_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    let has_groups = [Role::Submit, Role::Admin].iter().any(|role| group_id(role.group()).is_some());
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    // Whatever the umask: members of the sockets' groups must get through, and the sockets guard themselves.
    let mode = if has_groups && rustix::process::geteuid().is_root() { 0o755 } else { 0o750 };
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}

fn bind(role: Role, path: &Path) -> Result<(UnixListener, OwnSocket), SocketError> {
    let name = || path.display().to_string();
    clear_stale(path)?;
    let listener = UnixListener::bind(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => SocketError::TooLong { path: name() },
        ErrorKind::AddrInUse => SocketError::InUse { path: name() },
        _ => SocketError::Bind { path: name(), error },
    })?;
    let failed = |error| SocketError::Bind { path: name(), error };
    let (inode, _) = identity(path).map_err(failed)?;
    let own = OwnSocket { path: path.to_owned(), inode };
    // The group first: were the mode opened before, members of another group could slip in.
    if let Some(group) = group_id(role.group())
        && let Err(error) = chown(path, None, Some(group))
    {
        tracing::debug!(socket = name(), group = role.group(), %error, "the socket keeps the group of the process");
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok((listener, own))
}

/// Removes the socket that a killed daemon left behind; refuses to touch anything else.
fn clear_stale(path: &Path) -> Result<(), SocketError> {
    let name = || path.display().to_string();
    let failed = |error| SocketError::Bind { path: name(), error };
    match identity(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok((_, false)) => return Err(SocketError::NotASocket { path: name() }),
        Ok((_, true)) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(SocketError::InUse { path: name() }),
    }
}

/// Device and inode, and whether it is a socket; a symbolic link is itself.
fn identity(path: &Path) -> Result<((u64, u64), bool), Error> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok(((meta.dev(), meta.ino()), meta.file_type().is_socket()))
}

/// The number of a local group.
fn group_id(name: &str) -> Option<u32> {
    group_in(&std::fs::read_to_string("/etc/group").ok()?, name)
}

fn group_in(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() == Some(name) { fields.nth(1)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(dir: &Path) -> Result<Listening, SocketError> {
        listen(Role::Submit, &mut Passed::default(), dir)
    }

    #[test]
    fn a_socket_is_for_its_owner_and_group_and_goes_with_the_daemon() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run/postrider");
        let listening = bound(&dir).unwrap();
        let path = dir.join("postrider.sock");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o660);
        assert_eq!(dir.metadata().unwrap().mode() & 0o027, if dir_is_open(&dir) { 0o005 } else { 0 });
        UnixStream::connect(&path).unwrap();
        drop(listening);
        assert!(!path.exists());
    }

    fn dir_is_open(dir: &Path) -> bool {
        dir.metadata().unwrap().mode() & 0o001 != 0
    }

    #[test]
    fn what_a_killed_daemon_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        // std does not remove the file when the listener is closed: just what kill -9 leaves.
        drop(UnixListener::bind(dir.path().join("postrider.sock")).unwrap());
        let listening = bound(dir.path()).unwrap();
        UnixStream::connect(dir.path().join("postrider.sock")).unwrap();
        drop(listening);
    }

    #[test]
    fn a_living_daemon_keeps_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let living = bound(dir.path()).unwrap();
        assert!(matches!(bound(dir.path()), Err(SocketError::InUse { .. })));
        UnixStream::connect(dir.path().join("postrider.sock")).unwrap();
        drop(living);
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postrider.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bound(dir.path()), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(matches!(bound(dir.path()), Err(SocketError::NotASocket { .. })));
    }

    #[test]
    fn a_socket_that_is_no_longer_ours_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postrider.sock");
        let listening = bound(dir.path()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(listening);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn a_path_that_is_too_long_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = bound(&dir.path().join("x".repeat(120))).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\npostrider-submit:x:994:alice,bob\nbroken\npostrider-admin:x:993:\n";
        assert_eq!(group_in(groups, "postrider-submit"), Some(994));
        assert_eq!(group_in(groups, "postrider-admin"), Some(993));
        assert_eq!(group_in(groups, "broken"), None);
        assert_eq!(group_in(groups, "postrider"), None);
    }

    #[test]
    fn a_passed_socket_is_known_by_name_or_path() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("admin.sock")).unwrap();
        assert_eq!(role_of("submit", &listener), Some(Role::Submit));
        assert_eq!(role_of("postrider-admin.socket", &listener), Some(Role::Admin));
        assert_eq!(role_of("unknown", &UnixListener::bind(dir.path().join("x")).unwrap()), None);
    }
}
