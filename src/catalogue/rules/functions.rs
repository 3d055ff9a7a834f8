//! The functions that expressions have beyond the standard ones, and those that do what operators and literals stand for
//! (their names begin with `@`, which nobody can type): the same, but charged. PURE.

use std::sync::Arc;

use bytes::Bytes;
use cel::common::types::{CelBool, CelBytes, CelInt, CelList, CelNull, CelOptional, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::equality::same;
use super::grammar::{Grammar, Meant};
use super::json;
use super::meter::{Meter, Purse, TEXT_STEP, text_steps};
use super::pattern::Pattern;
use super::payload;
use super::value::{Json, Member, Node, Shape};

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// How deep what an expression makes may be nested.
const MAX_NESTING: usize = 256;

pub(super) const EACH: &str = "@each";
pub(super) const PAY: &str = "@pay";
pub(super) const EQUAL: &str = "@equal";
pub(super) const CONTAINS: &str = "@contains";
pub(super) const ADD: &str = "@add";
pub(super) const LIST: &str = "@list";
pub(super) const OBJECT: &str = "@object";
pub(super) const INDEX: &str = "@index";
pub(super) const SET: &str = "@set";
pub(super) const FORMAT_TIME: &str = "@format_time";
pub(super) const MATCHES: &str = "@matches";
pub(super) const COMMAND: &str = "@command";

/// The standard functions and ours.
pub(super) fn environment() -> Result<Arc<Env>, DeclarationError> {
    let mut env = Env::stdlib();
    let any = |count: usize| (0..count).map(|_| DYN_TYPE).collect();
    env.add_overload(EACH, EACH, any(3), each)?;
    env.add_overload(PAY, PAY, any(2), pay)?;
    env.add_overload(EQUAL, EQUAL, any(3), equal)?;
    env.add_overload(CONTAINS, CONTAINS, any(3), contains)?;
    env.add_overload(ADD, ADD, any(3), add)?;
    env.add_overload(LIST, LIST, any(2), list)?;
    env.add_overload(OBJECT, OBJECT, any(3), object)?;
    env.add_overload(INDEX, INDEX, any(3), index)?;
    env.add_overload(SET, SET, any(4), set)?;
    env.add_overload(FORMAT_TIME, FORMAT_TIME, any(3), format_time)?;
    env.add_overload(MATCHES, MATCHES, any(3), matches)?;
    env.add_overload(COMMAND, COMMAND, any(3), command)?;
    Ok(Arc::new(env))
}

/// An error of ours: it names no value.
fn error(message: impl Into<String>) -> ExecutionError {
    ExecutionError::function_error("@", message.into())
}

fn wrong(function: &str, args: &[&dyn Val]) -> ExecutionError {
    ExecutionError::no_such_overload(
        function,
        args.iter().map(|arg| arg.get_type().name().to_owned()).collect(),
    )
}

fn take<'b, 'v, const N: usize>(args: Args<'b, 'v>) -> Result<[CowVal<'b, 'v>; N], ExecutionError> {
    let actual = args.len();
    <[CowVal<'b, 'v>; N]>::try_from(args).map_err(|_| ExecutionError::invalid_argument_count(N, actual))
}

fn meter<'a>(purse: &'a CowVal<'_, '_>) -> Result<&'a Meter, ExecutionError> {
    purse.downcast_ref::<Purse>().map(|purse| &*purse.0).ok_or_else(|| error("no meter"))
}

fn text<'a>(value: &'a CowVal<'_, '_>) -> Option<&'a str> {
    value.downcast_ref::<CelString>().map(CelString::inner)
}

fn node<'a>(value: &'a CowVal<'_, '_>) -> Option<&'a Node> {
    value.downcast_ref::<Node>()
}

/// A node that was just made. Names can put one into another again and again: what walks through them must not run out of
/// stack.
fn computed<'b, 'v>(made: Node) -> Answer<'b, 'v> {
    if made.depth() > MAX_NESTING {
        return Err(error(format!("lists and objects must be nested at most {MAX_NESTING} deep")));
    }
    Ok(CowVal::owned(made))
}

/// Steps for reading or copying a value: nodes are shared.
fn steps(value: &dyn Val) -> u64 {
    if let Some(text) = value.downcast_ref::<CelString>() {
        text_steps(text)
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        (bytes.inner().len() / TEXT_STEP) as u64 + 1
    } else if let Some(inner) = value.downcast_ref::<CelOptional>().and_then(CelOptional::option) {
        steps(inner)
    } else {
        0
    }
}

/// Steps for what was copied to be an argument.
fn copied(value: &CowVal<'_, '_>) -> u64 {
    if value.is_owned() { steps(&**value) } else { 0 }
}

/// `(meter, value)`: the value.
fn pay<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value] = take(args)?;
    meter(&purse)?.charge(steps(&*value))?;
    Ok(value)
}

