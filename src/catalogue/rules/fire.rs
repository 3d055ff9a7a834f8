//! What a change fires. PURE.

use std::sync::Arc;

use bytes::Bytes;
use cel::Context;
use cel::common::types::{CelBool, CelInt, CelOptional, CelString};
use cel::common::value::{CowVal, Val};

use super::expression::Expression;
use super::json;
use super::meter::{Meter, Purse, text_steps};
use super::payload;
use super::rewrite::METER;
use super::trouble;
use super::value::{Json, Member, Node};
use super::{Entity, Place, Rules, Then};
use crate::catalogue::change::{Change, ChangeLimits, ChangeRefused, Fired};
use crate::config::nearest::nearest;

/// How many optionals a name's value may have around it: names can put one into another again and again.
const MAX_OPTIONALS: usize = 64;

/// The change's own values, to find the place of what is missing.
pub(super) struct Given {
    pub(super) old: Json,
    pub(super) new: Json,
    pub(super) actor: Json,
}

impl Rules {
    /// The events that a change fires, in order.
    ///
    /// # Errors
    /// Why it is refused, whole.
    pub fn fire(&self, change: &Change<'_>, limits: &ChangeLimits) -> Result<Vec<Fired>, ChangeRefused> {
        let Some(entity) = self.entities.get(change.entity) else {
            return Err(ChangeRefused::UnknownEntity {
                nearest: nearest(change.entity, self.entities()).map(str::to_owned),
                known: self.entities().map(str::to_owned).collect(),
            });
        };
        let meter = Meter::new(limits.max_cost);
        let given = Given {
            old: read("/old", change.old, &meter)?,
            new: read("/new", change.new, &meter)?,
            actor: read("/actor", change.actor, &meter)?,
        };
        Firing { entity, given, meter, limits }.run(change)
    }
}

fn read(field: &str, text: Option<&str>, meter: &Meter) -> Result<Json, ChangeRefused> {
    let Some(text) = text else { return Ok(Json::Null) };
    json::read(&Bytes::copy_from_slice(text.as_bytes()), meter).map_err(|flaw| match flaw {
        json::Flaw::Spent => too_costly("reading it"),
        flaw => ChangeRefused::Failed { field: field.to_owned(), problem: flaw.rule().to_owned() },
    })
}

fn too_costly(what: &str) -> ChangeRefused {
    ChangeRefused::TooCostly(format!("{what} takes more steps than a change may cost"))
}

fn optionals<'v>(mut value: &(dyn Val + 'v)) -> usize {
    let mut count = 0;
    while let Some(inner) = value.downcast_ref::<CelOptional<'v>>().and_then(CelOptional::option) {
        value = inner;
        count += 1;
    }
    count
}

/// One change that is being looked at.
struct Firing<'a> {
    entity: &'a Entity,
    given: Given,
    meter: Arc<Meter>,
    limits: &'a ChangeLimits,
}

