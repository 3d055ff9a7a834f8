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

use crate::queue::MasterKey;

/// The key's file name, in the credentials directory and in the state directory.
pub const FILE_NAME: &str = "postrider.key";

/// No well-formed key file is longer: 64 hex digits, line ends, and some room.
const FILE_BYTES_MAX: usize = 256;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Places {
    /// `--key-file`: if given, nothing else is looked at.
    pub key_file: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`, where systemd puts what `LoadCredential=` names.
    pub credentials_dir: Option<PathBuf>,
    /// The state directory.
    pub data_dir: PathBuf,
}

/// Where the key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The file that was named.
    Given(PathBuf),
    /// A systemd credential.
    Credential(PathBuf),
    /// The state directory: beside what it protects.
    Beside(PathBuf),
    /// The state directory, made just now.
    Generated(PathBuf),
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
        "{data_dir} has a store, but no key is given and there is no {FILE_NAME} beside it: name the key the store was made \
         with by --key-file, or put it back; a new key could not open it"
    )]
    Missing { data_dir: String },
    /// The new key could not be saved.
    #[error("cannot save a new key as {path}: {error}")]
    NotSaved { path: String, error: std::io::Error },
}

/// Finds the key; on a first start (no key, no store) makes one in the state directory, which must exist.
pub fn find_or_generate(places: &Places) -> Result<(MasterKey, Origin), KeyError> {
    match find(places) {
        Err(KeyError::Missing { data_dir }) if has_store(&places.data_dir) => {
            Err(KeyError::Missing { data_dir })
        }
        Err(KeyError::Missing { .. }) => generate(&places.data_dir),
        found => found,
    }
}

/// Finds the key of a store that must already be there.
pub fn find(places: &Places) -> Result<(MasterKey, Origin), KeyError> {
    if let Some(path) = &places.key_file {
        return Ok((read(path, Guarded::ByItsMode)?, Origin::Given(path.clone())));
    }
    if let Some(path) =
        places.credentials_dir.as_ref().map(|dir| dir.join(FILE_NAME)).filter(|path| path.exists())
    {
        return Ok((read(&path, Guarded::BySystemd)?, Origin::Credential(path)));
    }
    let path = places.data_dir.join(FILE_NAME);
    match read(&path, Guarded::ByItsMode) {
        Err(KeyError::Unreadable { error, .. }) if error.kind() == ErrorKind::NotFound => {
            Err(KeyError::Missing { data_dir: places.data_dir.display().to_string() })
        }
        key => Ok((key?, Origin::Beside(path))),
    }
}

/// Who keeps others away from a key file.
#[derive(Clone, Copy)]
enum Guarded {
    ByItsMode,
    BySystemd,
}

fn has_store(data_dir: &Path) -> bool {
    data_dir.join("store").exists()
}

fn read(path: &Path, guarded: Guarded) -> Result<MasterKey, KeyError> {
    let name = || path.display().to_string();
    let unreadable = |error| KeyError::Unreadable { path: name(), error };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(KeyError::Malformed { path: name(), found: "it is not a regular file" });
    }
    let mode = meta.mode() & 0o7777;
    if matches!(guarded, Guarded::ByItsMode) && mode & 0o077 != 0 {
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
fn generate(data_dir: &Path) -> Result<(MasterKey, Origin), KeyError> {
    let path = data_dir.join(FILE_NAME);
    let not_saved = |error| KeyError::NotSaved { path: path.display().to_string(), error };
    let mut key = Zeroizing::new([0u8; 32]);
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(key.as_mut_slice()))
        .map_err(not_saved)?;

    let draft = data_dir.join(format!("{FILE_NAME}.{}", std::process::id()));
    let saved = save(&draft, key.as_slice()).and_then(|()| {
        // A link, unlike a rename, does not replace a key that another start has put there meanwhile.
        std::fs::hard_link(&draft, &path)
    });
    let removed = std::fs::remove_file(&draft);
    match saved {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Ok((read(&path, Guarded::ByItsMode)?, Origin::Beside(path)));
        }
        outcome => outcome.and(removed).and_then(|()| File::open(data_dir)?.sync_all()).map_err(not_saved)?,
    }
    Ok((MasterKey(*key), Origin::Generated(path)))
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

    fn places(dir: &Path) -> Places {
        Places { key_file: None, credentials_dir: None, data_dir: dir.to_owned() }
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
        let (made, origin) = find_or_generate(&places(dir.path())).unwrap();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(origin, Origin::Generated(path.clone()));
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
        let (found, origin) = find_or_generate(&places(dir.path())).unwrap();
        assert_eq!(origin, Origin::Beside(path));
        assert_eq!(made.0, found.0);
    }

    #[test]
    fn a_store_without_its_key_is_not_given_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        let error = find_or_generate(&places(dir.path())).unwrap_err().to_string();
        assert!(error.contains("--key-file"), "{error}");
        assert!(!dir.path().join(FILE_NAME).exists());
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write(&path, &KEY, 0o640);
        let given = Places { key_file: Some(path.clone()), ..places(dir.path()) };
        let error = find(&given).unwrap_err().to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
        write(&path, &KEY, 0o600);
        assert_eq!(find(&given).unwrap().1, Origin::Given(path));
    }

    #[test]
    fn a_credential_comes_before_the_state_directory_and_may_be_readable() {
        let (state, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&state.path().join(FILE_NAME), &[1; 32], 0o600);
        let both = Places { credentials_dir: Some(credentials.path().to_owned()), ..places(state.path()) };
        assert_eq!(find(&both).unwrap().0.0, [1; 32], "no such credential: the state directory is next");
        write(&credentials.path().join(FILE_NAME), &KEY, 0o444);
        assert_eq!(find(&both).unwrap().0.0, KEY);
    }

    #[test]
    fn a_named_key_file_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let given = Places { key_file: Some(dir.path().join("nope")), ..places(dir.path()) };
        assert!(find_or_generate(&given).unwrap_err().to_string().contains("nope"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
