//! What is known of products' event types: their names, what a payload of each must be like, what stands where in it,
//! and which changes and requests fire it. PURE but for `files`, which reads directories.
//!
//! A product's catalogue is a directory of data. Those below `data/catalogue` are compiled in; the operator may add a
//! directory of his own. A catalogue is read whole or not at all, and a fault names file and line. A type is found by its
//! own name or by the product's name for it. Types that are in no catalogue pass everywhere: of them nothing is known, so
//! nothing is asked.

mod attribute;
mod change;
mod current;
mod files;
mod overrides;
mod parse;
mod pointer;
mod product;
pub mod profile;
mod request;
pub mod rules;
mod schema;
mod strict;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

pub use attribute::Attribute;
pub use change::{Change, ChangeLimits, ChangeRefused, Fired};
pub use current::Current;
pub use files::{Files, read_directory, shipped_files};
use overrides::Override;
pub use pointer::Pointer;
pub use product::{Example, Product};
pub use profile::{Profile, Signing};
pub use request::{IncomingRequest, Mapped, RequestRefused};
pub use schema::{Schema, Violation};

use crate::config::CatalogueSettings;
use crate::config::nearest::nearest;
use crate::model::{EventPattern, EventType};

/// What is wrong with a catalogue, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.shown())]
pub struct Fault {
    /// The file as it was named.
    pub file: String,
    /// Counted from 1; 0 if the whole file is meant.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Fault {
    fn shown(&self) -> String {
        let Fault { file, line, problem } = self;
        if *line == 0 { format!("{file}: {problem}") } else { format!("{file}:{line}: {problem}") }
    }
}

/// Event types of products, by their names.
#[derive(Debug, Default)]
pub struct Catalogue {
    products: Vec<Product>,
    /// Types and aliases.
    names: BTreeMap<EventType, Arc<Entry>>,
}

/// What is known of one event type.
#[derive(Debug)]
pub struct Entry {
    /// Its name here, for example `timetime.booking.changed`.
    pub event_type: EventType,
    /// The product's own name for it, where that can be a type.
    pub alias: Option<EventType>,
    /// For people, one line.
    pub summary: Box<str>,
    /// The variables that it offers to URLs, and where in a payload their values are.
    pub variables: BTreeMap<Box<str>, Pointer>,
    /// The attributes that it offers to `match`, beside those that come with an event.
    pub attributes: BTreeMap<Box<str>, Attribute>,
    /// The words by which webhooks may listen to it among others.
    pub groups: Vec<EventType>,
    /// What its payloads must be like; `None` if anything will do.
    pub schema: Option<Schema>,
    /// The plain one first.
    pub examples: Vec<Example>,
    /// Where it begins in its file.
    at: usize,
}

impl Entry {
    /// Its own name and the product's.
    pub fn names(&self) -> impl Iterator<Item = &EventType> {
        std::iter::once(&self.event_type).chain(&self.alias)
    }

    /// Whether a webhook that listens to `pattern` is given its events: by one of its names, or by a group.
    #[must_use]
    pub fn is_meant_by(&self, pattern: &EventPattern) -> bool {
        self.names().any(|name| pattern.matches(name))
            || self.groups.iter().any(|group| group.as_str() == pattern.as_str())
    }

    /// Where the value of a URL's variable is: what the type offers to URLs, else an attribute that has one value.
    #[must_use]
    pub fn place_of(&self, variable: &str) -> Option<&Pointer> {
        let attribute = || self.attributes.get(variable).map(|attribute| &attribute.path);
        self.variables.get(variable).or_else(|| attribute().filter(|path| !path.has_wildcard()))
    }

    /// Where the values of an attribute are, and for a keyed one the member that its name goes on with.
    #[must_use]
    pub fn attribute<'n>(&self, name: &'n str) -> Option<(&Attribute, Option<&'n str>)> {
        if let Some(attribute) = self.attributes.get(name).filter(|attribute| !attribute.keyed) {
            return Some((attribute, None));
        }
        let (name, member) = name.split_once('.')?;
        let attribute = self.attributes.get(name).filter(|attribute| attribute.keyed)?;
        Some((attribute, Some(member)))
    }
}

static SHIPPED: LazyLock<Result<Arc<Catalogue>, Fault>> =
    LazyLock::new(|| Catalogue::read(&shipped_files()).map(Arc::new));

impl Catalogue {
    /// The catalogues that come along, as they are. Nothing, if they cannot be read: [`Catalogue::load`] says why.
    #[must_use]
    pub fn shipped() -> Arc<Catalogue> {
        SHIPPED.as_ref().map_or_else(|_| Arc::default(), Arc::clone)
    }

