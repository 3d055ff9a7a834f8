//! One expression: parsed, checked against what it may name, and made chargeable. PURE.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::value::CowVal;
use cel::parser::PrattParser;
use cel::{Context, ExecutionError, Value};

use super::grammar;
use super::pattern::Patterns;
use super::rewrite::{self, parts};
use super::vocabulary::{self, MACROS, TYPES};
use crate::config::nearest::nearest;

/// The longest expression, in bytes.
pub(super) const MAX_BYTES: usize = 16 << 10;
/// How deep an expression may be nested.
const MAX_DEPTH: usize = 64;

/// What is wrong with an expression's text, and where in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// A byte offset into the expression.
    pub(super) at: usize,
    pub(super) problem: String,
}

/// Ready to be evaluated, any number of times, by any thread.
#[derive(Debug)]
pub(super) struct Expression {
    ast: IdedExpr,
    /// Every name and text that the expression itself has: what an error may repeat.
    names: BTreeSet<Box<str>>,
    /// What it looks up in variables, in the order of its text.
    paths: Vec<Path>,
    /// Steps of one evaluation, loops aside.
    steps: u64,
    /// What it tries texts on.
    patterns: Patterns,
}

/// Members that are looked up one in another, from a variable on: `new.interval.start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) root: Box<str>,
    pub(super) members: Vec<Box<str>>,
}

impl Expression {
    /// Parses and checks it. `variables` are the names that it may use besides those that it binds itself.
    pub(super) fn compile(text: &str, variables: &BTreeSet<Box<str>>) -> Result<Expression, Flaw> {
        if text.len() > MAX_BYTES {
            return Err(Flaw {
                at: 0,
                problem: format!("an expression must have at most {MAX_BYTES} bytes"),
            });
        }
        let mut ast = parse(text)?;
        let (names, paths, patterns) = match Checker::new(text, variables).run(&ast) {
            Ok(Checker { names, paths, patterns, .. }) => (names, paths, patterns),
            Err(flaw) => {
                dismantle(ast);
                return Err(flaw);
            }
        };
        let steps = rewrite::steps(parts(&ast));
        rewrite::rewrite(&mut ast);
        Ok(Expression { ast, names, paths, steps, patterns })
    }

    /// Its value.
    pub(super) fn evaluate<'e, 'v>(
        &'e self,
        context: &'e Context<'_, 'v>,
    ) -> Result<CowVal<'e, 'v>, ExecutionError> {
        Value::resolve_val(&self.ast, context)
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether a name is one that the expression has itself, and so is no secret.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    pub(super) fn paths(&self) -> &[Path] {
        &self.paths
    }
}

fn parse(text: &str) -> Result<IdedExpr, Flaw> {
    let parser = PrattParser::new().enable_optional_syntax(true).max_recursion_depth(48);
    parser.parse(text).map_err(|errors| {
        let first = errors.errors.first();
        let (line, column) = first.map_or((1, 1), |error| error.pos);
        let message = first.map_or("no expression", |error| error.msg.as_str());
        Flaw {
            at: offset(text, line, column),
            problem: message.trim_start_matches("Syntax error: ").to_owned(),
        }
    })
}

/// From a line and a column, both counted from 1, to a place in the text.
fn offset(text: &str, line: isize, column: isize) -> usize {
    let before = usize::try_from(line - 1).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    (start + usize::try_from(column - 1).unwrap_or(0)).min(text.len())
}

/// Drops an expression that may be nested deeper than the stack is.
fn dismantle(ast: IdedExpr) {
    let mut left = vec![ast];
    while let Some(mut expr) = left.pop() {
        rewrite::children(&mut expr, &mut |child| left.push(std::mem::take(child)));
    }
}

struct Checker<'a> {
    text: &'a str,
    variables: &'a BTreeSet<Box<str>>,
    /// Bound by the loops that are around.
    bound: Vec<&'a str>,
    names: BTreeSet<Box<str>>,
    paths: Vec<Path>,
    patterns: Patterns,
}

impl<'a> Checker<'a> {
    fn new(text: &'a str, variables: &'a BTreeSet<Box<str>>) -> Self {
        let (bound, names, paths, patterns) = (Vec::new(), BTreeSet::new(), Vec::new(), Patterns::new());
        Checker { text, variables, bound, names, paths, patterns }
    }

    fn run(mut self, ast: &'a IdedExpr) -> Result<Self, Flaw> {
        self.check(ast, 0)?;
        Ok(self)
    }

