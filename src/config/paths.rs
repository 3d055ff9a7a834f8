//! Where the sockets, the state and the key are: the same answer for the daemon and for every command.
//!
//! PURE: the environment and the two questions to the file system come in as values.

use std::path::PathBuf;

use super::Env;

/// The system-wide runtime directory, used if it is there.
pub const SYSTEM_RUNTIME_DIR: &str = "/run/postrider";
/// The key's file name in a credentials or state directory.
pub const KEY_FILE_NAME: &str = "postrider.key";
/// The file name of the key before it, in a credentials directory.
pub const PREVIOUS_KEY_FILE_NAME: &str = "postrider-previous.key";

/// What the command line says about paths; the environment's `POSTRIDER_*` come second.
#[derive(Debug, Clone, Default)]
pub struct PathFlags {
    /// `--runtime-dir`.
    pub runtime_dir: Option<PathBuf>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--key-file`.
    pub key_file: Option<PathBuf>,
    /// `--previous-key-file`.
    pub previous_key_file: Option<PathBuf>,
}

/// A path and what named it, for `check-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// The flag, variable or rule that says so.
    pub from: &'static str,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Holds `postrider.sock` and `admin.sock`.
    pub runtime_dir: Found,
    /// The runtime directory was named for postrider by a flag or `POSTRIDER_RUNTIME_DIR`: it goes before sockets that
    /// systemd passes.
    pub runtime_dir_explicit: bool,
    /// Holds the store, and the key unless it is elsewhere.
    pub data_dir: Found,
    /// The key.
    pub key_file: Found,
    /// The key file is the daemon's own: it is generated if it is not there. A key that was named must be there.
    pub key_generated: bool,
    /// The key before it, while records may still be sealed with that one.
    pub previous_key_file: Option<Found>,
}

/// There is no state directory to fall back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no state directory: give --data DIR, or set POSTRIDER_DATA, STATE_DIRECTORY, XDG_STATE_HOME or HOME"
)]
pub struct NoStateDirectory;

/// Looks everything up. `exists` answers whether a path is there.
pub fn look_up(
    flags: &PathFlags,
    env: &Env,
    exists: impl Fn(&PathBuf) -> bool,
) -> Result<Paths, NoStateDirectory> {
    let data_dir = data_dir(flags, env)?;
    let runtime_dir_explicit = explicit_runtime_dir(flags, env).is_some();
    let runtime_dir = runtime_dir(flags, env, &exists)?;
    let named_key = flags
        .key_file
        .clone()
        .map(|path| Found { path, from: "--key-file" })
        .or_else(|| named(env, "POSTRIDER_KEY_FILE"))
        .or_else(|| below(env, "CREDENTIALS_DIRECTORY", KEY_FILE_NAME).filter(|found| exists(&found.path)));
    let key_generated = named_key.is_none();
    let key_file = named_key
        .unwrap_or_else(|| Found { path: data_dir.path.join(KEY_FILE_NAME), from: "the state directory" });
    let previous_key_file = flags
        .previous_key_file
        .clone()
        .map(|path| Found { path, from: "--previous-key-file" })
        .or_else(|| named(env, "POSTRIDER_PREVIOUS_KEY_FILE"))
        .or_else(|| {
            below(env, "CREDENTIALS_DIRECTORY", PREVIOUS_KEY_FILE_NAME).filter(|found| exists(&found.path))
        });
    Ok(Paths { runtime_dir, runtime_dir_explicit, data_dir, key_file, key_generated, previous_key_file })
}

/// Where the sockets are: all that a command needs that talks to a running daemon. The state directory is asked for only
/// when nothing else names a place: a service that hands in events may have no home.
pub fn runtime_dir(
    flags: &PathFlags,
    env: &Env,
    exists: impl Fn(&PathBuf) -> bool,
) -> Result<Found, NoStateDirectory> {
    let found = explicit_runtime_dir(flags, env)
        .or_else(|| first_of(env, "RUNTIME_DIRECTORY"))
        .or_else(|| {
            let path = PathBuf::from(SYSTEM_RUNTIME_DIR);
            exists(&path).then_some(Found { path, from: "it is there" })
        })
        .or_else(|| below(env, "XDG_RUNTIME_DIR", "postrider"));
    match found {
        Some(found) => Ok(found),
        None => Ok(Found { path: data_dir(flags, env)?.path, from: "the state directory" }),
    }
}

fn explicit_runtime_dir(flags: &PathFlags, env: &Env) -> Option<Found> {
    let flag = flags.runtime_dir.clone().map(|path| Found { path, from: "--runtime-dir" });
    flag.or_else(|| named(env, "POSTRIDER_RUNTIME_DIR"))
}

fn data_dir(flags: &PathFlags, env: &Env) -> Result<Found, NoStateDirectory> {
    flags
        .data
        .clone()
        .map(|path| Found { path, from: "--data" })
        .or_else(|| named(env, "POSTRIDER_DATA"))
        .or_else(|| first_of(env, "STATE_DIRECTORY"))
        .or_else(|| below(env, "XDG_STATE_HOME", "postrider"))
        .or_else(|| below(env, "HOME", ".local/state/postrider"))
        .ok_or(NoStateDirectory)
}

/// A variable that is set to nothing counts as not set, as the XDG rules say.
fn value<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn named(env: &Env, name: &'static str) -> Option<Found> {
    Some(Found { path: PathBuf::from(value(env, name)?), from: name })
}

/// systemd separates several directories with colons; the first is ours.
fn first_of(env: &Env, name: &'static str) -> Option<Found> {
    let first = value(env, name)?.split(':').next().filter(|path| !path.is_empty())?;
    Some(Found { path: PathBuf::from(first), from: name })
}

