//! From rules as they are typed to rules that can fire. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cel::Env;
use toml::Spanned;

use super::about::{About, CHANGE, REQUEST};
use super::expression::{Expression, Flaw, Path};
use super::grammar::{self, Grammar};
use super::value::{Json, Member, Node};
use super::vocabulary::{self, TYPES};
use super::{
    Place, Rule, RuleFault, Rules, Scope, Set, Then, Typed, TypedLet, TypedRequests, TypedRule, functions,
};
use crate::catalogue::Pointer;
use crate::config::nearest::nearest;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString};

/// The most rules, and the most names, of one entity, or for requests.
const MAX_RULES: usize = 64;

impl Rules {
    /// Checks the rules for changes, and makes them ready.
    ///
    /// # Errors
    /// The first fault.
    pub fn compile(typed: &BTreeMap<Spanned<String>, Typed>, scope: &Scope<'_>) -> Result<Rules, RuleFault> {
        let mut rules = Rules::default();
        if typed.is_empty() {
            return Ok(rules);
        }
        let env = environment()?;
        for (name, typed) in typed {
            if name.get_ref().is_empty() {
                return Err(fault(name, "an entity must have a name, for example absence.event"));
            }
            let compiler = Compiler { scope, about: &CHANGE, of: name.get_ref(), grammar: None };
            let lets: Vec<&TypedLet> = scope.lets.iter().chain(&typed.lets).collect();
            let set = compiler.set(name.span().start, &lets, &typed.rules, &env)?;
            rules.entities.insert(name.get_ref().as_str().into(), set);
        }
        Ok(rules)
    }

    /// Checks the rules for requests, whose place is `at`, and adds them. The names that all entities have are not theirs:
    /// those read changes.
    ///
    /// # Errors
    /// The first fault.
    pub fn add_requests(
        &mut self,
        at: usize,
        typed: &TypedRequests,
        scope: &Scope<'_>,
    ) -> Result<(), RuleFault> {
        let commands = typed.commands.iter().map(|command| command.get_ref().as_str());
        let grammar = Grammar::new(commands).map_err(|(index, problem)| {
            let at = typed.commands.get(index).map_or(at, |command| command.span().start);
            RuleFault { at, problem }
        })?;
        let grammar = Some(grammar).filter(|_| !typed.commands.is_empty());
        let compiler = Compiler { scope, about: &REQUEST, of: "requests", grammar };
        let lets: Vec<&TypedLet> = typed.lets.iter().collect();
        self.requests = Some(compiler.set(at, &lets, &typed.rules, &environment()?)?);
        Ok(())
    }
}

fn environment() -> Result<Arc<Env>, RuleFault> {
    functions::environment().map_err(|error| RuleFault { at: 0, problem: error.to_string() })
}

struct Compiler<'a> {
    scope: &'a Scope<'a>,
    about: &'static About,
    /// Whose rules they are, for people.
    of: &'a str,
    grammar: Option<Grammar>,
}

fn fault<T>(at: &Spanned<T>, problem: impl Into<String>) -> RuleFault {
    RuleFault { at: at.span().start, problem: problem.into() }
}

