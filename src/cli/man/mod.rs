//! `postrider man`: manual pages, made from what parses the command line and from the documented defaults.

mod commands;
mod settings;

use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::exit::{Exit, Failure, Result};
use super::output;

/// Which pages, and where to.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write all pages below this directory, such as /usr/local/share/man: man1/postrider.1, one for each command, and
    /// man5/postrider.toml.5. Without it, postrider.1 goes to stdout.
    dir: Option<PathBuf>,
}

/// A manual page.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    name: String,
    section: u8,
    text: String,
}

impl Page {
    /// Its place where man(1) looks for it.
    fn file(&self) -> String {
        format!("man{0}/{1}.{0}", self.section, self.name)
    }
}

pub(super) fn run(args: &ManArgs, command: Command) -> Result<()> {
    let pages = commands::pages(command);
    let Some(dir) = &args.dir else {
        return output::write(pages.first().map_or("", |page| page.text.as_str()).as_bytes());
    };
    let pages = pages.into_iter().chain([settings::page()]);
    let count = write(dir, pages).map_err(|(path, error)| {
        Failure::new(Exit::CannotCreate, format!("cannot write {}: {error}", path.display()))
    })?;
    output::note(&format!("{count} pages written below {}", dir.display()));
    Ok(())
}

fn write(
    dir: &Path,
    pages: impl Iterator<Item = Page>,
) -> std::result::Result<usize, (PathBuf, std::io::Error)> {
    for section in ["man1", "man5"].map(|section| dir.join(section)) {
        std::fs::create_dir_all(&section).map_err(|error| (section, error))?;
    }
    let mut count = 0;
    for page in pages {
        let path = dir.join(page.file());
        std::fs::write(&path, page.text).map_err(|error| (path, error))?;
        count += 1;
    }
    Ok(count)
}

/// The first line of a page.
fn title(name: &str, section: u8) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH \"{name}\" \"{section}\" \"\" \"postrider {version}\" \"postrider\"\n")
}

/// Text as roff reads it: nothing in it is a command, and a hyphen is one that can be searched for and copied.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_be_taken_for_commands() {
        assert_eq!(escaped(".SH x"), "\\&.SH x");
        assert_eq!(escaped("'x' a\\b --set"), "\\&'x' a\\eb \\-\\-set");
    }
}
