//! `postrider catalogue`: what is known of event types. Asks no daemon: the catalogues that come along, and those that the
//! configuration names.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::exit::{Exit, Failure, Result};
use super::{Context, output};
use crate::catalogue::{Catalogue, Entry, Example, Fault, Product, Schema};
use crate::config::nearest::nearest;
use crate::model::EventType;

/// Event types that are known.
#[derive(Debug, Subcommand)]
pub(super) enum CatalogueCommand {
    /// The types, with the products' own names for them.
    List {
        /// Only this product's.
        #[arg(long, value_name = "PRODUCT")]
        product: Option<String>,
    },
    /// Everything about one type: its variables, attributes, groups, examples and schema; or about a product: the entities
    /// whose changes it knows, whether it knows requests, its groups, and whether it has a profile.
    Show {
        /// The type, the product's own name for it, or the product.
        #[arg(value_name = "TYPE")]
        event_type: String,
    },
    /// Check a directory of catalogues (or one catalogue) together with those that come along: every file, every schema,
    /// every example and rule. Without DIR, check what the configuration names.
    Check {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Print an example of a payload.
    Example {
        /// The type, or the product's own name for it; TYPE@VARIANT for another example than the plain one.
        #[arg(value_name = "TYPE")]
        event_type: String,
    },
}

pub(super) fn run(context: &Context, command: &CatalogueCommand) -> Result<()> {
    match command {
        CatalogueCommand::List { product } => list(context, product.as_deref()),
        CatalogueCommand::Show { event_type } => show(context, event_type),
        CatalogueCommand::Check { directory } => check(context, directory.clone()),
        CatalogueCommand::Example { event_type } => {
            let (_, text) = example(context, event_type)?;
            output::line(&text)
        }
    }
}

/// The type and the text of the example of this name.
pub(super) fn example(context: &Context, name: &str) -> Result<(EventType, String)> {
    let catalogue = in_force(context)?;
    let (event_type, variant) = name.split_once('@').unwrap_or((name, ""));
    let entry = find(&catalogue, event_type)?;
    let variants: Vec<&str> = entry.examples.iter().map(|example| &*example.variant).collect();
    match entry.examples.iter().find(|example| *example.variant == *variant) {
        Some(example) => Ok((entry.event_type.clone(), example.text.to_string())),
        None if variants.is_empty() => {
            Err(Failure::new(Exit::NotFound, format!("{} has no example", entry.event_type)))
        }
        None => Err(Failure::new(
            Exit::NotFound,
            format!("{} has no such example; there are {}", entry.event_type, names(entry).join(", ")),
        )),
    }
}

/// The names of a type's examples, as they are asked for.
fn names(entry: &Entry) -> Vec<String> {
    let name = |example: &Example| match &*example.variant {
        "" => entry.event_type.to_string(),
        variant => format!("{}@{variant}", entry.event_type),
    };
    entry.examples.iter().map(name).collect()
}

fn in_force(context: &Context) -> Result<Catalogue> {
    Catalogue::load(&context.config()?.catalogue).map_err(bad)
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn bad(fault: Fault) -> Failure {
    Failure::new(Exit::BadConfig, fault.to_string())
}

fn find<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Entry> {
    let known = name.parse().ok().and_then(|event_type: EventType| catalogue.find(&event_type));
    known.map(|entry| &**entry).ok_or_else(|| {
        let all = catalogue.entries().flat_map(|entry| entry.names()).map(EventType::as_str);
        let advice = nearest(name, all).map_or_else(
            || "`postrider catalogue list` shows them".to_owned(),
            |nearest| format!("did you mean {nearest}?"),
        );
        Failure::new(Exit::NotFound, format!("no catalogue has the type {}; {advice}", output::plain(name)))
    })
}

fn list(context: &Context, product: Option<&str>) -> Result<()> {
    let catalogue = in_force(context)?;
    let wanted: Vec<_> =
        catalogue.products().iter().filter(|known| product.is_none_or(|name| *known.name == *name)).collect();
    if wanted.is_empty() {
        return Err(Failure::new(Exit::NotFound, "no catalogue of that product is in force"));
    }
    let entries = wanted.into_iter().flat_map(|product| &product.entries);
    if context.global.json {
        let items: Vec<_> = entries.map(|entry| brief(entry)).collect();
        return output::json(&json!({"items": items}));
    }
    let alias = |entry: &Entry| entry.alias.as_ref().map(ToString::to_string).unwrap_or_default();
    let rows = entries.map(|entry| [entry.event_type.to_string(), alias(entry), entry.summary.to_string()]);
    output::table(["TYPE", "ALIAS", "SUMMARY"], rows.collect())
}

fn brief(entry: &Entry) -> Value {
    json!({"type": entry.event_type, "alias": entry.alias, "summary": entry.summary, "groups": entry.groups})
}

fn show(context: &Context, name: &str) -> Result<()> {
    let catalogue = in_force(context)?;
    if let Some(product) = catalogue.product(name) {
        return show_product(context, product);
    }
    let entry = find(&catalogue, name)?;
    if context.global.json {
        return output::json(&whole(entry));
    }
    let listed = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let variables = entry.variables.iter().map(|(name, at)| format!("{{{name}}} at {at}")).collect();
    let attributes = entry.attributes.iter().map(|(name, attribute)| {
        let keyed = if attribute.keyed { ".NAME" } else { "" };
        format!("{name}{keyed} at {}", attribute.path)
    });
    let rows = [
        ("type", entry.event_type.to_string()),
        ("alias", entry.alias.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)),
        ("summary", entry.summary.to_string()),
        ("groups", listed(entry.groups.iter().map(ToString::to_string).collect())),
        ("variables", listed(variables)),
        ("attributes", listed(attributes.collect())),
        ("examples", listed(names(entry))),
    ];
    output::pairs(rows.map(|(name, value)| (name.to_owned(), value)).to_vec())?;
    match &entry.schema {
        Some(schema) => match schema.bundled() {
            Some(bundled) => output::line(&format!("\n{bundled:#}")),
            None => output::line(&format!("\n{}", schema.text().trim_end())),
        },
        None => output::line("\nno schema: any payload will do"),
    }
}

fn show_product(context: &Context, product: &Product) -> Result<()> {
    let types: Vec<&str> = product.entries.iter().map(|entry| entry.event_type.as_str()).collect();
    let entities: Vec<&str> = product.rules.entities().collect();
    let groups: Vec<&str> = product.groups().map(EventType::as_str).collect();
    if context.global.json {
        return output::json(&json!({"product": product.name, "title": product.title, "types": types,
            "entities": entities, "requests": product.rules.has_requests(), "groups": groups,
            "profile": product.profile.is_some()}));
    }
    let listed = |items: &[&str]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let profile = if product.profile.is_some() { product.name.to_string() } else { "none".to_owned() };
    let rows = [
        ("product", product.name.to_string()),
        ("title", product.title.to_string()),
        ("types", listed(&types)),
        ("groups", listed(&groups)),
        ("entities", listed(&entities)),
        ("requests", if product.rules.has_requests() { "have rules" } else { "none" }.to_owned()),
        ("profile", profile),
    ];
    output::pairs(rows.map(|(name, value)| (name.to_owned(), value)).to_vec())
}

fn whole(entry: &Entry) -> Value {
    let mut whole = brief(entry);
    let variables: serde_json::Map<_, _> =
        entry.variables.iter().map(|(name, at)| (name.to_string(), json!(at.to_string()))).collect();
    let attributes: serde_json::Map<_, _> = entry
        .attributes
        .iter()
        .map(|(name, found)| {
            (name.to_string(), json!({"pointer": found.path.to_string(), "keyed": found.keyed}))
        })
        .collect();
    let schema: Option<Value> = entry.schema.as_ref().and_then(Schema::bundled);
    if let Value::Object(members) = &mut whole {
        members.insert("variables".to_owned(), Value::Object(variables));
        members.insert("attributes".to_owned(), Value::Object(attributes));
        members.insert("examples".to_owned(), json!(names(entry)));
        members.insert("schema".to_owned(), json!(schema));
    }
    whole
}

fn check(context: &Context, directory: Option<PathBuf>) -> Result<()> {
    let mut settings = context.config()?.catalogue;
    if directory.is_some() {
        settings.directory = directory;
        // What is set is for the catalogues that the configuration names.
        settings.set.clear();
    }
    let catalogue = Catalogue::check(&settings).map_err(bad)?;
    let types = catalogue.entries().count();
    let examples: usize = catalogue.entries().map(|entry| entry.examples.len()).sum();
    let schemas = catalogue.entries().filter(|entry| entry.schema.is_some()).count();
    let products: Vec<&str> = catalogue.products().iter().map(|product| &*product.name).collect();
    let requests: Vec<&str> = catalogue.request_products().collect();
    let said = format!(
        "all is well: {} ({}), {types} types, {schemas} schemas, {examples} examples; rules for requests: {}",
        output::count(products.len() as u64, "product", "products"),
        products.join(", "),
        if requests.is_empty() { "none".to_owned() } else { requests.join(", ") }
    );
    let answer = json!({
        "products": products, "types": types, "schemas": schemas, "examples": examples, "requests": requests
    });
    output::done(context.global.json, &answer, &said)
}