impl Compiler<'_> {
    fn set(
        &self,
        at: usize,
        typed_lets: &[&TypedLet],
        typed_rules: &[Spanned<TypedRule>],
        env: &Arc<Env>,
    ) -> Result<Set, RuleFault> {
        let whose = if self.about.is_answered { "requests" } else { "an entity" };
        let fault = |problem| Err(RuleFault { at, problem });
        if typed_rules.is_empty() {
            return fault(format!("{whose} must have a rule"));
        }
        if typed_rules.len() > MAX_RULES {
            return fault(format!("{whose} must have at most {MAX_RULES} rules"));
        }
        if typed_lets.len() > MAX_RULES {
            return fault(format!("{whose} must have at most {MAX_RULES} names (let)"));
        }
        let mut variables: BTreeSet<Box<str>> = self.about.variables().map(Box::from).collect();
        variables.extend(self.grammar.as_ref().map(|_| Box::from(grammar::VARIABLE)));
        let mut lets = Vec::with_capacity(typed_lets.len());
        for named in typed_lets {
            Self::check_name(&named.name, &variables)?;
            let value = self.expression(&named.value, &variables)?;
            let what = format!("{} of {}", named.name.get_ref(), self.of);
            let line = self.line(named.value.span().start);
            lets.push((
                named.name.get_ref().as_str().into(),
                Place(format!("{what} (line {line})").into()),
                value,
            ));
            variables.insert(named.name.get_ref().as_str().into());
        }
        let mut rules = Vec::with_capacity(typed_rules.len());
        for (index, rule) in typed_rules.iter().enumerate() {
            rules.push(self.rule(index + 1, rule, &variables)?);
        }
        let expressions =
            lets.iter().map(|(_, _, value)| value).chain(rules.iter().flat_map(Rule::expressions));
        let patterns = expressions.flat_map(|expression| expression.patterns().clone()).collect();
        Ok(Set {
            env: Arc::clone(env),
            data: table(self.scope.data),
            options: table(self.scope.options),
            patterns,
            grammar: self.grammar.clone(),
            lets,
            rules,
        })
    }

    fn check_name(name: &Spanned<String>, taken: &BTreeSet<Box<str>>) -> Result<(), RuleFault> {
        let text = name.get_ref().as_str();
        let is_name = text.len() <= 64
            && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || vocabulary::is_reserved(text) {
            let rule =
                "a name must be a letter or _, then at most 63 letters, digits or _, and no word of CEL";
            return Err(fault(name, rule));
        }
        if taken.contains(text) || TYPES.contains(&text) {
            return Err(fault(name, format!("{text} is already the name of something")));
        }
        Ok(())
    }

    fn rule(
        &self,
        number: usize,
        typed: &Spanned<TypedRule>,
        variables: &BTreeSet<Box<str>>,
    ) -> Result<Rule, RuleFault> {
        let rule = typed.get_ref();
        let when =
            rule.when.as_ref().ok_or_else(|| fault(typed, "a rule must have `when`, its condition"))?;
        let condition = self.expression(when, variables)?;
        let answer = rule.answer.as_ref().map(|answer| self.answer(answer, rule, variables)).transpose()?;
        if let (Some(field), None) = (&rule.field, &rule.refuse) {
            return Err(fault(field, "`field` is for rules with `refuse` only"));
        }
        let (then, what) = match (&rule.event, &rule.payload, &rule.refuse) {
            (Some(event), Some(payload), None) => {
                let event_type = self.event_type(event)?;
                let payload = self.expression(payload, variables)?;
                let what = event_type.to_string();
                (Then::Fire { event_type, payload }, what)
            }
            (None, None, Some(refuse)) => (self.refusal(refuse, rule.field.as_ref())?, "refuses".to_owned()),
            (None, None, None) if answer.is_some() => (Then::Answer, "answers".to_owned()),
            (Some(event), None, None) => return Err(fault(event, "a rule with `event` must have `payload`")),
            (None, Some(payload), None) => {
                return Err(fault(payload, "a rule with `payload` must have `event`"));
            }
            _ if self.about.is_answered => {
                let what = "a rule must have either `event` and `payload` or `refuse`, or only `answer`";
                return Err(fault(typed, what));
            }
            _ => return Err(fault(typed, "a rule must have either `event` and `payload` or `refuse`")),
        };
        let line = self.line(when.span().start);
        let place = Place(format!("rule {number} of {} ({what}, line {line})", self.of).into());
        Ok(Rule { place, when: condition, then, answer })
    }

    /// What a rule tells whoever asked.
    fn answer(
        &self,
        answer: &Spanned<String>,
        rule: &TypedRule,
        variables: &BTreeSet<Box<str>>,
    ) -> Result<Expression, RuleFault> {
        if !self.about.is_answered {
            return Err(fault(answer, "`answer` is for rules of requests only: nobody asked here"));
        }
        if rule.refuse.is_some() {
            return Err(fault(
                answer,
                "`answer` is for rules that take a request: `refuse` is a text itself",
            ));
        }
        self.expression(answer, variables)
    }

    fn event_type(&self, name: &Spanned<String>) -> Result<crate::model::EventType, RuleFault> {
        (self.scope.known_event)(name.get_ref()).ok_or_else(|| {
            let hint = nearest(name.get_ref(), self.scope.events.iter().copied());
            let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
            fault(name, format!("there is no event {}{hint}", name.get_ref()))
        })
    }

    fn refusal(&self, rule: &Spanned<String>, field: Option<&Spanned<String>>) -> Result<Then, RuleFault> {
        if rule.get_ref().trim().is_empty() {
            return Err(fault(rule, "`refuse` must say what is wrong and what would be right"));
        }
        let pointer = field.map_or("", |field| field.get_ref());
        if let Some(field) = field {
            let root = pointer.split('/').nth(1).unwrap_or_default();
            if pointer.parse::<Pointer>().is_err() || !self.about.given.contains(&root) {
                let fields = self.about.fields;
                return Err(fault(field, format!("`field` must be a JSON Pointer below {fields}")));
            }
        }
        Ok(Then::Refuse { rule: rule.get_ref().as_str().into(), field: pointer.into() })
    }

    fn expression(
        &self,
        text: &Spanned<String>,
        variables: &BTreeSet<Box<str>>,
    ) -> Result<Expression, RuleFault> {
        let expression = Expression::compile(text.get_ref(), variables)
            .map_err(|Flaw { at, problem }| RuleFault { at: self.place(text, at), problem })?;
        for path in expression.paths() {
            self.check_path(path).map_err(|problem| RuleFault { at: self.place(text, 0), problem })?;
        }
        Ok(expression)
    }

    /// What is looked up in the catalogue's own tables must be there: nothing that comes can mend it.
    fn check_path(&self, path: &Path) -> Result<(), String> {
        let mut table = match &*path.root {
            "data" => self.scope.data,
            "options" => self.scope.options,
            root if root == self.about.name => {
                let (first, known) = (path.members.first().map_or("", |first| first), self.about.members);
                let is_known = known.contains(&first);
                return if is_known { Ok(()) } else { Err(no_member(root, first, known.iter().copied())) };
            }
            _ => return Ok(()),
        };
        let mut place = path.root.to_string();
        for member in &path.members {
            let Some(found) = table.get(&**member) else {
                return Err(no_member(&place, member, table.keys().map(String::as_str)));
            };
            let Some(inside) = found.as_table() else { return Ok(()) };
            place = format!("{place}.{member}");
            table = inside;
        }
        Ok(())
    }

    /// The place in the catalogue of a place in a string: exact in strings without escapes, else as near as that.
    fn place(&self, text: &Spanned<String>, at: usize) -> usize {
        let (start, end) = (text.span().start, text.span().end);
        let raw = self.scope.text.get(start..end).unwrap_or_default();
        let opening = if raw.starts_with("'''") || raw.starts_with("\"\"\"") {
            let after = raw.get(3..).unwrap_or_default();
            3 + after.len() - after.strip_prefix("\r\n").or(after.strip_prefix('\n')).unwrap_or(after).len()
        } else {
            1
        };
        (start + opening + at).min(end.saturating_sub(1)).max(start)
    }

    fn line(&self, at: usize) -> usize {
        1 + self.scope.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }
}