/// `(meter, list or object, steps of one round)`: what a loop goes through, paid for.
fn each<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, range, round] = take(args)?;
    let Some(node) = node(&range) else { return Err(wrong("a loop", &[&*range])) };
    let round =
        round.downcast_ref::<CelInt>().map_or(1, |round| u64::try_from(*round.inner()).unwrap_or(u64::MAX));
    let rounds = (node.len() as u64).saturating_mul(round);
    let texts: u64 = match node.shape() {
        Shape::List(items) => items.iter().map(Json::steps).sum(),
        Shape::Object(object) => object.members().iter().map(|member| text_steps(&member.name)).sum(),
    };
    meter(&purse)?.charge(rounds.saturating_add(texts))?;
    Ok(range)
}

/// `(meter, a, b)`: `a == b`.
fn equal<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, a, b] = take(args)?;
    let meter = meter(&purse)?;
    meter.charge(copied(&a) + copied(&b))?;
    let is_same = same(&*a, &*b, meter)?;
    Ok(CowVal::owned(CelBool::from(is_same)))
}

/// `(meter, x, y)`: `x in y`.
fn contains<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value, range] = take(args)?;
    let meter = meter(&purse)?;
    meter.charge(copied(&value))?;
    let found = match node(&range).map(Node::shape) {
        Some(Shape::List(items)) => {
            let mut found = false;
            for item in items {
                found = same(item.as_val(), &*value, meter)?;
                if found {
                    break;
                }
            }
            found
        }
        Some(Shape::Object(object)) => {
            let name = text(&value).ok_or_else(|| wrong("in", &[&*value, &*range]))?;
            meter.charge(text_steps(name))?;
            object.get(name).is_some()
        }
        None => return Err(wrong("in", &[&*value, &*range])),
    };
    Ok(CowVal::owned(CelBool::from(found)))
}

/// `(meter, a, b)`: `a + b`.
fn add<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, a, b] = take(args)?;
    let meter = meter(&purse)?;
    let unfit = || wrong("_+_", &[&*a, &*b]);
    match (node(&a).map(Node::shape), node(&b).map(Node::shape)) {
        (Some(Shape::List(a)), Some(Shape::List(b))) => {
            let steps = a.iter().chain(b).map(Json::steps).sum();
            meter.charge(steps)?;
            computed(Node::list(a.iter().chain(b).cloned().collect(), None))
        }
        (None, None) => {
            meter.charge(steps(&*a) + steps(&*b))?;
            let adder = a.as_adder().ok_or_else(unfit)?;
            let sum: Box<dyn Val + 'v> = match adder.add(&*b) {
                Ok(sum) => sum.into_owned(),
                Err(fault @ ExecutionError::Overflow(..)) => return Err(fault),
                Err(_) => return Err(unfit()),
            };
            Ok(CowVal::Owned(sum))
        }
        _ => Err(unfit()),
    }
}

/// The elements of a list that the interpreter made.
fn elements<'v>(value: CowVal<'_, 'v>, meter: &Meter) -> Result<Vec<Box<dyn Val + 'v>>, ExecutionError> {
    if value.downcast_ref::<CelList>().is_none() {
        return Err(wrong("a list", &[&*value]));
    }
    let elements = Vec::try_from(value.into_owned()).map_err(|_| error("no list"))?;
    meter.charge(elements.len() as u64 + 1)?;
    Ok(elements)
}

/// `(meter, list)`: a list that was just made, as a node.
fn list<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value] = take(args)?;
    let items = elements(value, meter(&purse)?)?;
    let items = items.into_iter().map(Json::take).collect::<Result<_, _>>()?;
    computed(Node::list(items, None))
}

/// `(meter, [name, value, …], flags)`: an object. A flag `?` stands for a member that is left out if its value is an
/// empty optional.
fn object<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value, flags] = take(args)?;
    let parts = elements(value, meter(&purse)?)?;
    let flags = text(&flags).unwrap_or_default();
    let mut members = Vec::with_capacity(flags.len());
    let mut parts = parts.into_iter();
    for flag in flags.bytes() {
        let (Some(name), Some(mut value)) = (parts.next(), parts.next()) else { break };
        let name = String::try_from(name).map_err(|_| error("the name of a member must be a text"))?;
        if flag == b'?'
            && let Some(optional) = value.downcast_ref::<CelOptional>()
        {
            let Some(inner) = optional.option().map(Val::clone_as_boxed) else { continue };
            value = inner;
        }
        members.push(Member { name: CelString::from(name), value: Json::take(value)? });
    }
    let given = members.len();
    let made = Node::object(members, None);
    if made.len() < given {
        return Err(error("an object has a member twice"));
    }
    computed(made)
}

