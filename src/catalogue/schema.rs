//! JSON Schemas (2020-12) of payloads: compiled once, when the first payload of their type comes or the catalogue is
//! checked. PURE: nothing is fetched, a reference reaches the files beside the schema only.

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, PatternOptions, Registry, ValidationError, Validator};
use serde_json::Value;

use super::strict;

/// Bytes of a pointer that are shown.
const POINTER_MAX: usize = 256;

/// What a payload breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A JSON Pointer into the payload; empty for the whole of it.
    pub pointer: String,
    /// The rule that is broken, in words, without any value of the payload.
    pub rule: String,
}

/// What is wrong with a schema, and where in it (a JSON Pointer).
pub(super) struct SchemaFault {
    pub(super) pointer: String,
    pub(super) problem: String,
}

/// The schemas that others refer to, by URI.
pub(super) type Shared = Arc<Vec<(String, Value)>>;

/// The schema of one type's payloads.
pub struct Schema {
    uri: String,
    /// As it stands in its file.
    text: Box<str>,
    shared: Shared,
    compiled: OnceLock<Option<Box<Validator>>>,
}

/// The text is in the catalogue, for everyone to read.
impl fmt::Debug for Schema {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Schema").field(&self.uri).finish()
    }
}

impl Schema {
    pub(super) fn new(uri: String, text: &str, shared: Shared) -> Schema {
        Schema { uri, text: text.into(), shared, compiled: OnceLock::new() }
    }

    /// As it stands in its file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Compiles it now, if that has not happened yet.
    pub(super) fn check(&self) -> Result<(), SchemaFault> {
        let value: Value = serde_json::from_str(&self.text)
            .map_err(|error| SchemaFault { pointer: String::new(), problem: error.to_string() })?;
        let compiled = self.compile(&value)?;
        self.compiled.get_or_init(|| Some(Box::new(compiled)));
        Ok(())
    }

    /// With what it refers to put into it, for those who have no files beside it.
    #[must_use]
    pub fn bundled(&self) -> Option<Value> {
        let schema: Value = serde_json::from_str(&self.text).ok()?;
        let registry = self.registry().ok()?;
        let options = jsonschema::options().with_draft(Draft::Draft202012).with_base_uri(&*self.uri);
        options.with_registry(&registry).with_retriever(Offline).bundle(&schema).ok()
    }

    fn registry(&self) -> Result<Registry<'_>, SchemaFault> {
        let whole = |error: jsonschema::ReferencingError| SchemaFault {
            pointer: String::new(),
            problem: error.to_string(),
        };
        let mut registry = Registry::new().retriever(Offline);
        for (uri, shared) in self.shared.iter() {
            registry = registry.add(uri, shared).map_err(whole)?;
        }
        registry.prepare().map_err(whole)
    }

    fn compile(&self, schema: &Value) -> Result<Validator, SchemaFault> {
        let registry = self.registry()?;
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_base_uri(&*self.uri)
            .with_registry(&registry)
            .with_retriever(Offline)
            .should_validate_formats(true)
            // What comes from outside meets these patterns: their time must be linear.
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map_err(|error| SchemaFault {
                pointer: error.instance_path().to_string(),
                problem: error.to_string(),
            })
    }

    /// Whether a payload may have this type.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn validate(&self, payload: &[u8]) -> Result<(), Violation> {
        let compiled = self.compiled.get_or_init(|| {
            let value: Value = serde_json::from_str(&self.text).ok()?;
            self.compile(&value).ok().map(Box::new)
        });
        // A schema that cannot be used was refused when its catalogue was checked.
        let Some(validator) = compiled else { return Ok(()) };
        let value = strict::read(payload).map_err(|error| Violation {
            pointer: String::new(),
            rule: format!("cannot be read: {error}"),
        })?;
        if validator.is_valid(&value) {
            return Ok(());
        }
        let first = validator.iter_errors(&value).next();
        first.map_or(Ok(()), |error| Err(violation(&error)))
    }
}

/// A reference to a file that is not there.
struct Offline;

impl jsonschema::Retrieve for Offline {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let file = uri.as_str().rsplit('/').next().unwrap_or_default();
        Err(format!("{file} is not in this catalogue's schemas").into())
    }
}

/// The rule that is broken. Where one of several schemas had to fit, the one that came furthest says what is wrong.
/// Names of members may be as long as the payload: what is shown of a pointer is not.
fn shortened(mut pointer: String) -> String {
    let end = pointer.char_indices().map(|(at, _)| at).find(|at| *at >= POINTER_MAX);
    if let Some(end) = end {
        pointer.truncate(end);
        pointer.push('…');
    }
    pointer
}

fn violation(error: &ValidationError<'_>) -> Violation {
    let branches = match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            context.as_slice()
        }
        _ => &[],
    };
    let here = error.instance_path().as_str().len();
    let firsts = branches.iter().filter_map(|branch| branch.first());
    let deepest = firsts.max_by_key(|error| error.instance_path().as_str().len());
    match deepest {
        Some(deepest) if deepest.instance_path().as_str().len() > here => violation(deepest),
        _ => Violation { pointer: shortened(error.instance_path().to_string()), rule: rule(error.kind()) },
    }
}

/// The rule in words. No value of the payload is in them, since that may be secret: what the schema says is not.
fn rule(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Required { property } => format!("required: needs the member {property}"),
        Kind::Type { kind } => format!("type: must be {}", types(kind)),
        Kind::Enum { options } => format!("enum: must be one of {}", short(options)),
        Kind::Constant { expected_value } => format!("const: must be {}", short(expected_value)),
        Kind::Pattern { pattern } => format!("pattern: must match {pattern}"),
        Kind::Format { format } => format!("format: must be a {format}"),
        Kind::MaxLength { limit } => format!("maxLength: must have at most {limit} characters"),
        Kind::MinLength { limit } => format!("minLength: must have at least {limit} characters"),
        Kind::MaxItems { limit } => format!("maxItems: must have at most {limit} items"),
        Kind::MinItems { limit } => format!("minItems: must have at least {limit} items"),
        Kind::MaxProperties { limit } => format!("maxProperties: must have at most {limit} members"),
        Kind::MinProperties { limit } => format!("minProperties: must have at least {limit} members"),
        Kind::Maximum { limit } => format!("maximum: must be at most {limit}"),
        Kind::Minimum { limit } => format!("minimum: must be at least {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("exclusiveMaximum: must be less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("exclusiveMinimum: must be more than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("multipleOf: must be a multiple of {multiple_of}"),
        Kind::UniqueItems => "uniqueItems: must not have the same item twice".to_owned(),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            format!("{}: has a member that is not allowed", kind.keyword())
        }
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            format!("{}: must be as one of the schema's alternatives says", kind.keyword())
        }
        _ => format!("{}: must be as the schema says", kind.keyword()),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(several) => {
            several.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or ")
        }
    }
}

/// What a schema asks for, cut where it is long.
fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 300;
    let text = value.to_string();
    let mut shown: String = text.chars().take(CHARS_MAX).collect();
    if shown.len() < text.len() {
        // Writing to a String cannot fail.
        let written = write!(shown, "…");
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    shown
}
