//! Finding the key that seals the store: a file, a systemd credential, or one made on the first start.
//!
//! It never reaches a log, an error or a `Debug`; what is read is wiped.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::config::{Env, Paths};
use crate::queue::{MasterKey, Queue};

/// No well-formed key file is longer: 64 hex digits, line ends, and some room.
const FILE_BYTES_MAX: usize = 256;

/// Where the key is to be.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// What its being there or not means.
    pub kind: Kind,
    /// The state directory.
    pub data_dir: PathBuf,
}

/// Whose key file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Someone named it: it must be there, for its owner alone.
    Named,
    /// A systemd credential: it must be there, and systemd keeps others away from it.
    Credential,
    /// The daemon's own, in the state directory: made on the first start.
    Own,
}

/// Whether the key was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was.
    Found,
    /// It was made just now.
    Generated,
}

impl Place {
    /// The place that configuration, environment and flags come to.
    #[must_use]
    pub fn of(paths: &Paths, env: &Env) -> Place {
        let path = paths.key_file.path.clone();
        let credentials = env.get("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty());
        let kind = if paths.key_generated {
            Kind::Own
        } else if credentials.is_some_and(|dir| path.starts_with(dir)) {
            Kind::Credential
        } else {
            Kind::Named
        };
        Place { path, kind, data_dir: paths.data_dir.path.clone() }
    }

    /// The place of the key before it, if one is given.
    #[must_use]
    pub fn of_previous(paths: &Paths, env: &Env) -> Option<Place> {
        let path = paths.previous_key_file.as_ref()?.path.clone();
        let credentials = env.get("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty());
        let passed = credentials.is_some_and(|dir| path.starts_with(dir));
        let kind = if passed { Kind::Credential } else { Kind::Named };
        Some(Place { path, kind, data_dir: paths.data_dir.path.clone() })
    }
}

/// Why there is no key. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum KeyError {
    /// It is not there, or not readable.
    #[error("cannot read the key file {path}: {error}")]
    Unreadable { path: String, error: std::io::Error },
    /// Others could read it.
    #[error(
        "the key file {path} has mode {mode:04o}: others than its owner may touch it; run `chmod 600 {path}` and start again"
    )]
    Exposed { path: String, mode: u32 },
    /// It holds something else.
    #[error(
        "the key file {path} does not hold a key ({found}): it must be 32 random bytes, raw, as 64 hex digits or as base64; \
         `head -c 32 /dev/urandom | base64` makes one"
    )]
    Malformed { path: String, found: &'static str },
    /// There is a store but no key.
    #[error(
        "there is no key: {path} is not there and no other key is given, and a new one could not open what is sealed; name \
         the key that {data_dir} was made with by --key-file, or put it back"
    )]
    Missing { data_dir: String, path: String },
    /// The new key could not be saved.
    #[error("cannot save a new key as {path}: {error}")]
    NotSaved { path: String, error: std::io::Error },
}

/// Finds the key; on a first start (a key of our own, and no store) makes one in the state directory, which must exist.
pub fn find_or_generate(place: &Place) -> Result<(MasterKey, Origin), KeyError> {
    match find(place) {
        Err(KeyError::Missing { .. }) if !Queue::has_store(&place.data_dir) => generate(place),
        found => found.map(|key| (key, Origin::Found)),
    }
}

/// Finds the key of a store that must already be there.
pub fn find(place: &Place) -> Result<MasterKey, KeyError> {
    match read(&place.path, place.kind) {
        Err(KeyError::Unreadable { error, path })
            if error.kind() == ErrorKind::NotFound && place.kind == Kind::Own =>
        {
            Err(KeyError::Missing { data_dir: place.data_dir.display().to_string(), path })
        }
        key => key,
    }
}

/// The key before the current one, if one is given; then it must be there.
pub fn find_previous(paths: &Paths, env: &Env) -> Result<Option<MasterKey>, KeyError> {
    Place::of_previous(paths, env).as_ref().map(find).transpose()
}

fn read(path: &Path, kind: Kind) -> Result<MasterKey, KeyError> {
    let name = || path.display().to_string();
    let unreadable = |error| KeyError::Unreadable { path: name(), error };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(KeyError::Malformed { path: name(), found: "it is not a regular file" });
    }
    let mode = meta.mode() & 0o7777;
    if kind != Kind::Credential && mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: name(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
    file.take(FILE_BYTES_MAX as u64).read_to_end(&mut text).map_err(unreadable)?;
    parse(&text).map_err(|found| KeyError::Malformed { path: name(), found })
}

