//! Rules: what a change of an entity fires, and what a request of a source comes to, with conditions, payloads and answers
//! in CEL. PURE.
//!
//! Everything that can be checked is checked when a catalogue is loaded; afterwards rules are shared and never change.
//! What a change or request brings along is hostile: it can use up its budget, and nothing else. No error repeats a value of it.

mod about;
mod compile;
mod equality;
mod expression;
mod fire;
mod functions;
mod grammar;
mod json;
mod meter;
mod pattern;
mod payload;
mod rewrite;
mod trouble;
mod value;
mod vocabulary;

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::Env;
use serde::Deserialize;
use toml::Spanned;

use self::about::About;
use self::expression::Expression;
use self::grammar::Grammar;
use self::pattern::Patterns;
use self::value::Json;
use crate::model::EventType;

/// The rules of an entity as they are typed: `[changes."entity"]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    #[serde(rename = "let", default)]
    lets: Vec<TypedLet>,
    rules: Vec<Spanned<TypedRule>>,
}

/// The rules for requests as they are typed: `[requests]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedRequests {
    /// What people may type, for `command`.
    #[serde(default)]
    commands: Vec<Spanned<String>>,
    #[serde(rename = "let", default)]
    lets: Vec<TypedLet>,
    rules: Vec<Spanned<TypedRule>>,
}

/// A value that has a name in all rules of an entity, of requests, or of a catalogue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedLet {
    name: Spanned<String>,
    value: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedRule {
    when: Option<Spanned<String>>,
    event: Option<Spanned<String>>,
    payload: Option<Spanned<String>>,
    refuse: Option<Spanned<String>>,
    field: Option<Spanned<String>>,
    answer: Option<Spanned<String>>,
}

/// What is wrong with rules, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// A byte offset into the catalogue's text.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// What the rules of one catalogue can read and name.
pub struct Scope<'a> {
    /// The catalogue's text, in which everything typed has its place.
    pub text: &'a str,
    /// `data` in expressions.
    pub data: &'a toml::Table,
    /// `options` in expressions.
    pub options: &'a toml::Table,
    /// The names that the rules of every entity have.
    pub lets: &'a [TypedLet],
    /// The type that a name or an alias means.
    pub known_event: &'a dyn Fn(&str) -> Option<EventType>,
    /// The names of all types, to propose one of them for one that is unknown.
    pub events: &'a [&'a str],
}

/// The rules of a catalogue, by entity, and those for requests.
#[derive(Debug, Default)]
pub struct Rules {
    entities: BTreeMap<Box<str>, Set>,
    requests: Option<Set>,
}

/// Why rules come to nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A rule forbids it.
    Forbidden {
        /// A JSON Pointer into what came, for example `/new/state` or `/body/state`.
        field: String,
        /// The rule in words.
        rule: String,
    },
    /// A rule cannot be evaluated with it: most often something is missing.
    Failed {
        /// A JSON Pointer into what came, as near as is known.
        field: String,
        /// Which rule, and what is wrong; no value of what came.
        problem: String,
    },
    /// A bound of [`crate::catalogue::ChangeLimits`] was met.
    TooCostly(String),
}

/// Makes refusals that are worded after what the rules are about.
struct Fail<'a>(&'a About);

impl Fail<'_> {
    fn too_costly(&self, what: &str) -> Refused {
        Refused::TooCostly(format!("{what} takes more steps than a {} may cost", self.0.name))
    }
}

/// Rules that are applied together: those of one entity, or those for requests.
struct Set {
    env: Arc<Env>,
    data: Json,
    options: Json,
    patterns: Patterns,
    grammar: Option<Grammar>,
    lets: Vec<(Box<str>, Place, Expression)>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    place: Place,
    when: Expression,
    then: Then,
    /// A text for whoever asked.
    answer: Option<Expression>,
}

/// What a rule does if its condition holds.
#[derive(Debug)]
enum Then {
    Fire {
        event_type: EventType,
        payload: Expression,
    },
    Refuse {
        rule: Box<str>,
        field: Box<str>,
    },
    /// Nothing but to answer.
    Answer,
}

/// Which rule or name it is, for people: `rule 2 of absence.event (absence.event.updated, line 31)`.
#[derive(Debug, Clone)]
struct Place(Box<str>);

impl Rules {
    /// The entities that have rules.
    pub fn entities(&self) -> impl Iterator<Item = &str> {
        self.entities.keys().map(|name| &**name)
    }

    /// Whether the entity has rules.
    #[must_use]
    pub fn has(&self, entity: &str) -> bool {
        self.entities.contains_key(entity)
    }

    /// Whether there are rules for requests.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        self.requests.is_some()
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Set").field("lets", &self.lets).field("rules", &self.rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
