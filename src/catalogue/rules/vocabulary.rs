//! What expressions can call. PURE.

use cel::common::ast::{CallExpr, Expr, IdedExpr};

use super::expression::literal;
use super::functions;
use super::pattern::{Pattern, Patterns};
use crate::config::nearest::nearest;

/// Names of types, for `type(x) == int`.
pub(super) const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "optional_type", "string", "type", "uint"];

/// What the parser itself replaces, if the arguments are right.
pub(super) const MACROS: [&str; 7] = ["has", "all", "exists", "exists_one", "existsOne", "map", "filter"];

/// Called as `name(…)`, with how many arguments.
const GLOBAL: [(&str, usize); 15] = [
    ("bool", 1),
    ("bytes", 1),
    ("command", 1),
    ("double", 1),
    ("dyn", 1),
    ("format_time", 2),
    ("index", 2),
    ("int", 1),
    ("matches", 2),
    ("set", 3),
    ("size", 1),
    ("string", 1),
    ("timestamp", usize::MAX),
    ("type", 1),
    ("uint", 1),
];

/// Called as `value.name(…)`.
const OF_VALUES: [(&str, usize); 9] = [
    ("contains", 1),
    ("endsWith", 1),
    ("hasValue", 0),
    ("matches", 1),
    ("or", 1),
    ("orValue", 1),
    ("size", 0),
    ("startsWith", 1),
    ("value", 0),
];

/// Called as `optional.name(…)`.
const OF_OPTIONAL: [(&str, usize); 3] = [("none", 0), ("of", 1), ("ofNonZeroValue", 1)];

/// The one name that is no value.
const NAMESPACE: &str = "optional";

/// Whether what a function is called on is no value but the first half of the function's name.
pub(super) fn is_namespace(target: &IdedExpr) -> bool {
    matches!(&target.expr, Expr::Ident(name) if name == NAMESPACE)
}

/// Whether a function is there, called in the right way. An error holds the name and what is wrong.
pub(super) fn check(call: &CallExpr, patterns: &mut Patterns) -> Result<(), (String, String)> {
    let name = call.func_name.as_str();
    let is_operator = name.bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'_');
    if is_operator {
        return Ok(());
    }
    let known: &[(&str, usize)] = match &call.target {
        None => &GLOBAL,
        Some(target) if is_namespace(target) => &OF_OPTIONAL,
        Some(_) => &OF_VALUES,
    };
    let fault = |problem: String| Err((name.to_owned(), problem));
    match known.iter().find(|(known, _)| *known == name) {
        Some((_, count)) if *count == call.args.len() => {
            constants(call, patterns).map_err(|problem| (name.to_owned(), problem))
        }
        Some((_, usize::MAX)) => {
            fault(format!("there is no function {name}: times are texts or numbers here"))
        }
        Some((_, count)) => fault(format!("{name} takes {count} arguments")),
        None if MACROS.contains(&name) => fault(match name {
            "has" => "has takes one argument, a member: has(x.y)".to_owned(),
            _ => format!(
                "{name} is called on a list or object, and takes a name and an expression: x.{name}(y, …)"
            ),
        }),
        None => {
            let names = known.iter().filter(|(_, count)| *count != usize::MAX).map(|(known, _)| *known);
            let hint = nearest(name, names.chain(MACROS));
            let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
            fault(format!("there is no function {name}{hint}"))
        }
    }
}

/// Patterns must be given as they are, and be right: one that a change brings along could cost anything.
fn constants(call: &CallExpr, patterns: &mut Patterns) -> Result<(), String> {
    let name = call.func_name.as_str();
    let Some(pattern) = call.args.last().filter(|_| ["matches", "format_time"].contains(&name)) else {
        return Ok(());
    };
    let pattern =
        literal(pattern).ok_or_else(|| format!("the pattern of {name} must be a text in quotes"))?;
    let is_right = match name {
        "matches" => Pattern::new(pattern)
            .map(|compiled| patterns.insert(Pattern::name(pattern).into(), compiled))
            .is_some(),
        _ => functions::time_text(0, pattern).is_some(),
    };
    if is_right { Ok(()) } else { Err(format!("{name} cannot read this pattern")) }
}

/// Words that cannot be names.
pub(super) fn is_reserved(name: &str) -> bool {
    const WORDS: [&str; 22] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
        NAMESPACE,
    ];
    WORDS.contains(&name)
}
