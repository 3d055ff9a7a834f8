//! From the text of a `catalogue.toml` (or `requests.toml`) to its parts, each still with its place in the text. PURE.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Attribute, Fault, Pointer, profile, rules};
use crate::model::{EventPattern, EventType, is_variable_name};

pub(super) type Variables = BTreeMap<Box<str>, Pointer>;
pub(super) type Attributes = BTreeMap<Box<str>, Attribute>;

/// The main file as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typed {
    /// The first word of all its types, and its directory's name.
    pub(super) product: Spanned<String>,
    /// For people.
    #[serde(default)]
    pub(super) title: String,
    /// Offered by all its types.
    #[serde(default)]
    pub(super) variables: TypedVariables,
    #[serde(default)]
    pub(super) attributes: TypedAttributes,
    #[serde(default)]
    pub(super) groups: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    /// Switches that rules read.
    #[serde(default)]
    pub(super) options: toml::Table,
    /// Anything that rules read.
    #[serde(default)]
    pub(super) data: toml::Table,
    pub(super) events: BTreeMap<Spanned<String>, TypedEvent>,
    /// Names that the rules of all entities have.
    #[serde(default, rename = "let")]
    pub(super) lets: Vec<rules::TypedLet>,
    #[serde(default)]
    pub(super) changes: BTreeMap<Spanned<String>, rules::Typed>,
    /// What requests of sources mean, unless that stands in a file of its own.
    pub(super) requests: Option<Spanned<rules::TypedRequests>>,
    pub(super) profile: Option<profile::Typed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypedEvent {
    pub(super) alias: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) summary: String,
    #[serde(default)]
    pub(super) variables: TypedVariables,
    #[serde(default)]
    pub(super) attributes: TypedAttributes,
}

type TypedVariables = BTreeMap<Spanned<String>, Spanned<String>>;
type TypedAttributes = BTreeMap<Spanned<String>, Spanned<TypedAttribute>>;

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a JSON Pointer, or { pointer = \"…\", keyed = true }")]
pub(super) enum TypedAttribute {
    Plain(String),
    Full(FullAttribute),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullAttribute {
    pointer: String,
    #[serde(default)]
    keyed: bool,
}

/// A file that is being read.
pub(super) struct Reader<'a> {
    /// As it is named in faults.
    pub(super) file: String,
    pub(super) text: &'a str,
}

impl Reader<'_> {
    pub(super) fn typed<T: serde::de::DeserializeOwned>(&self) -> Result<T, Fault> {
        toml::from_str(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.fault(at, error.message())
        })
    }

    pub(super) fn event_type(&self, text: &Spanned<String>) -> Result<EventType, Fault> {
        text.get_ref().parse().map_err(|rule: String| self.at(text, &rule))
    }

    /// The types that a group's entry means, as a pattern.
    pub(super) fn pattern(&self, text: &Spanned<String>) -> Result<EventPattern, Fault> {
        text.get_ref().parse().map_err(|rule: String| self.at(text, &rule))
    }

    /// A type's own variables, over those of all types.
    pub(super) fn variables(
        &self,
        shared: &TypedVariables,
        own: &TypedVariables,
    ) -> Result<Variables, Fault> {
        let mut variables = Variables::new();
        for (name, pointer) in shared.iter().chain(own) {
            if !is_variable_name(name.get_ref()) {
                let rule = "the name of a variable must be a letter, then at most 63 letters, digits or _";
                return Err(self.at(name, rule));
            }
            let found = pointer.get_ref().parse().map_err(|rule: &str| self.at(pointer, rule))?;
            if pointer.get_ref().split('/').any(|step| step == "*") {
                return Err(self.at(pointer, "a variable has one value: its pointer cannot have a *"));
            }
            variables.insert(name.get_ref().as_str().into(), found);
        }
        Ok(variables)
    }

    /// A type's own attributes, over those of all types.
    pub(super) fn attributes(
        &self,
        shared: &TypedAttributes,
        own: &TypedAttributes,
    ) -> Result<Attributes, Fault> {
        let mut attributes = Attributes::new();
        for (name, typed) in shared.iter().chain(own) {
            // A keyed one goes on after a dot.
            if !is_variable_name(name.get_ref()) {
                let rule = "the name of an attribute must be a letter, then at most 63 letters, digits or _";
                return Err(self.at(name, rule));
            }
            let (text, keyed) = match typed.get_ref() {
                TypedAttribute::Plain(pointer) => (pointer, false),
                TypedAttribute::Full(full) => (&full.pointer, full.keyed),
            };
            let path = Pointer::with_wildcards(text).map_err(|rule| self.fault(typed.span().start, rule))?;
            if keyed && !path.has_wildcard() {
                return Err(self.fault(typed.span().start, "a keyed attribute needs a * in its pointer"));
            }
            attributes.insert(name.get_ref().as_str().into(), Attribute { path, keyed });
        }
        Ok(attributes)
    }

    pub(super) fn at<T>(&self, at: &Spanned<T>, problem: &str) -> Fault {
        self.fault(at.span().start, problem)
    }

    pub(super) fn fault(&self, at: usize, problem: &str) -> Fault {
        let before = self.text.bytes().take(at);
        Fault {
            file: self.file.clone(),
            line: 1 + before.filter(|byte| *byte == b'\n').count(),
            problem: problem.to_owned(),
        }
    }
}
