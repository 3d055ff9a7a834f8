//! `postrider check-config`: what is in force, and where each value came from.

use serde_json::{Value, json};

use super::exit::{Exit, Failure, Result};
use super::{Context, output};
use crate::catalogue::Catalogue;
use crate::config::{Config, Invalid, Paths, Problem, Typed};
use crate::delivery::{Client, ClientSettings};
use crate::sources::Certificate;

pub(super) fn run(context: &Context) -> Result<()> {
    let config = match context.inputs().load() {
        Ok(config) => config,
        Err(Invalid(problems)) if context.global.json => {
            let problems: Vec<_> = problems.iter().map(problem).collect();
            output::json(&json!({"problems": problems}))?;
            return Err(Failure::silent(Exit::BadConfig));
        }
        Err(invalid) => return Err(invalid.into()),
    };
    // Certificates and keys are files of their own, and as much a part of it.
    let client = ClientSettings::try_from(&config).and_then(Client::new);
    client.map_err(|error| Failure::new(Exit::BadConfig, error.to_string()))?;
    Certificate::read(config.sources.tls.as_ref()).map_err(|fault| Failure::new(Exit::BadConfig, fault))?;
    Catalogue::load(&config.catalogue).map_err(|fault| Failure::new(Exit::BadConfig, fault.to_string()))?;
    let paths = context.paths()?;
    for warning in &config.warnings {
        output::note(&format!("postrider: {warning}"));
    }
    if context.global.json { output::json(&as_json(&config, &paths)) } else { as_table(&config, &paths) }
}

fn problem(problem: &Problem) -> Value {
    json!({"from": problem.origin.to_string(), "key": problem.key, "message": problem.message})
}

/// Paths are no keys of the file, but part of what is in force.
fn found(paths: &Paths) -> Vec<(&'static str, &crate::config::paths::Found)> {
    let mut found = vec![
        ("runtime directory", &paths.runtime_dir),
        ("state directory", &paths.data_dir),
        ("key file", &paths.key_file),
    ];
    found.extend(paths.previous_key_file.as_ref().map(|previous| ("previous key file", previous)));
    found
}

fn as_table(config: &Config, paths: &Paths) -> Result<()> {
    let mut rows: Vec<[String; 3]> = config
        .settings
        .iter()
        .map(|(key, setting)| [key.clone(), setting.value.to_string(), setting.origin.to_string()])
        .collect();
    rows.extend(
        found(paths)
            .into_iter()
            .map(|(name, found)| [name.to_owned(), found.path.display().to_string(), found.from.to_owned()]),
    );
    output::table(["KEY", "VALUE", "FROM"], rows)
}

fn as_json(config: &Config, paths: &Paths) -> Value {
    let settings: serde_json::Map<String, Value> = config
        .settings
        .iter()
        .map(|(key, setting)| {
            let value = match &setting.value {
                Typed::Text(text) => json!(text),
                Typed::Integer(number) => json!(number),
                Typed::List(items) => json!(items),
                Typed::Boolean(yes) => json!(yes),
                Typed::Other(what) => json!(what),
            };
            (key.clone(), json!({"value": value, "from": setting.origin.to_string()}))
        })
        .collect();
    let paths: serde_json::Map<String, Value> = found(paths)
        .into_iter()
        .map(|(name, found)| {
            let value = json!({"value": found.path.display().to_string(), "from": found.from});
            (name.replace(' ', "_"), value)
        })
        .collect();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    json!({"settings": settings, "paths": paths, "warnings": warnings})
}