    /// Those of the catalogues that come along that are named, and those of a directory, which are checked whole. A product
    /// of the directory takes the place of one of the same name that comes along. Reads the directory.
    ///
    /// # Errors
    /// The first fault.
    pub fn load(settings: &CatalogueSettings) -> Result<Catalogue, Fault> {
        let (mut all, own) = in_force(settings)?;
        for files in &own {
            Product::read(files)?.check(files)?;
        }
        all.extend(own);
        let overrides: Vec<_> =
            settings.set.iter().map(|text| Override::parse(text)).collect::<Result<_, _>>()?;
        for set in &overrides {
            if !all.iter().any(|files| files.name() == &*set.product) {
                return Err(overrides::fault(format!("no catalogue of {:?} is in force", set.product)));
            }
        }
        Catalogue::read_with(&all, &overrides)
    }

    /// The same, with those that come along checked whole as well: every schema is compiled, every example held against it.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(settings: &CatalogueSettings) -> Result<Catalogue, Fault> {
        for files in in_force(settings)?.0 {
            Product::read(&files)?.check(&files)?;
        }
        Catalogue::load(settings)
    }

    /// Reads the files of catalogues. Their schemas are compiled when they are needed.
    ///
    /// # Errors
    /// The first fault.
    pub fn read(all: &[Files]) -> Result<Catalogue, Fault> {
        Catalogue::read_with(all, &[])
    }

    fn read_with(all: &[Files], overrides: &[Override]) -> Result<Catalogue, Fault> {
        let mut catalogue = Catalogue::default();
        for files in all {
            let product = Product::read_with(files, overrides)?;
            for entry in &product.entries {
                for name in entry.names() {
                    if let Some(other) = catalogue.group_of(name) {
                        let problem = format!("{name} is already a group of {other}");
                        return Err(files.fault(files::MAIN_FILE, 0, problem));
                    }
                    if let Some(other) = catalogue.names.insert(name.clone(), entry.clone()) {
                        let text = files.texts.get(files::MAIN_FILE).map(|text| &**text).unwrap_or_default();
                        let line = 1 + text.bytes().take(entry.at).filter(|byte| *byte == b'\n').count();
                        let problem = format!("{name} is already the name of {}", other.event_type);
                        return Err(files.fault(files::MAIN_FILE, line, problem));
                    }
                }
            }
            for group in product.groups() {
                let taken = match catalogue.find(group) {
                    Some(entry) => Some(format!("the name of {}", entry.event_type)),
                    None => catalogue.group_of(group).map(|other| format!("a group of {other}")),
                };
                if let Some(taken) = taken {
                    return Err(files.fault(files::MAIN_FILE, 0, format!("{group} is already {taken}")));
                }
            }
            catalogue.products.push(product);
        }
        Ok(catalogue)
    }

    /// The product that has a group of this name.
    fn group_of(&self, group: &EventType) -> Option<&str> {
        let found = self.products.iter().find(|product| product.groups().any(|known| known == group));
        found.map(|product| &*product.name)
    }

    /// The products, those that come along first.
    #[must_use]
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// The product of this name.
    #[must_use]
    pub fn product(&self, name: &str) -> Option<&Product> {
        self.products.iter().find(|product| &*product.name == name)
    }

    /// The entry of a type, given by its name or by its alias.
    #[must_use]
    pub fn find(&self, event_type: &EventType) -> Option<&Arc<Entry>> {
        self.names.get(event_type)
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.products.iter().flat_map(|product| &product.entries)
    }

    /// The profile of this product, and the product's name.
    #[must_use]
    pub fn profile(&self, product: &str) -> Option<(&str, &Profile)> {
        let product = self.product(product)?;
        product.profile.as_ref().map(|profile| (&*product.name, profile))
    }

    /// The products that have a profile.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.products.iter().filter(|product| product.profile.is_some()).map(|product| &*product.name)
    }

    /// Every entry that a webhook listening to the pattern is given.
    pub fn matching<'a>(&'a self, pattern: &'a EventPattern) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.entries().filter(move |entry| entry.is_meant_by(pattern))
    }
}

/// The files of the catalogues in force: those that come along, and those of the operator's directory.
fn in_force(settings: &CatalogueSettings) -> Result<(Vec<Files>, Vec<Files>), Fault> {
    let mut shipped = shipped_files();
    for name in &settings.products {
        if !shipped.iter().any(|files| files.name() == name) {
            let known: Vec<_> = shipped.iter().map(Files::name).collect();
            let advice = nearest(name, known.iter().copied()).map_or_else(
                || format!("there are {}", known.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            let problem = format!("no catalogue {name:?} comes along; {advice}");
            return Err(Fault { file: "catalogue.products".to_owned(), line: 0, problem });
        }
    }
    let own = settings.directory.as_deref().map(read_directory).transpose();
    let own =
        own.map_err(|fault| Fault { problem: format!("{} (catalogue.dir)", fault.problem), ..fault })?;
    let own = own.unwrap_or_default();
    shipped.retain(|files| {
        let replaced = own.iter().any(|own| own.name() == files.name());
        !replaced && settings.products.iter().any(|name| name == files.name())
    });
    Ok((shipped, own))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_shipped;
