//! What an evaluation failed for, in words that repeat nothing but what the expression says itself. PURE.

use cel::ExecutionError;

use super::about::Given;
use super::expression::{Expression, Path};
use super::value::{Json, Shape};

/// What is wrong.
pub(super) fn text(error: &ExecutionError, expression: &Expression) -> String {
    match error {
        ExecutionError::NoSuchKey(name) if expression.has_name(name) => {
            format!(
                "there is no member {name} (has(x.{name}) tells, x.?{name}.orValue(null) takes another value)"
            )
        }
        ExecutionError::NoSuchKey(_) => "there is no such member".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "a list has no such index".to_owned(),
        ExecutionError::NoSuchOverload(unfit) => {
            format!("{} does not work on {}", sign(unfit.function()), unfit.argument_types().join(" and "))
        }
        ExecutionError::UnexpectedType { .. } => "a value has the wrong type".to_owned(),
        ExecutionError::FunctionError { function, message } if function.starts_with('@') => message.clone(),
        ExecutionError::FunctionError { function, .. } if expression_function(function) => {
            format!("{function} cannot do that with this value")
        }
        ExecutionError::UnsupportedBinaryOperator(..) => {
            "an operator does not work on these types".to_owned()
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        _ => "it cannot be evaluated".to_owned(),
    }
}

/// Functions of the standard library that can fail for a value.
fn expression_function(name: &str) -> bool {
    ["bool", "int", "uint", "double", "string", "value"].contains(&name)
}

/// An operator as it is typed.
fn sign(function: &str) -> &str {
    match function {
        "_._" | "_?._" => "taking a member",
        "_[_]" | "_[?_]" => "taking an element",
        "@in" => "in",
        "_?_:_" => "? :",
        other => other.trim_matches('_'),
    }
}

/// Where in what came it is, as near as is known: the first of the expression's lookups that leads nowhere, else the
/// one part of it that it reads, else the whole.
pub(super) fn field(error: &ExecutionError, expression: &Expression, given: &Given) -> String {
    let missing = match error {
        ExecutionError::NoSuchKey(name) => Some(name.as_str()),
        _ => None,
    };
    let found = expression
        .paths()
        .iter()
        .filter_map(|path| broken(path, given))
        .find(|(name, _)| missing.is_none_or(|missing| missing == &**name));
    match found {
        Some((_, pointer)) => pointer,
        None => part(expression, given),
    }
}

/// The one part of what came that an expression reads, else the whole.
pub(super) fn part(expression: &Expression, given: &Given) -> String {
    let mut roots =
        expression.paths().iter().map(|path| &*path.root).filter(|root| given.get(root).is_some());
    let first = roots.next();
    match first {
        Some(root) if roots.all(|other| other == root) => format!("/{root}"),
        _ => String::new(),
    }
}

/// The member at which a lookup breaks off, and its place.
fn broken<'p>(path: &'p Path, given: &Given) -> Option<(&'p str, String)> {
    let mut at = given.get(&path.root)?;
    let mut pointer = format!("/{}", path.root);
    for name in &path.members {
        let inside = match at {
            Json::Node(node) => match node.shape() {
                Shape::Object(object) => object.get(name),
                Shape::List(_) => None,
            },
            _ => return Some((name, pointer)),
        };
        pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        match inside {
            Some(inside) => at = inside,
            None => return Some((name, pointer)),
        }
    }
    None
}