impl Rule {
    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let payload = match &self.then {
            Then::Fire { payload, .. } => Some(payload),
            Then::Refuse { .. } | Then::Answer => None,
        };
        std::iter::once(&self.when).chain(payload).chain(&self.answer)
    }
}

fn no_member<'n>(place: &str, member: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let hint = nearest(member, known).map(|hint| format!(", did you mean {place}.{hint}?"));
    format!("there is no {place}.{member}{}", hint.unwrap_or_default())
}

/// A table of a catalogue as expressions see it.
fn table(table: &toml::Table) -> Json {
    let member = |(name, value): (&String, &toml::Value)| Member {
        name: CelString::from(name.clone()),
        value: json(value),
    };
    Json::Node(Node::object(table.iter().map(member).collect(), None))
}

fn json(value: &toml::Value) -> Json {
    match value {
        toml::Value::String(text) => Json::text(text.clone()),
        toml::Value::Integer(int) => Json::Int(CelInt::from(*int)),
        toml::Value::Float(double) => Json::Double(CelDouble::from(*double)),
        toml::Value::Boolean(flag) => Json::Bool(CelBool::from(*flag)),
        toml::Value::Datetime(time) => Json::text(time.to_string()),
        toml::Value::Array(items) => Json::Node(Node::list(items.iter().map(json).collect(), None)),
        toml::Value::Table(members) => table(members),
    }
}
