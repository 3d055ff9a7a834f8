//! From a catalogue's text to its entries. PURE.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Catalogue, Entry, Pointer};
use crate::model::{EventType, is_variable_name};

/// What is wrong with a catalogue, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct Fault {
    /// The file as it was named.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

type Variables = BTreeMap<Spanned<String>, Spanned<String>>;

/// A file as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    /// The first word of all its types.
    product: Spanned<String>,
    /// Offered by all its types.
    #[serde(default)]
    variables: Variables,
    events: BTreeMap<Spanned<String>, TypedEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedEvent {
    alias: Option<Spanned<String>>,
    #[serde(default)]
    variables: Variables,
}

/// A file that is being read.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

/// Adds a file's entries.
pub(super) fn add(catalogue: &mut Catalogue, file: &str, text: &str) -> Result<(), Fault> {
    let reader = Reader { file, text };
    let typed: Typed = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        reader.fault(at, error.message())
    })?;
    for (name, event) in &typed.events {
        let event_type = reader.event_type(name)?;
        if event_type.as_str().split('.').next() != Some(typed.product.get_ref()) {
            let problem = format!("{event_type} must begin with {}.", typed.product.get_ref());
            return Err(reader.at(name, &problem));
        }
        let alias = event.alias.as_ref().map(|alias| reader.event_type(alias)).transpose()?;
        let mut variables = BTreeMap::new();
        for (name, pointer) in typed.variables.iter().chain(&event.variables) {
            let (name, pointer) = reader.variable(name, pointer)?;
            variables.insert(name, pointer);
        }
        let index = catalogue.entries.len();
        for (given, known) in [(Some(name), Some(&event_type)), (event.alias.as_ref(), alias.as_ref())] {
            let (Some(given), Some(known)) = (given, known) else { continue };
            if catalogue.names.insert(known.clone(), index).is_some() {
                return Err(reader.at(given, &format!("{known} is already in a catalogue")));
            }
        }
        catalogue.entries.push(Entry { event_type, alias, variables });
    }
    Ok(())
}

impl Reader<'_> {
    fn event_type(&self, text: &Spanned<String>) -> Result<EventType, Fault> {
        text.get_ref().parse().map_err(|rule: String| self.at(text, &rule))
    }

    fn variable(
        &self,
        name: &Spanned<String>,
        pointer: &Spanned<String>,
    ) -> Result<(Box<str>, Pointer), Fault> {
        if !is_variable_name(name.get_ref()) {
            let rule = "the name of a variable must be a letter, then at most 63 letters, digits or _";
            return Err(self.at(name, rule));
        }
        let found = pointer.get_ref().parse().map_err(|rule: &str| self.at(pointer, rule))?;
        Ok((name.get_ref().as_str().into(), found))
    }

    fn at(&self, at: &Spanned<String>, problem: &str) -> Fault {
        self.fault(at.span().start, problem)
    }

    fn fault(&self, at: usize, problem: &str) -> Fault {
        let before = self.text.bytes().take(at);
        Fault {
            file: self.file.to_owned(),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
            problem: problem.to_owned(),
        }
    }
}
