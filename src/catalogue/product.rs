//! One product's catalogue, put together from its files. PURE: the files come in as text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;

use super::files::{Files, MAIN_FILE, REQUESTS_FILE};
use super::overrides::Override;
use super::parse::{Reader, Typed, TypedEvent};
use super::rules::{Rules, Scope};
use super::schema::{Schema, Shared};
use super::{Entry, Fault, Pointer, Profile};
use crate::config::nearest::nearest;
use crate::model::EventType;

/// What is known of one product.
#[derive(Debug)]
pub struct Product {
    /// The first word of its types.
    pub name: Box<str>,
    /// For people.
    pub title: Box<str>,
    /// Its types, in order.
    pub entries: Vec<Arc<Entry>>,
    /// What changes of its entities fire, and what requests come to.
    pub rules: Rules,
    /// What its own webhooks are like, if that is said.
    pub profile: Option<Profile>,
}

/// An example of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What is special about it; empty for the plain one.
    pub variant: Box<str>,
    /// Its bytes, without the line break at the end of the file.
    pub text: Box<str>,
}

impl Product {
    /// Reads a product's files. Its schemas are compiled when they are needed, or by [`Product::check`].
    ///
    /// # Errors
    /// The first fault, with file and line.
    pub fn read(files: &Files) -> Result<Product, Fault> {
        Product::read_with(files, &[])
    }

    /// The same, with what the operator sets.
    pub(super) fn read_with(files: &Files, overrides: &[Override]) -> Result<Product, Fault> {
        let text = files.texts.get(MAIN_FILE).map(|text| &**text).unwrap_or_default();
        let reader = Reader { file: format!("{}/{MAIN_FILE}", files.directory), text };
        let mut typed: Typed = reader.typed()?;
        for set in overrides.iter().filter(|set| *set.product == *files.name()) {
            set.set_option(&mut typed)?;
        }
        let name = typed.product.get_ref().as_str();
        if name != files.name() {
            let problem = format!("product must be the name of its directory, {:?}", files.name());
            return Err(reader.at(&typed.product, &problem));
        }
        let profile = typed.profile.as_ref().map(Profile::check).transpose();
        let mut profile = profile.map_err(|(at, problem)| reader.fault(at, &problem))?;
        for set in overrides.iter().filter(|set| *set.product == *files.name()) {
            set.set_limit(profile.as_mut())?;
        }
        let known: BTreeSet<&str> = typed.events.keys().map(|name| name.get_ref().as_str()).collect();
        let shared = shared_schemas(files, &known)?;
        let mut examples = examples(files, &known)?;
        let mut entries = Vec::with_capacity(typed.events.len());
        for (name, event) in &typed.events {
            let examples = examples.remove(name.get_ref().as_str()).unwrap_or_default();
            entries.push(entry(&reader, files, &typed, (name, event), &shared, examples)?);
        }
        add_groups(&reader, &typed, &mut entries)?;
        let rules = rules(&reader, files, &typed, &entries)?;
        let entries = entries.into_iter().map(Arc::new).collect();
        Ok(Product { name: name.into(), title: typed.title.into(), entries, rules, profile })
    }

    /// The words for several of its types.
    pub fn groups(&self) -> impl Iterator<Item = &EventType> {
        let all: BTreeSet<&EventType> = self.entries.iter().flat_map(|entry| &entry.groups).collect();
        all.into_iter()
    }

    /// Compiles every schema and holds every example against its own.
    ///
    /// # Errors
    /// The first fault, with file and line.
    pub fn check(&self, files: &Files) -> Result<(), Fault> {
        // By themselves first: what is wrong with one of them would else be named where it is referred to.
        let known: BTreeSet<&str> = self.entries.iter().map(|entry| entry.event_type.as_str()).collect();
        let shared = shared_schemas(files, &known)?;
        for (name, text) in files.below("schemas") {
            if name.strip_suffix(".json").is_some_and(|stem| known.contains(stem)) {
                continue;
            }
            if let Err(fault) = Schema::new(uri(files, name), text, shared.clone()).check() {
                let line = line_of(text, &fault.pointer);
                return Err(files.fault(&format!("schemas/{name}"), line, fault.problem));
            }
        }
        for entry in &self.entries {
            let Some(schema) = &entry.schema else { continue };
            let path = format!("schemas/{}.json", entry.event_type);
            if let Err(fault) = schema.check() {
                let line = line_of(schema.text(), &fault.pointer);
                return Err(files.fault(&path, line, fault.problem));
            }
            for example in &entry.examples {
                if let Err(violation) = schema.validate(example.text.as_bytes()) {
                    let path = example_path(&entry.event_type, &example.variant);
                    let problem = format!("{}: {}", violation.pointer, violation.rule);
                    return Err(files.fault(&path, line_of(&example.text, &violation.pointer), problem));
                }
            }
        }
        Ok(())
    }
}

fn example_path(event_type: &EventType, variant: &str) -> String {
    let at = if variant.is_empty() { "" } else { "@" };
    format!("examples/{event_type}{at}{variant}.json")
}

/// Schemas that are no type's: others may refer to them.
fn shared_schemas(files: &Files, types: &BTreeSet<&str>) -> Result<Shared, Fault> {
    let mut shared = Vec::new();
    for (name, text) in files.below("schemas") {
        let path = format!("schemas/{name}");
        let Some(stem) = name.strip_suffix(".json") else {
            return Err(files.fault(&path, 0, "a schema's file must be named <type>.json"));
        };
        let value: Value = serde_json::from_str(text)
            .map_err(|error| files.fault(&path, error.line(), error.to_string()))?;
        // With a dot it was meant to be a type's.
        if !types.contains(stem) && stem.contains('.') {
            return Err(files.fault(&path, 0, no_type(stem, types)));
        }
        if !types.contains(stem) {
            shared.push((uri(files, name), value));
        }
    }
    Ok(Arc::new(shared))
}