/// Reads a key in any of the forms it may have.
fn parse(bytes: &[u8]) -> Result<MasterKey, &'static str> {
    if let Ok(raw) = <[u8; 32]>::try_from(bytes) {
        // 32 random bytes are never all printable; 32 typed characters are, and carry a fraction of a key's strength.
        let typed = raw.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
        return if typed {
            Err("it has 32 typed characters, which is not 32 random bytes")
        } else {
            Ok(MasterKey(raw))
        };
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "its length is not 32 bytes")?.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return from_hex(text).map(MasterKey).ok_or("its hex digits do not decode");
    }
    let unpadded = text.trim_end_matches('=');
    let mut decoded = Zeroizing::new([0u8; FILE_BYTES_MAX]);
    let length = STANDARD_NO_PAD
        .decode_slice(unpadded, decoded.as_mut_slice())
        .or_else(|_| URL_SAFE_NO_PAD.decode_slice(unpadded, decoded.as_mut_slice()))
        .map_err(|_| "it is neither hex nor base64")?;
    let key = decoded.get(..length).and_then(|key| <[u8; 32]>::try_from(key).ok());
    key.map(MasterKey).ok_or("it decodes to something that is not 32 bytes long")
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0u8; 32];
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

/// Makes a key and saves it under its name only once it is whole and on disk.
fn generate(place: &Place) -> Result<(MasterKey, Origin), KeyError> {
    let path = &place.path;
    let not_saved = |error| KeyError::NotSaved { path: path.display().to_string(), error };
    let mut key = Zeroizing::new([0u8; 32]);
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(key.as_mut_slice()))
        .map_err(not_saved)?;

    let draft = place.data_dir.join(format!(".postrider.key.{}", std::process::id()));
    let saved = save(&draft, key.as_slice()).and_then(|()| {
        // A link, unlike a rename, does not replace a key that another start has put there meanwhile.
        std::fs::hard_link(&draft, path)
    });
    let removed = std::fs::remove_file(&draft);
    match saved {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Ok((read(path, place.kind)?, Origin::Found));
        }
        outcome => {
            outcome.and(removed).and_then(|()| File::open(&place.data_dir)?.sync_all()).map_err(not_saved)?;
        }
    }
    Ok((MasterKey(*key), Origin::Generated))
}

fn save(draft: &Path, key: &[u8]) -> std::io::Result<()> {
    let mut text = Zeroizing::new(STANDARD_NO_PAD.encode(key));
    text.push_str("=\n");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: [u8; 32] = [0xA7; 32];

    fn own(dir: &Path) -> Place {
        Place { path: dir.join("postrider.key"), kind: Kind::Own, data_dir: dir.to_owned() }
    }

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        std::fs::write(path, bytes).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_raw_hex_or_base64() {
        let hex = "a7".repeat(32);
        let base64 = STANDARD_NO_PAD.encode(KEY);
        for text in [
            KEY.to_vec(),
            hex.clone().into(),
            format!("{}\n", hex.to_uppercase()).into(),
            base64.clone().into(),
            format!("{base64}=\n").into(),
            URL_SAFE_NO_PAD.encode(KEY).into(),
        ] {
            assert_eq!(parse(&text).unwrap().0, KEY, "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            &b""[..],
            b"\n",
            b"hunter2",
            &KEY[..31],
            &[0xA7; 33],
            "a7".repeat(31).as_bytes(),
            "a7".repeat(16).as_bytes(),
            STANDARD_NO_PAD.encode([1; 24]).as_bytes(),
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_first_start_makes_a_key_and_the_next_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = own(dir.path());
        let (made, origin) = find_or_generate(&place).unwrap();
        assert_eq!(origin, Origin::Generated);
        assert_eq!(place.path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
        let (found, origin) = find_or_generate(&place).unwrap();
        assert_eq!(origin, Origin::Found);
        assert_eq!(made.0, found.0);
    }

    #[test]
    fn a_store_without_its_key_is_not_given_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        let error = find_or_generate(&own(dir.path())).unwrap_err().to_string();
        assert!(error.contains("--key-file"), "{error}");
        assert!(!dir.path().join("postrider.key").exists());
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_advice_unless_systemd_guards_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { path: dir.path().join("k"), kind: Kind::Named, data_dir: dir.path().to_owned() };
        write(&place.path, &KEY, 0o640);
        let error = find(&place).unwrap_err().to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
        assert_eq!(find(&Place { kind: Kind::Credential, ..place.clone() }).unwrap().0, KEY);
        write(&place.path, &KEY, 0o600);
        assert_eq!(find(&place).unwrap().0, KEY);
    }

    #[test]
    fn a_named_key_file_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [Kind::Named, Kind::Credential] {
            let place = Place { path: dir.path().join("nope"), kind, data_dir: dir.path().to_owned() };
            assert!(find_or_generate(&place).unwrap_err().to_string().contains("nope"));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
