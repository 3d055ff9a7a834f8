//! Settings as typed: which keys there are, what each layer says about them, and where it says it.
//!
//! The known keys are those of the embedded defaults, so a key cannot be known without being documented there. Layers go
//! defaults, file, environment, flags; the last one that names a key wins. Nothing is checked here but names and shapes.
//! PURE: text comes in, from wherever.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::{Env, Problem};

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../../data/postrider.toml");

/// Variables that are no settings: they say where things are, and are read by [`super::paths`] and the command line.
const OTHER_VARIABLES: [&str; 4] =
    ["POSTRIDER_CONFIG", "POSTRIDER_RUNTIME_DIR", "POSTRIDER_DATA", "POSTRIDER_KEY_FILE"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The embedded defaults.
    Default,
    /// A line of the configuration file.
    File {
        /// The file as it was named.
        path: String,
        /// Counted from 1; 0 if the whole file is meant.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A `--set` flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File { path, line: 0 } => out.write_str(path),
            Origin::File { path, line } => write!(out, "{path}:{line}"),
            Origin::Env(name) => write!(out, "environment {name}"),
            Origin::Flag => out.write_str("flag --set"),
        }
    }
}

/// A value in the shapes that settings have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A list of texts.
    List(Vec<String>),
    /// True or false.
    Boolean(bool),
    /// Nothing that a setting can be; says what it is.
    Other(&'static str),
}

impl fmt::Display for Typed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Typed::Text(text) => write!(out, "\"{}\"", text.escape_debug()),
            Typed::Integer(number) => number.fmt(out),
            Typed::Boolean(yes) => yes.fmt(out),
            Typed::List(items) => {
                let quoted: Vec<_> =
                    items.iter().map(|item| format!("\"{}\"", item.escape_debug())).collect();
                write!(out, "[{}]", quoted.join(", "))
            }
            Typed::Other(what) => write!(out, "({what})"),
        }
    }
}

/// A key's value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As typed.
    pub value: Typed,
    /// By whom.
    pub origin: Origin,
}

/// Every key's value in force, by `section.key`, and what was wrong with names on the way.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) settings: BTreeMap<String, Setting>,
    pub(super) problems: Vec<Problem>,
    /// Strangers in the environment: reported, but no reason to stop.
    pub(super) warnings: Vec<Problem>,
}

impl Layers {
    /// The defaults alone.
    pub(super) fn defaults() -> Layers {
        let mut layers = Layers::default();
        for (section, key, value, _) in layers.entries(DEFAULTS, |_| Origin::Default) {
            layers.settings.insert(format!("{section}.{key}"), Setting { value, origin: Origin::Default });
        }
        layers
    }

    /// Lays a configuration file over what is there.
    pub(super) fn add_file(&mut self, path: &str, text: &str) {
        let at = |line| Origin::File { path: path.to_owned(), line };
        for (section, key, value, origin) in self.entries(text, at) {
            let name = format!("{section}.{key}");
            if self.settings.contains_key(&name) {
                self.set(&name, value, origin);
            } else {
                let message = self.unknown(&section, &key);
                self.problems.push(Problem { origin, key: name, message });
            }
        }
    }

    /// Lays the `POSTRIDER_SECTION_KEY` variables over what is there.
    pub(super) fn add_env(&mut self, env: &Env) {
        let names: BTreeMap<String, String> =
            self.settings.keys().map(|key| (variable(key), key.clone())).collect();
        for (name, text) in env.iter().filter(|(name, _)| name.starts_with("POSTRIDER_")) {
            let origin = Origin::Env(name.clone());
            if let Some(key) = names.get(name) {
                let value = self.shaped(key, text);
                self.set(key, value, origin);
            } else if !OTHER_VARIABLES.contains(&name.as_str()) {
                let known = names.keys().map(String::as_str).chain(OTHER_VARIABLES);
                let message = match nearest(name, known) {
                    Some(near) => format!("no such setting, ignored; did you mean {near}?"),
                    None => "no such setting, ignored".to_owned(),
                };
                self.warnings.push(Problem { origin, key: String::new(), message });
            }
        }
    }

    /// Lays `--set section.key=value` flags over what is there.
    pub(super) fn add_flags(&mut self, flags: &[String]) {
        for flag in flags {
            let Some((name, text)) = flag.split_once('=') else {
                let message = "write section.key=value, for example log.level=debug".to_owned();
                self.problems.push(Problem { origin: Origin::Flag, key: flag.clone(), message });
                continue;
            };
            if self.settings.contains_key(name) {
                let value = self.shaped(name, text);
                self.set(name, value, Origin::Flag);
            } else {
                let (section, key) = name.split_once('.').unwrap_or(("", name));
                let message = self.unknown(section, key);
                self.problems.push(Problem { origin: Origin::Flag, key: name.to_owned(), message });
            }
        }
    }

    fn set(&mut self, key: &str, value: Typed, origin: Origin) {
        self.settings.insert(key.to_owned(), Setting { value, origin });
    }