fn below(env: &Env, name: &'static str, child: &str) -> Option<Found> {
    Some(Found { path: PathBuf::from(value(env, name)?).join(child), from: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(flags: &PathFlags, pairs: &[(&str, &str)], there: &[&str], expected: [&str; 3]) {
        let exists = |path: &PathBuf| there.iter().any(|known| path == &PathBuf::from(known));
        let paths = look_up(flags, &env(pairs), exists).unwrap();
        let found = [paths.runtime_dir.path, paths.data_dir.path, paths.key_file.path];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn each_rule_gives_way_to_the_one_before_it() {
        let home = ("HOME", "/home/u");
        let none = PathFlags::default();
        let state = "/home/u/.local/state/postrider";
        let key = "/home/u/.local/state/postrider/postrider.key";
        check(&none, &[home], &[], [state, state, key]);
        let xdg = [home, ("XDG_STATE_HOME", "/x"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        check(&none, &xdg, &[], ["/run/user/7/postrider", "/x/postrider", "/x/postrider/postrider.key"]);
        check(
            &none,
            &xdg,
            &["/run/postrider"],
            ["/run/postrider", "/x/postrider", "/x/postrider/postrider.key"],
        );
        let systemd = [
            home,
            ("XDG_RUNTIME_DIR", "/run/user/7"),
            ("RUNTIME_DIRECTORY", "/run/a:/run/b"),
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
            ("CREDENTIALS_DIRECTORY", "/cred"),
        ];
        check(
            &none,
            &systemd,
            &["/run/postrider", "/cred/postrider.key"],
            ["/run/a", "/var/lib/a", "/cred/postrider.key"],
        );
        check(&none, &systemd, &[], ["/run/a", "/var/lib/a", "/var/lib/a/postrider.key"]);
        let own = [
            ("RUNTIME_DIRECTORY", "/run/a"),
            ("POSTRIDER_RUNTIME_DIR", "/r"),
            ("POSTRIDER_DATA", "/d"),
            ("POSTRIDER_KEY_FILE", "/k"),
        ];
        check(&none, &own, &[], ["/r", "/d", "/k"]);
        let flags = PathFlags {
            runtime_dir: Some("fr".into()),
            data: Some("fd".into()),
            key_file: Some("fk".into()),
            previous_key_file: None,
        };
        check(&flags, &own, &[], ["fr", "fd", "fk"]);
    }

    #[test]
    fn only_a_key_of_its_own_is_generated() {
        let lookup =
            |flags: &PathFlags, pairs: &[(&str, &str)]| look_up(flags, &env(pairs), |_| true).unwrap();
        let home = ("HOME", "/h");
        assert!(lookup(&PathFlags::default(), &[home]).key_generated);
        assert!(!lookup(&PathFlags::default(), &[home, ("CREDENTIALS_DIRECTORY", "/c")]).key_generated);
        let named = PathFlags { key_file: Some("/k".into()), ..PathFlags::default() };
        assert!(!lookup(&named, &[home]).key_generated);
    }

    #[test]
    fn a_previous_key_is_there_only_when_it_is_named_or_passed() {
        let lookup = |flag: Option<&str>, pairs: &[(&str, &str)], there: bool| {
            let flags = PathFlags { previous_key_file: flag.map(Into::into), ..PathFlags::default() };
            let paths = look_up(&flags, &env(&[&[("HOME", "/h")], pairs].concat()), |_| there).unwrap();
            paths.previous_key_file.map(|found| found.path.display().to_string())
        };
        let passed = ("CREDENTIALS_DIRECTORY", "/c");
        assert_eq!(lookup(None, &[passed], true).unwrap(), "/c/postrider-previous.key");
        assert_eq!(lookup(None, &[passed], false), None);
        let named = ("POSTRIDER_PREVIOUS_KEY_FILE", "/p");
        assert_eq!(lookup(None, &[passed, named], true).unwrap(), "/p");
        assert_eq!(lookup(Some("/f"), &[passed, named], true).unwrap(), "/f");
    }

    #[test]
    fn a_name_for_postrider_alone_is_explicit() {
        let lookup = |pairs: &[(&str, &str)]| {
            look_up(&PathFlags::default(), &env(pairs), |_| false).unwrap().runtime_dir_explicit
        };
        assert!(lookup(&[("HOME", "/h"), ("POSTRIDER_RUNTIME_DIR", "/r")]));
        assert!(!lookup(&[("HOME", "/h"), ("RUNTIME_DIRECTORY", "/r")]));
    }

    #[test]
    fn the_sockets_are_found_without_a_home() {
        let find =
            |pairs: &[(&str, &str)], there: bool| runtime_dir(&PathFlags::default(), &env(pairs), |_| there);
        assert_eq!(find(&[], true).unwrap().path, PathBuf::from(SYSTEM_RUNTIME_DIR));
        assert_eq!(find(&[("POSTRIDER_RUNTIME_DIR", "/r")], false).unwrap().path, PathBuf::from("/r"));
        assert_eq!(find(&[], false), Err(NoStateDirectory));
    }

    #[test]
    fn nowhere_to_keep_state_is_an_error_and_an_empty_variable_is_none() {
        let lookup = |pairs: &[(&str, &str)]| look_up(&PathFlags::default(), &env(pairs), |_| false);
        assert_eq!(lookup(&[]), Err(NoStateDirectory));
        assert_eq!(lookup(&[("HOME", ""), ("XDG_STATE_HOME", "")]), Err(NoStateDirectory));
    }
}
