//! What is known of the event types of products: their names, and the variables that each offers. PURE.
//!
//! A product's catalogue is a file of its own below `data/catalogue`, compiled in. It is read whole or not at all, and a
//! fault names file and line. A type is found by its own name or by the product's name for it. Types that are in no
//! catalogue pass everywhere: of them nothing is known, so nothing is asked.

mod change;
mod parse;
mod pointer;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use change::{Change, ChangeLimits, ChangeRefused, Fired};
pub use parse::Fault;
pub use pointer::Pointer;

use crate::model::{EventPattern, EventType};

/// The catalogues that come along: where each is in the source tree, and its text.
const SHIPPED: [(&str, &str); 4] = [
    ("data/catalogue/absence/catalogue.toml", include_str!("../../data/catalogue/absence/catalogue.toml")),
    ("data/catalogue/timekit/catalogue.toml", include_str!("../../data/catalogue/timekit/catalogue.toml")),
    ("data/catalogue/timetime/catalogue.toml", include_str!("../../data/catalogue/timetime/catalogue.toml")),
    (
        "data/catalogue/trackingtime/catalogue.toml",
        include_str!("../../data/catalogue/trackingtime/catalogue.toml"),
    ),
];

static READ: LazyLock<Result<Catalogue, Fault>> = LazyLock::new(|| Catalogue::parse(&SHIPPED));
static EMPTY: Catalogue = Catalogue { entries: Vec::new(), names: BTreeMap::new() };

/// Event types, by their names.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// In order of type.
    entries: Vec<Entry>,
    /// Types and aliases, each with the index of its entry.
    names: BTreeMap<EventType, usize>,
}

/// What is known of one event type.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name here, for example `timetime.booking.changed`.
    pub event_type: EventType,
    /// The product's own name for it, where that can be a type.
    pub alias: Option<EventType>,
    /// The variables that it offers to URLs, and where in a payload their values are.
    pub variables: BTreeMap<Box<str>, Pointer>,
}

impl Catalogue {
    /// Reads catalogues, each with the name of its file.
    ///
    /// # Errors
    /// The first fault, with file and line.
    pub fn parse(files: &[(&str, &str)]) -> Result<Catalogue, Fault> {
        let mut catalogue = Catalogue::default();
        for (file, text) in files {
            parse::add(&mut catalogue, file, text)?;
        }
        Ok(catalogue)
    }

    /// The entry of a type, given by its name or by its alias.
    #[must_use]
    pub fn find(&self, event_type: &EventType) -> Option<&Entry> {
        self.names.get(event_type).and_then(|index| self.entries.get(*index))
    }

    /// Every entry whose type or alias the pattern means.
    pub fn matching<'a>(&'a self, pattern: &'a EventPattern) -> impl Iterator<Item = &'a Entry> {
        let names = |entry: &'a Entry| std::iter::once(&entry.event_type).chain(&entry.alias);
        self.entries.iter().filter(move |entry| names(entry).any(|name| pattern.matches(name)))
    }
}

/// The catalogues that come along. Nothing, if [`check`] finds a fault in them.
#[must_use]
pub fn shipped() -> &'static Catalogue {
    READ.as_ref().unwrap_or(&EMPTY)
}

/// Whether the catalogues that come along can be read: asked once, at the start.
///
/// # Errors
/// The fault.
pub fn check() -> Result<(), &'static Fault> {
    READ.as_ref().map(|_| ())
}

#[cfg(test)]
mod tests;
