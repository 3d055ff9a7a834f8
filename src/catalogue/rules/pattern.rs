//! Patterns of `matches`, compiled when the catalogue is loaded. An expression finds them by names that nobody can type.
//! PURE.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::types::Type;
use cel::common::value::{StaticVal, Val};
use regex::Regex;

static PATTERN: Type = Type::new_unspecified_type("@pattern");

/// Patterns by the names of their variables.
pub(super) type Patterns = BTreeMap<Box<str>, Pattern>;

/// A pattern. It takes time in proportion to the text and to itself, whatever both are.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Arc<Regex>);

impl Pattern {
    pub(super) fn new(pattern: &str) -> Option<Pattern> {
        Regex::new(pattern).ok().map(|regex| Pattern(Arc::new(regex)))
    }

    /// The variable that holds this pattern.
    pub(super) fn name(pattern: &str) -> String {
        format!("@pattern {pattern}")
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Steps for each step of text.
    pub(super) fn steps(&self) -> u64 {
        1 + self.0.as_str().len() as u64 / 16
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN
    }

    fn cel_type() -> &'static Type {
        &PATTERN
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
