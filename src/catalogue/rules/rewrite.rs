//! Makes an expression chargeable: what can cost more than a few nanoseconds because of the values it meets becomes a call
//! of a function that charges for it first. PURE.
//!
//! The interpreter builds the lists of `map` and `filter` in place as long as it recognises their steps: those stay as
//! they are, and only their range, condition and element are gone into.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, operators};
use cel::common::types::CelString;

use super::expression::{literal, makes_no_text};
use super::functions::{
    ADD, COMMAND, CONTAINS, EACH, EQUAL, FORMAT_TIME, INDEX, LIST, MATCHES, OBJECT, PAY, SET,
};
use super::grammar;
use super::meter::NODES_STEP;
use super::pattern::Pattern;
use super::vocabulary::is_namespace;

/// The variable that holds the meter.
pub(super) const METER: &str = "@meter";

fn text(text: &str) -> IdedExpr {
    node(Expr::Literal(LiteralValue::String(CelString::from(text.to_owned()))))
}

fn int(number: i64) -> IdedExpr {
    node(Expr::Literal(LiteralValue::Int(number.into())))
}

fn node(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

/// A call that is given the meter first.
fn charged(name: &str, args: impl IntoIterator<Item = IdedExpr>) -> IdedExpr {
    let meter = node(Expr::Ident(METER.to_owned()));
    let args = std::iter::once(meter).chain(args).collect();
    node(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
}

/// How many parts an expression has. A loop within counts as one round: its rounds pay for themselves.
pub(super) fn parts(expr: &IdedExpr) -> u64 {
    let mut count = 1;
    each_child(expr, &mut |child| count += parts(child));
    count
}

/// Steps for evaluating that many parts.
pub(super) fn steps(parts: u64) -> u64 {
    1 + parts / NODES_STEP
}

/// Rewrites an expression in place.
pub(super) fn rewrite(expr: &mut IdedExpr) {
    match &mut expr.expr {
        Expr::Call(_) => call(expr),
        Expr::List(list) => {
            list.elements.iter_mut().for_each(paid);
            let made = std::mem::take(expr);
            *expr = charged(LIST, [made]);
        }
        Expr::Map(_) => object(expr),
        Expr::Comprehension(_) => comprehension(expr),
        Expr::Select(select) => {
            let copies = !select.test && !is_rooted(&select.operand);
            rewrite(&mut select.operand);
            if copies {
                pay(expr);
            }
        }
        _ => {}
    }
}

/// Rewrites an expression that a function reads or copies the value of.
fn paid(expr: &mut IdedExpr) {
    let is_free = makes_no_text(expr);
    rewrite(expr);
    let is_paid = matches!(&expr.expr, Expr::Call(call) if call.func_name == PAY);
    if !is_free && !is_paid {
        pay(expr);
    }
}

fn pay(expr: &mut IdedExpr) {
    let value = std::mem::take(expr);
    *expr = charged(PAY, [value]);
}

/// Whether a value is taken from a variable, step by step: such a value is lent, any other copied.
fn is_rooted(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => is_rooted(&select.operand),
        Expr::Call(call) if call.func_name == operators::INDEX => call.args.first().is_some_and(is_rooted),
        _ => false,
    }
}

fn call(expr: &mut IdedExpr) {
    let Expr::Call(call) = &mut expr.expr else { return };
    let replaced = match call.func_name.as_str() {
        operators::EQUALS => Some((EQUAL, false)),
        operators::NOT_EQUALS => Some((EQUAL, true)),
        operators::IN => Some((CONTAINS, false)),
        operators::ADD => Some((ADD, false)),
        "index" if call.target.is_none() => Some((INDEX, false)),
        "set" if call.target.is_none() => Some((SET, false)),
        "format_time" if call.target.is_none() => Some((FORMAT_TIME, false)),
        _ => None,
    };
    if let Some((name, negated)) = replaced {
        call.args.iter_mut().for_each(rewrite);
        let made = charged(name, std::mem::take(&mut call.args));
        *expr = if negated { not(made) } else { made };
        return;
    }
    match call.func_name.as_str() {
        "command" if call.target.is_none() => {
            call.args.iter_mut().for_each(rewrite);
            call.args.push(node(Expr::Ident(grammar::VARIABLE.to_owned())));
            *expr = charged(COMMAND, std::mem::take(&mut call.args));
        }
        operators::CONDITIONAL
        | operators::LOGICAL_AND
        | operators::LOGICAL_OR
        | operators::LOGICAL_NOT
        | operators::NOT_STRICTLY_FALSE
        | operators::NEGATE => call.args.iter_mut().for_each(rewrite),
        operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => {
            let lends = call.func_name == operators::INDEX && call.args.first().is_some_and(is_rooted);
            let mut args = call.args.iter_mut();
            args.next().into_iter().for_each(rewrite);
            args.for_each(paid);
            if !lends {
                pay(expr);
            }
        }
        "matches" => matches(expr),
        _ => {
            if let Some(target) = call.target.as_deref_mut().filter(|target| !is_namespace(target)) {
                paid(target);
            }
            call.args.iter_mut().for_each(paid);
        }
    }
}

fn not(expr: IdedExpr) -> IdedExpr {
    let func_name = operators::LOGICAL_NOT.to_owned();
    node(Expr::Call(CallExpr { func_name, target: None, args: vec![expr] }))
}

/// The pattern is a literal: that was checked. It becomes the variable that holds it compiled.
fn matches(expr: &mut IdedExpr) {
    let Expr::Call(call) = &mut expr.expr else { return };
    let pattern =
        call.args.pop().and_then(|pattern| literal(&pattern).map(Pattern::name)).unwrap_or_default();
    let subject = call.target.take().map(|target| *target).or_else(|| call.args.pop());
    let mut subject = subject.unwrap_or_default();
    rewrite(&mut subject);
    *expr = charged(MATCHES, [subject, node(Expr::Ident(pattern))]);
}

/// `{a: b, ?c: d}` becomes `@object(@meter, [a, b, c, d], '.?')`, which keeps the order.
fn object(expr: &mut IdedExpr) {
    let Expr::Map(map) = &mut expr.expr else { return };
    let mut elements = Vec::with_capacity(map.entries.len() * 2);
    let mut flags = String::new();
    for entry in std::mem::take(&mut map.entries) {
        if let EntryExpr::MapEntry(mut entry) = entry.expr {
            paid(&mut entry.key);
            paid(&mut entry.value);
            flags.push(if entry.optional { '?' } else { '.' });
            elements.extend([entry.key, entry.value]);
        }
    }
    *expr = charged(OBJECT, [node(Expr::List(ListExpr::new(elements))), text(&flags)]);
}

fn comprehension(expr: &mut IdedExpr) {
    let Expr::Comprehension(loops) = &mut expr.expr else { return };
    let round = steps(parts(&loops.loop_cond) + parts(&loops.loop_step));
    rewrite(&mut loops.iter_range);
    let range = std::mem::take(&mut loops.iter_range);
    loops.iter_range = charged(EACH, [range, int(i64::try_from(round).unwrap_or(i64::MAX))]);
    let accumulator = loops.accu_var.clone();
    step(&mut loops.loop_step, &accumulator);
    let makes_list = matches!(loops.accu_init.expr, Expr::List(_));
    if makes_list {
        let made = std::mem::take(expr);
        *expr = charged(LIST, [made]);
    }
}

/// The step of a loop: what it does to the accumulator stays, the rest is rewritten.
fn step(expr: &mut IdedExpr, accumulator: &str) {
    let is_accumulator = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(name) if name == accumulator);
    match &mut expr.expr {
        Expr::Call(call)
            if call.func_name == operators::ADD && call.args.first().is_some_and(is_accumulator) =>
        {
            for arg in &mut call.args {
                if let Expr::List(list) = &mut arg.expr {
                    list.elements.iter_mut().for_each(paid);
                }
            }
        }
        Expr::Call(call)
            if call.func_name == operators::CONDITIONAL && call.args.last().is_some_and(is_accumulator) =>
        {
            let mut args = call.args.iter_mut();
            args.next().into_iter().for_each(rewrite);
            args.for_each(|arg| step(arg, accumulator));
        }
        Expr::Call(call) if call.args.first().is_some_and(is_accumulator) => {
            call.args.iter_mut().for_each(rewrite);
        }
        Expr::Ident(name) if name == accumulator => {}
        _ => rewrite(expr),
    }
}

