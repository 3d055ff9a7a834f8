//! `postrider backup`: the store as one moment leaves it, in a new file that is there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use axum::body::Body;
use clap::Args;
use futures_util::StreamExt;
use http::Method;

use super::exit::{Exit, Failure, Result};
use super::transport::Transport;
use super::{Context, output};

/// Where to.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The new file, for its owner alone; - for stdout.
    file: PathBuf,
}

/// Said with every backup: without the key it is noise.
const KEY: &str =
    "the key is not in it, and it cannot be restored without: keep a copy of the key in another place";

pub(super) async fn run(context: &Context, args: BackupArgs) -> Result<()> {
    let session = context.admin_or_store().await?;
    let done = take(&session.api, &args.file).await;
    session.close().await;
    let bytes = done?;
    output::note(&format!("{} backed up; {KEY}", output::count(bytes, "byte", "bytes")));
    Ok(())
}

async fn take(api: &Transport, file: &Path) -> Result<u64> {
    if file == Path::new("-") {
        if std::io::stdout().is_terminal() {
            return Err(Failure::usage(
                "a backup is no text for a terminal: give a file, or redirect the output",
            ));
        }
        let body = api.stream(Method::GET, "/v1/backup").await?;
        return copy(body, output::write).await;
    }
    if file.exists() {
        return Err(Failure::new(
            Exit::CannotCreate,
            format!("{} is there already: give the name of a new file", file.display()),
        ));
    }
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let body = api.stream(Method::GET, "/v1/backup").await?;
    let taken = to_file(body, file, &partial).await;
    if taken.is_err() {
        // What is left of it is of no use, and its name says so.
        std::fs::remove_file(&partial).ok();
    }
    taken
}

/// Under another name until all of it is on disk.
async fn to_file(body: Body, path: &Path, partial: &Path) -> Result<u64> {
    let cannot = |error: &std::io::Error| {
        Failure::new(Exit::CannotCreate, format!("cannot create {}: {error}", partial.display()))
    };
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(&error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial);
    let mut file = file.map_err(|error| cannot(&error))?;
    let failed = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    let bytes = copy(body, |bytes| file.write_all(bytes).map_err(failed)).await?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(partial, path).map_err(failed)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(bytes)
}

/// Hands over what comes, until the end. One that breaks off is a failure.
async fn copy(body: Body, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    let mut parts = body.into_data_stream();
    let mut bytes = 0;
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| {
            Failure::new(
                Exit::TryAgain,
                format!("the backup broke off, nothing is left of it: {error}; the log says why"),
            )
        })?;
        bytes += part.len() as u64;
        write(&part)?;
    }
    Ok(bytes)
}