    /// A flaw at the first place where a name stands.
    fn flaw(&self, name: &str, problem: String) -> Flaw {
        let is_part =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let bytes = self.text.as_bytes();
        let alone = |at: &usize| {
            !is_part(at.checked_sub(1).and_then(|before| bytes.get(before)).copied())
                && !is_part(bytes.get(at + name.len()).copied())
        };
        let at = self.text.match_indices(name).map(|(at, _)| at).find(alone).unwrap_or(0);
        Flaw { at, problem }
    }

    fn check(&mut self, expr: &'a IdedExpr, depth: usize) -> Result<(), Flaw> {
        if depth > MAX_DEPTH {
            let problem = format!("an expression must be nested at most {MAX_DEPTH} deep");
            return Err(Flaw { at: 0, problem });
        }
        let deeper = depth + 1;
        match &expr.expr {
            Expr::Literal(LiteralValue::String(text)) => {
                self.names.insert(text.inner().into());
            }
            Expr::Literal(_) => {}
            Expr::Ident(name) => return self.variable(name),
            Expr::Select(select) => {
                self.names.insert(select.field.as_str().into());
                self.path(expr);
                return self.check(&select.operand, deeper);
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.check(element, deeper)?;
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(self.unknown_message(""));
                    };
                    self.member_name(&entry.key)?;
                    self.check(&entry.key, deeper)?;
                    self.check(&entry.value, deeper)?;
                }
            }
            Expr::Call(call) => {
                vocabulary::check(call, &mut self.patterns)
                    .map_err(|(name, problem)| self.flaw(&name, problem))?;
                self.needs_grammar(call)?;
                if let Some(target) = &call.target
                    && !vocabulary::is_namespace(target)
                {
                    self.check(target, deeper)?;
                }
                for arg in &call.args {
                    self.check(arg, deeper)?;
                }
            }
            Expr::Comprehension(loops) => {
                self.check(&loops.iter_range, deeper)?;
                self.bound.extend([loops.iter_var.as_str(), loops.accu_var.as_str()]);
                for part in [&loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.check(part, deeper)?;
                }
                self.bound.truncate(self.bound.len() - 2);
            }
            Expr::Struct(message) => return Err(self.unknown_message(&message.type_name)),
            Expr::Unspecified => return Err(Flaw { at: 0, problem: "no expression".to_owned() }),
        }
        Ok(())
    }

    fn unknown_message(&self, name: &str) -> Flaw {
        self.flaw(name, format!("there is no message {name}: an object is {{'name': value}}"))
    }

    /// What is a command, a grammar must say.
    fn needs_grammar(&self, call: &CallExpr) -> Result<(), Flaw> {
        if call.func_name != "command" || self.variables.contains(grammar::VARIABLE) {
            return Ok(());
        }
        let problem =
            "command is for rules of requests, and needs their `commands`: [\"/track [task] in [project]\"]";
        Err(self.flaw("command", problem.to_owned()))
    }

    fn member_name(&self, key: &IdedExpr) -> Result<(), Flaw> {
        match &key.expr {
            Expr::Literal(LiteralValue::String(_)) => Ok(()),
            Expr::Literal(_) => Err(self.flaw("{", "the name of a member must be a text".to_owned())),
            _ => Ok(()),
        }
    }

    fn variable(&self, name: &str) -> Result<(), Flaw> {
        let is_known = self.bound.contains(&name) || self.variables.contains(name) || TYPES.contains(&name);
        if is_known {
            return Ok(());
        }
        if MACROS.contains(&name) {
            return Err(self.flaw(name, format!("{name} is a function")));
        }
        let known = self.variables.iter().map(|known| &**known).chain(self.bound.iter().copied());
        let hint = nearest(name, known.filter(|known| !known.starts_with('@')));
        let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
        Err(self.flaw(name, format!("there is no variable {name}{hint}")))
    }

    /// Keeps what is looked up in a variable that is not a loop's. What `has` asks for may be missing.
    fn path(&mut self, expr: &'a IdedExpr) {
        let mut members = Vec::new();
        let mut at = expr;
        while let Expr::Select(select) = &at.expr {
            if !select.test {
                members.push(select.field.as_str().into());
            }
            at = &select.operand;
        }
        members.reverse();
        if let Expr::Ident(root) = &at.expr
            && !members.is_empty()
            && !self.bound.contains(&root.as_str())
        {
            self.paths.push(Path { root: root.as_str().into(), members });
        }
    }
}

/// The text of a literal.
pub(super) fn literal(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// Whether a call is one that cannot make a text of its own, so that nothing need be paid for its value.
pub(super) fn makes_no_text(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => true,
        Expr::Call(call) => matches!(
            call.func_name.as_str(),
            operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::IN
                | "size"
        ),
        _ => false,
    }
}