fn each_child(expr: &IdedExpr, visit: &mut dyn FnMut(&IdedExpr)) {
    match &expr.expr {
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).for_each(visit),
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    visit(&entry.key);
                    visit(&entry.value);
                }
            }
        }
        Expr::Select(select) => visit(&select.operand),
        Expr::Comprehension(loops) => {
            [&loops.iter_range, &loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result]
                .into_iter()
                .for_each(visit);
        }
        Expr::Struct(message) => {
            for entry in &message.entries {
                if let EntryExpr::StructField(field) = &entry.expr {
                    visit(&field.value);
                }
            }
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

/// Hands out the parts that are directly below an expression.
pub(super) fn children(expr: &mut IdedExpr, visit: &mut dyn FnMut(&mut IdedExpr)) {
    match &mut expr.expr {
        Expr::Call(call) => {
            if let Some(target) = call.target.as_deref_mut() {
                visit(target);
            }
            call.args.iter_mut().for_each(visit);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(visit),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    visit(&mut entry.key);
                    visit(&mut entry.value);
                }
            }
        }
        Expr::Select(select) => visit(&mut select.operand),
        Expr::Comprehension(loops) => {
            visit(&mut loops.iter_range);
            visit(&mut loops.loop_cond);
            visit(&mut loops.loop_step);
        }
        Expr::Struct(message) => {
            for entry in &mut message.entries {
                if let EntryExpr::StructField(field) = &mut entry.expr {
                    visit(&mut field.value);
                }
            }
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}