    /// Text from the environment or a flag in the shape that the key's default has. What does not fit stays text, and
    /// the check of the key says what it wants.
    fn shaped(&self, key: &str, text: &str) -> Typed {
        match self.settings.get(key).map(|setting| &setting.value) {
            Some(Typed::List(_)) if text.trim_start().starts_with('[') => toml_list(text),
            Some(Typed::List(_)) => Typed::List(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            ),
            Some(Typed::Integer(_)) => {
                text.trim().parse().map_or_else(|_| Typed::Text(text.to_owned()), Typed::Integer)
            }
            Some(Typed::Boolean(_)) => {
                text.trim().parse().map_or_else(|_| Typed::Text(text.to_owned()), Typed::Boolean)
            }
            _ => Typed::Text(text.to_owned()),
        }
    }

    /// What to say about a key that is not there.
    fn unknown(&self, section: &str, key: &str) -> String {
        let known = || self.settings.keys().filter_map(|name| name.split_once('.'));
        if known().any(|(name, _)| name == section) {
            let keys: Vec<_> = known().filter(|(name, _)| *name == section).map(|(_, key)| key).collect();
            return match nearest(key, keys.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => format!("unknown key; [{section}] has {}", keys.join(", ")),
            };
        }
        // The right key in the wrong section is as common as a slip.
        let elsewhere: Vec<_> = known().filter(|(_, name)| *name == key).map(|(name, _)| name).collect();
        if let [only] = elsewhere.as_slice() {
            return format!("unknown key; did you mean {only}.{key}?");
        }
        let mut sections: Vec<_> = known().map(|(name, _)| name).collect();
        sections.dedup();
        match nearest(section, sections.iter().copied()) {
            Some(near) => format!("unknown section; did you mean {near}?"),
            None => format!("unknown section; there are {}", sections.join(", ")),
        }
    }

    /// The `section.key` entries of a document, each with its place. What is no such entry is a problem.
    fn entries(&mut self, text: &str, at: impl Fn(usize) -> Origin) -> Vec<(String, String, Typed, Origin)> {
        let mut found = Vec::new();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error
                .span()
                .map_or_else(|| line_saying(text, error.message()), |span| line_of(text, span.start));
            let message = format!("not valid TOML: {}", error.message());
            self.problems.push(Problem { origin: at(line), key: String::new(), message });
        }
        for (section, content) in document.into_inner() {
            let line = line_of(text, section.span().start);
            let section = section.into_inner().into_owned();
            let DeValue::Table(keys) = content.into_inner() else {
                let message = self.unknown("", &section);
                self.problems.push(Problem { origin: at(line), key: section, message });
                continue;
            };
            let empty = keys.is_empty();
            for (key, value) in keys {
                let line = line_of(text, key.span().start);
                found.push((
                    section.clone(),
                    key.into_inner().into_owned(),
                    typed(value.into_inner()),
                    at(line),
                ));
            }
            let is_known =
                self.settings.keys().any(|name| name.split_once('.').is_some_and(|(s, _)| s == section));
            if empty && !is_known {
                let message = self.unknown(&section, "");
                self.problems.push(Problem { origin: at(line), key: section, message });
            }
        }
        found
    }
}

/// The variable that overrides a key: `egress.allow_http` is `POSTRIDER_EGRESS_ALLOW_HTTP`.
pub(super) fn variable(key: &str) -> String {
    format!("POSTRIDER_{}", key.replace('.', "_").to_ascii_uppercase())
}

fn typed(value: DeValue<'_>) -> Typed {
    match value {
        DeValue::String(text) => Typed::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Typed::Other("a number that is too large"), Typed::Integer),
        DeValue::Array(items) => items
            .into_iter()
            .map(|item| match item.into_inner() {
                DeValue::String(text) => Some(text.into_owned()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map_or(Typed::Other("a list of something else than texts"), Typed::List),
        DeValue::Float(_) => Typed::Other("a number with a fraction"),
        DeValue::Boolean(yes) => Typed::Boolean(yes),
        DeValue::Datetime(_) => Typed::Other("a date or time"),
        DeValue::Table(_) => Typed::Other("a table"),
    }
}

/// The line, counted from 1, that the byte at `offset` is in.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The line with which the parser begins to say this, for what it gives no place for (too deep a nesting).
fn line_saying(text: &str, message: &str) -> usize {
    let says = |end: usize| {
        let (_, errors) = DeTable::parse_recoverable(text.get(..end).unwrap_or_default());
        errors.iter().any(|error| error.message() == message)
    };
    let ends: Vec<usize> = text.match_indices('\n').map(|(end, _)| end).collect();
    1 + ends.partition_point(|end| !says(*end))
}

/// A list as the configuration file writes it, for those who are used to that.
fn toml_list(text: &str) -> Typed {
    #[derive(serde::Deserialize)]
    struct Line {
        list: Vec<String>,
    }
    match toml::from_str::<Line>(&format!("list = {text}")) {
        Ok(line) => Typed::List(line.list),
        Err(_) => Typed::Text(text.to_owned()),
    }
}