/// Examples by type, the plain one first.
fn examples<'a>(files: &'a Files, types: &BTreeSet<&str>) -> Result<BTreeMap<&'a str, Vec<Example>>, Fault> {
    let mut examples: BTreeMap<&str, Vec<Example>> = BTreeMap::new();
    for (name, text) in files.below("examples") {
        let path = format!("examples/{name}");
        let Some(stem) = name.strip_suffix(".json") else {
            return Err(files.fault(
                &path,
                0,
                "an example's file must be named <type>.json or <type>@<variant>.json",
            ));
        };
        let (event_type, variant) = stem.split_once('@').unwrap_or((stem, ""));
        if !types.contains(event_type) {
            return Err(files.fault(&path, 0, no_type(event_type, types)));
        }
        let text = text.strip_suffix('\n').unwrap_or(text);
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| files.fault(&path, error.line(), error.to_string()))?;
        let example = Example { variant: variant.into(), text: text.into() };
        examples.entry(event_type).or_default().push(example);
    }
    for of_type in examples.values_mut() {
        of_type.sort_by(|a, b| a.variant.cmp(&b.variant));
    }
    Ok(examples)
}

fn no_type(stem: &str, types: &BTreeSet<&str>) -> String {
    match nearest(stem, types.iter().copied()) {
        Some(nearest) => format!("{stem} is no type of this catalogue; did you mean {nearest}?"),
        None => format!("{stem} is no type of this catalogue"),
    }
}

fn uri(files: &Files, name: &str) -> String {
    format!("catalogue:///{}/{name}", files.name())
}

fn entry(
    reader: &Reader<'_>,
    files: &Files,
    typed: &Typed,
    (name, event): (&Spanned<String>, &TypedEvent),
    shared: &Shared,
    examples: Vec<Example>,
) -> Result<Entry, Fault> {
    let event_type = reader.event_type(name)?;
    let product = typed.product.get_ref();
    if event_type.as_str().split_once('.').is_none_or(|(first, _)| first != product) {
        return Err(reader.at(name, &format!("{event_type} must begin with {product}.")));
    }
    let schema = files.texts.get(&format!("schemas/{event_type}.json"));
    let uri = uri(files, &format!("{event_type}.json"));
    Ok(Entry {
        alias: event.alias.as_ref().map(|alias| reader.event_type(alias)).transpose()?,
        summary: event.summary.as_str().into(),
        variables: reader.variables(&typed.variables, &event.variables)?,
        attributes: reader.attributes(&typed.attributes, &event.attributes)?,
        groups: Vec::new(),
        schema: schema.map(|text| Schema::new(uri, text, shared.clone())),
        examples,
        at: name.span().start,
        event_type,
    })
}

/// Notes with each type the groups that it is in.
fn add_groups(reader: &Reader<'_>, typed: &Typed, entries: &mut [Entry]) -> Result<(), Fault> {
    for (name, members) in &typed.groups {
        let group = reader.event_type(name)?;
        for member in members {
            let pattern = reader.pattern(member)?;
            let mut meant = false;
            for entry in entries.iter_mut().filter(|entry| pattern.matches(&entry.event_type)) {
                meant = true;
                if !entry.groups.contains(&group) {
                    entry.groups.push(group.clone());
                }
            }
            if !meant {
                return Err(reader.at(member, "means no type of this catalogue"));
            }
        }
    }
    Ok(())
}

/// The rules of its entities, and those for requests.
fn rules(reader: &Reader<'_>, files: &Files, typed: &Typed, entries: &[Entry]) -> Result<Rules, Fault> {
    let product = typed.product.get_ref();
    for name in typed.changes.keys() {
        if name.get_ref().split_once('.').is_none_or(|(first, _)| first != product) {
            return Err(reader.at(name, &format!("{} must begin with {product}.", name.get_ref())));
        }
    }
    let known_event = |name: &str| {
        let named = |entry: &&Entry| entry.names().any(|known| known.as_str() == name);
        entries.iter().find(named).map(|entry| entry.event_type.clone())
    };
    let events: Vec<&str> = entries.iter().map(|entry| entry.event_type.as_str()).collect();
    let (text, data, options) = (reader.text, &typed.data, &typed.options);
    let lets = &typed.lets;
    let scope = Scope { text, data, options, lets, known_event: &known_event, events: &events };
    let mut rules =
        Rules::compile(&typed.changes, &scope).map_err(|fault| reader.fault(fault.at, &fault.problem))?;
    if let Some(requests) = &typed.requests {
        rules
            .add_requests(requests.span().start, requests.get_ref(), &scope)
            .map_err(|fault| reader.fault(fault.at, &fault.problem))?;
    }
    if let Some(text) = files.texts.get(REQUESTS_FILE) {
        if let Some(requests) = &typed.requests {
            return Err(
                reader.at(requests, &format!("the rules for requests are in {REQUESTS_FILE} already"))
            );
        }
        let reader = Reader { file: format!("{}/{REQUESTS_FILE}", files.directory), text };
        rules
            .add_requests(0, &reader.typed()?, &Scope { text, ..scope })
            .map_err(|fault| reader.fault(fault.at, &fault.problem))?;
    }
    Ok(rules)
}

/// The line of a value in a JSON text, counted from 1.
fn line_of(text: &str, pointer: &str) -> usize {
    let found = pointer.parse::<Pointer>().ok().and_then(|pointer| pointer.find(text.as_bytes()));
    let at = found.map_or(0, |value| value.get().as_ptr().addr().saturating_sub(text.as_ptr().addr()));
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
