//! The files of catalogues: those that come along, and those of a directory. Reading only: what they mean is `product`'s.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use include_dir::{Dir, include_dir};

use super::Fault;
use crate::config::nearest::nearest;

/// The catalogues that come along, one directory each.
static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/data/catalogue");
/// The file that a directory needs to be a catalogue.
pub(super) const MAIN_FILE: &str = "catalogue.toml";
/// The file for the rules of requests, where the main file would be too long with them.
pub(super) const REQUESTS_FILE: &str = "requests.toml";
/// Larger files are no catalogue's: the directory was named by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Where the schemas and examples are.
const FOLDERS: [&str; 2] = ["schemas", "examples"];
const FILES_MAX: usize = 2000;

/// The files of one product, by their paths below its directory.
#[derive(Debug, Clone)]
pub struct Files {
    /// The directory as it is named in faults.
    pub(super) directory: String,
    pub(super) texts: BTreeMap<String, Cow<'static, str>>,
}

impl Files {
    /// For tests and tools: a catalogue that is in memory.
    #[must_use]
    pub fn of(directory: &str, texts: &[(&str, &str)]) -> Files {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), Cow::Owned((*text).to_owned()));
        Files { directory: directory.to_owned(), texts: texts.iter().map(own).collect() }
    }

    /// The last word of the directory's name.
    pub(super) fn name(&self) -> &str {
        self.directory.rsplit('/').next().unwrap_or_default()
    }

    /// The files right below a directory (`schemas`, `examples`), each with its name.
    pub(super) fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts.iter().filter_map(move |(path, text)| {
            let name = path.strip_prefix(directory)?.strip_prefix('/')?;
            Some((name, &**text))
        })
    }

    /// A fault in one of them.
    pub(super) fn fault(&self, path: &str, line: usize, problem: impl Into<String>) -> Fault {
        Fault { file: format!("{}/{path}", self.directory), line, problem: problem.into() }
    }
}

/// The catalogues that come along.
#[must_use]
pub fn shipped_files() -> Vec<Files> {
    SHIPPED
        .dirs()
        .map(|dir| {
            let mut texts = BTreeMap::new();
            add_embedded(dir, dir, &mut texts);
            Files { directory: format!("data/catalogue/{}", dir.path().display()), texts }
        })
        .collect()
}

fn add_embedded(root: &Dir<'static>, dir: &Dir<'static>, texts: &mut BTreeMap<String, Cow<'static, str>>) {
    for file in dir.files() {
        let path = file.path().strip_prefix(root.path()).unwrap_or(file.path());
        if let Some(text) = file.contents_utf8() {
            texts.insert(path.display().to_string(), Cow::Borrowed(text));
        }
    }
    for below in dir.dirs() {
        add_embedded(root, below, texts);
    }
}

/// Reads a directory: a catalogue itself, or the place of several.
///
/// # Errors
/// What cannot be read, or is no catalogue.
pub fn read_directory(directory: &Path) -> Result<Vec<Files>, Fault> {
    let unreadable = |path: &Path, error: &io::Error| Fault {
        file: path.display().to_string(),
        line: 0,
        problem: error.to_string(),
    };
    if directory.join(MAIN_FILE).is_file() {
        return read_product(directory)
            .map(|files| vec![files])
            .map_err(|(path, error)| unreadable(&path, &error));
    }
    let mut products = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))? {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        if path.join(MAIN_FILE).is_file() {
            products.push(read_product(&path).map_err(|(path, error)| unreadable(&path, &error))?);
        } else if path.is_dir() {
            // One whose main file has another name is no catalogue, and would be left out.
            refuse_misspelt(&path).map_err(|(path, error)| unreadable(&path, &error))?;
        }
    }
    if products.is_empty() {
        let problem = format!("has no {MAIN_FILE}, and no directory in it has one");
        return Err(Fault { file: directory.display().to_string(), line: 0, problem });
    }
    products.sort_by(|a, b| a.directory.cmp(&b.directory));
    Ok(products)
}

type Unreadable = (std::path::PathBuf, io::Error);

fn read_product(directory: &Path) -> Result<Files, Unreadable> {
    // The name counts (it is the product's), also where the directory was named as `.`.
    let named = directory.canonicalize().map_err(|error| (directory.to_owned(), error))?;
    let mut texts = BTreeMap::new();
    read_file(&directory.join(MAIN_FILE), MAIN_FILE.to_owned(), &mut texts)?;
    let requests = directory.join(REQUESTS_FILE);
    if std::fs::symlink_metadata(&requests).is_ok() {
        read_file(&requests, REQUESTS_FILE.to_owned(), &mut texts)?;
    }
    refuse_misspelt(directory)?;
    for folder in FOLDERS {
        let below = directory.join(folder);
        let entries = match std::fs::read_dir(&below) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((below, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| (below.clone(), error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What editors leave behind.
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            read_file(&entry.path(), format!("{folder}/{name}"), &mut texts)?;
            if texts.len() > FILES_MAX {
                return Err((below, io::Error::other(format!("has over {FILES_MAX} files"))));
            }
        }
    }
    Ok(Files { directory: named.display().to_string(), texts })
}

/// What has nearly the name of a part would be left out, and nobody would know why it does nothing.
fn refuse_misspelt(directory: &Path) -> Result<(), Unreadable> {
    // What cannot be read here is either no part of it, or met when it is read as one.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Some(meant) = misspelt(&path) {
            let problem = format!("is no part of a catalogue: did you mean {meant}?");
            return Err((path, io::Error::other(problem)));
        }
    }
    Ok(())
}

/// The part of a catalogue that something of nearly its name is meant to be.
fn misspelt(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let known = match path.extension() {
        Some(kind) if kind == "toml" => [MAIN_FILE, REQUESTS_FILE],
        None if path.is_dir() => FOLDERS,
        _ => return None,
    };
    nearest(name, known).filter(|_| !known.contains(&name))
}

fn read_file(
    path: &Path,
    name: String,
    texts: &mut BTreeMap<String, Cow<'static, str>>,
) -> Result<(), Unreadable> {
    let read = || {
        // Before it is opened: a pipe would make us wait, a device would have no end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("is no regular file"));
        }
        let mut text = String::new();
        let size = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)? as u64;
        if size > FILE_BYTES_MAX {
            return Err(io::Error::other("is larger than 1 MiB"));
        }
        Ok(text)
    };
    let text = read().map_err(|error| (path.to_owned(), error))?;
    texts.insert(name, Cow::Owned(text));
    Ok(())
}