/// `(meter, list, 'member')`: the list's objects by that member's value.
fn index<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value, member] = take(args)?;
    let (Some(Shape::List(items)), Some(member)) = (node(&value).map(Node::shape), text(&member)) else {
        return Err(wrong("index", &[&*value, &*member]));
    };
    let meter = meter(&purse)?;
    let mut members = Vec::new();
    for item in items {
        meter.charge(1)?;
        let Json::Node(element) = item else { continue };
        let Shape::Object(object) = element.shape() else { continue };
        let name = match object.get(member) {
            Some(Json::Text(name)) => name.clone(),
            Some(Json::Int(number)) => CelString::from(number.inner().to_string()),
            Some(Json::UInt(number)) => CelString::from(number.inner().to_string()),
            _ => continue,
        };
        meter.charge(text_steps(&name))?;
        members.push(Member { name, value: item.clone() });
    }
    computed(Node::object(members, None))
}

/// `(meter, object, 'member', value)`: the object with that member replaced, or added at its end.
fn set<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value, name, to] = take(args)?;
    let (Some(whole), Some(name)) = (node(&value), text(&name)) else {
        return Err(wrong("set", &[&*value, &*name, &*to]));
    };
    let Shape::Object(object) = whole.shape() else { return Err(wrong("set", &[&*value, &*to])) };
    let meter = meter(&purse)?;
    if let Some(old) = object.get(name)
        && same(old.as_val(), &*to, meter)?
    {
        return Ok(value);
    }
    meter.charge(object.members().iter().map(|member| member.value.steps()).sum())?;
    let Some(raw) = whole.raw() else {
        let new = Json::take(to.into_owned())?;
        let keep = |member: &Member| Member { name: member.name.clone(), value: member.value.clone() };
        let mut members: Vec<Member> = object.members().iter().map(keep).collect();
        match members.iter_mut().find(|member| &*member.name == name) {
            Some(member) => member.value = new,
            None => members.push(Member { name: CelString::from(name.to_owned()), value: new }),
        }
        return computed(Node::object(members, None));
    };
    let max = usize::try_from(meter.left()).unwrap_or(usize::MAX).saturating_mul(TEXT_STEP);
    let written = payload::write(&*to, max).map_err(|flaw| match flaw {
        payload::Flaw::TooLong => meter.exhaust().into(),
        flaw => error(flaw.rule()),
    })?;
    meter.charge(((raw.len() + written.len()) / TEXT_STEP) as u64)?;
    let bytes = json::replace_member(raw, name, &written).ok_or_else(|| error("no object"))?;
    let made = json::read(&Bytes::from(bytes), meter).map_err(|flaw| match flaw {
        json::Flaw::Spent => meter.exhaust().into(),
        flaw => error(flaw.rule()),
    })?;
    match made {
        Json::Node(made) => Ok(CowVal::owned(made)),
        _ => Err(error("no object")),
    }
}

/// `(meter, unix milliseconds, 'strftime')`: the time in UTC.
fn format_time<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, at, format] = take(args)?;
    let (Some(at), Some(format)) = (at.downcast_ref::<CelInt>(), text(&format)) else {
        return Err(wrong("format_time", &[&*at, &*format]));
    };
    meter(&purse)?.charge(text_steps(format))?;
    let written = time_text(*at.inner(), format).ok_or_else(|| error("format_time: no such time"))?;
    Ok(CowVal::owned(CelString::from(written)))
}

/// A time in UTC by a pattern. None if there is no such time, or the pattern is wrong.
pub(super) fn time_text(at_ms: i64, pattern: &str) -> Option<String> {
    let time = Timestamp::from_millisecond(at_ms).ok()?;
    jiff::fmt::strtime::format(pattern, &time.to_zoned(TimeZone::UTC)).ok()
}

/// `(meter, text, pattern)`: whether the pattern is somewhere in the text.
fn matches<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value, pattern] = take(args)?;
    let (Some(subject), Some(pattern)) = (text(&value), pattern.downcast_ref::<Pattern>()) else {
        return Err(ExecutionError::no_such_overload("matches", vec![value.get_type().name().to_owned()]));
    };
    meter(&purse)?.charge(text_steps(subject).saturating_mul(pattern.steps()))?;
    Ok(CowVal::owned(CelBool::from(pattern.is_match(subject))))
}

/// `(meter, text, grammar)`: the command that the text is, with its parts; null if it is none.
fn command<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let [purse, value, grammar] = take(args)?;
    let (Some(said), Some(grammar)) = (text(&value), grammar.downcast_ref::<Grammar>()) else {
        return Err(wrong("command", &[&*value]));
    };
    meter(&purse)?.charge(grammar.steps(said))?;
    let Some(Meant { name, usage, parts }) = grammar.read(said) else {
        return Ok(CowVal::owned(CelNull));
    };
    let member = |(name, value): (&str, Json)| Member { name: CelString::from(name.to_owned()), value };
    let parts = parts.into_iter().map(|(name, part)| member((name, Json::text(part)))).collect();
    let parts = Json::Node(Node::object(parts, None));
    let members = [("name", Json::text(name)), ("usage", Json::text(usage)), ("parts", parts)];
    computed(Node::object(members.into_iter().map(member).collect(), None))
}