impl Firing<'_> {
    fn run(&self, change: &Change<'_>) -> Result<Vec<Fired>, ChangeRefused> {
        let mut context = self.context(change);
        for (name, place, expression) in &self.entity.lets {
            let value = self.evaluate(expression, place, "value", &context)?.into_owned();
            if let Some(text) = value.downcast_ref::<CelString>()
                && self.meter.charge(text_steps(text)).is_err()
            {
                return Err(too_costly(&place.0));
            }
            if optionals(&*value) > MAX_OPTIONALS {
                return Err(failed(place, "value", "", "optionals are nested too deep"));
            }
            context.add_variable_as_val(&**name, value);
        }
        let mut fired = Vec::new();
        for rule in &self.entity.rules {
            let holds = self.evaluate(&rule.when, &rule.place, "when", &context)?;
            match holds.downcast_ref::<CelBool>().map(|holds| *holds.inner()) {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    let field = trouble::part(&rule.when, &self.given);
                    return Err(failed(&rule.place, "when", &field, "a condition must be true or false"));
                }
            }
            match &rule.then {
                Then::Refuse { rule, field } => {
                    let (field, rule) = (field.to_string(), rule.to_string());
                    return Err(ChangeRefused::Forbidden { field, rule });
                }
                Then::Fire { .. } if fired.len() == self.limits.max_events => {
                    let most = self.limits.max_events;
                    return Err(ChangeRefused::TooCostly(format!("a change may fire at most {most} events")));
                }
                Then::Fire { event_type, payload } => {
                    let payload = self.payload(payload, &rule.place, &context)?;
                    fired.push(Fired { event_type: event_type.clone(), payload });
                }
            }
        }
        Ok(fired)
    }

    fn payload(
        &self,
        expression: &Expression,
        place: &Place,
        context: &Context<'_, '_>,
    ) -> Result<Bytes, ChangeRefused> {
        let value = self.evaluate(expression, place, "payload", context)?;
        let most = self.limits.max_payload_bytes;
        payload::write(&*value, most).map_err(|flaw| match flaw {
            payload::Flaw::TooLong => {
                ChangeRefused::TooCostly(format!("{}: its payload has more than {most} bytes", place.0))
            }
            flaw => failed(place, "payload", &trouble::part(expression, &self.given), &flaw.rule()),
        })
    }

    /// The value of an expression. A budget that was used up fails it whatever the expression made of that.
    fn evaluate<'e, 'v>(
        &self,
        expression: &'e Expression,
        place: &Place,
        part: &str,
        context: &'e Context<'_, 'v>,
    ) -> Result<CowVal<'e, 'v>, ChangeRefused> {
        if self.meter.charge(expression.steps()).is_err() {
            return Err(too_costly(&place.0));
        }
        let value = expression.evaluate(context);
        if self.meter.is_spent() {
            return Err(too_costly(&place.0));
        }
        value.map_err(|error| {
            let field = trouble::field(&error, expression, &self.given);
            failed(place, part, &field, &trouble::text(&error, expression))
        })
    }

    fn context(&self, change: &Change<'_>) -> Context<'static, 'static> {
        let mut context = Context::with_env(Arc::clone(&self.entity.env));
        let mut add = |name: &str, value: Box<dyn Val>| context.add_variable_as_val(name, value);
        let own = |json: &Json| json.as_val().clone_as_boxed();
        add("old", own(&self.given.old));
        add("new", own(&self.given.new));
        add("actor", own(&self.given.actor));
        add("data", own(&self.entity.data));
        add("options", own(&self.entity.options));
        add("org", Box::new(CelString::from(change.org.to_string())));
        add("change", Box::new(about(change)));
        add(METER, Box::new(Purse(Arc::clone(&self.meter))));
        for (name, pattern) in &self.entity.patterns {
            add(name, Box::new(pattern.clone()));
        }
        context
    }
}

/// The members of `change`.
pub(super) const ABOUT: [&str; 4] = ["id", "number", "at", "org_number"];

/// What an expression can know of the change itself.
fn about(change: &Change<'_>) -> Node {
    let int = |name: &'static str, value: i64| Member {
        name: CelString::from(name.to_owned()),
        value: Json::Int(CelInt::from(value)),
    };
    let id = Member { name: CelString::from("id".to_owned()), value: Json::text(change.id) };
    let members = vec![
        id,
        int("number", number_of(change.id)),
        int("at", change.at.0),
        int("org_number", i64::from(change.org_number.0)),
    ];
    Node::object(members, None)
}

/// A number of at most 53 bits, so that every reader of JSON can hold it, and the same for the same id: FNV-1a.
fn number_of(id: &str) -> i64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    i64::try_from(hash >> 11).unwrap_or_default()
}

fn failed(place: &Place, part: &str, field: &str, problem: &str) -> ChangeRefused {
    ChangeRefused::Failed { field: field.to_owned(), problem: format!("{}, {part}: {problem}", place.0) }
}
