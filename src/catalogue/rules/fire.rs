//! What a change fires, and what a request comes to. PURE.

use std::sync::Arc;

use bytes::Bytes;
use cel::Context;
use cel::common::types::{CelBool, CelOptional, CelString};
use cel::common::value::{CowVal, Val};

use super::about::{About, Given, Subject};
use super::expression::Expression;
use super::grammar;
use super::meter::{Meter, Purse, text_steps};
use super::payload;
use super::rewrite::METER;
use super::trouble;
use super::{Fail, Place, Refused, Rules, Set, Then};
use crate::catalogue::{Change, ChangeLimits, ChangeRefused, Fired, IncomingRequest, Mapped, RequestRefused};
use crate::config::nearest::nearest;

/// How many optionals a name's value may have around it: names can put one into another again and again.
const MAX_OPTIONALS: usize = 64;
/// The longest answer, in bytes.
const MAX_ANSWER: usize = 4 << 10;

impl Rules {
    /// The events that a change fires, in order.
    ///
    /// # Errors
    /// Why it is refused, whole.
    pub fn fire(&self, change: &Change<'_>, limits: &ChangeLimits) -> Result<Vec<Fired>, ChangeRefused> {
        let Some(set) = self.entities.get(change.entity) else {
            return Err(ChangeRefused::UnknownEntity {
                nearest: nearest(change.entity, self.entities()).map(str::to_owned),
                known: self.entities().map(str::to_owned).collect(),
            });
        };
        let meter = Meter::new(limits.max_cost);
        let subject = Subject::of_change(change, &meter)?;
        Ok(Firing { set, subject, meter, limits }.run()?.events)
    }

    /// The events and the answer that a request comes to.
    ///
    /// # Errors
    /// Why it is refused, whole.
    pub fn map(
        &self,
        request: &IncomingRequest<'_>,
        limits: &ChangeLimits,
    ) -> Result<Mapped, RequestRefused> {
        let Some(set) = &self.requests else { return Err(RequestRefused::NoRules) };
        let meter = Meter::new(limits.max_cost);
        let subject = Subject::of_request(request, &meter)?;
        Ok(Firing { set, subject, meter, limits }.run()?)
    }
}

fn optionals<'v>(mut value: &(dyn Val + 'v)) -> usize {
    let mut count = 0;
    while let Some(inner) = value.downcast_ref::<CelOptional<'v>>().and_then(CelOptional::option) {
        value = inner;
        count += 1;
    }
    count
}

/// One change or request that is being looked at.
struct Firing<'a> {
    set: &'a Set,
    subject: Subject<'a>,
    meter: Arc<Meter>,
    limits: &'a ChangeLimits,
}

impl Firing<'_> {
    fn run(&self) -> Result<Mapped, Refused> {
        let context = self.context()?;
        let mut mapped = Mapped::default();
        for rule in &self.set.rules {
            let holds = self.evaluate(&rule.when, &rule.place, "when", &context)?;
            match holds.downcast_ref::<CelBool>().map(|holds| *holds.inner()) {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    let field = trouble::part(&rule.when, self.given());
                    return Err(failed(&rule.place, "when", &field, "a condition must be true or false"));
                }
            }
            match &rule.then {
                Then::Refuse { rule, field } => {
                    let (field, rule) = (field.to_string(), rule.to_string());
                    return Err(Refused::Forbidden { field, rule });
                }
                Then::Fire { .. } if mapped.events.len() == self.limits.max_events => {
                    let most = self.limits.max_events;
                    let what = format!("a {} may fire at most {most} events", self.about().name);
                    return Err(Refused::TooCostly(what));
                }
                Then::Fire { event_type, payload } => {
                    let payload = self.payload(payload, &rule.place, &context)?;
                    mapped.events.push(Fired { event_type: event_type.clone(), payload });
                }
                Then::Answer => {}
            }
            if let (Some(answer), None) = (&rule.answer, &mapped.answer) {
                mapped.answer = Some(self.answer(answer, &rule.place, &context)?);
            }
        }
        Ok(mapped)
    }

    fn about(&self) -> &'static About {
        self.subject.about
    }

    fn given(&self) -> &Given {
        &self.subject.given
    }

    fn payload(
        &self,
        expression: &Expression,
        place: &Place,
        context: &Context<'_, '_>,
    ) -> Result<Bytes, Refused> {
        let value = self.evaluate(expression, place, "payload", context)?;
        let most = self.limits.max_payload_bytes;
        payload::write(&*value, most).map_err(|flaw| match flaw {
            payload::Flaw::TooLong => {
                Refused::TooCostly(format!("{}: its payload has more than {most} bytes", place.0))
            }
            flaw => failed(place, "payload", &trouble::part(expression, self.given()), &flaw.rule()),
        })
    }

    fn answer(
        &self,
        expression: &Expression,
        place: &Place,
        context: &Context<'_, '_>,
    ) -> Result<String, Refused> {
        let value = self.evaluate(expression, place, "answer", context)?;
        let Some(text) = value.downcast_ref::<CelString>() else {
            let field = trouble::part(expression, self.given());
            return Err(failed(place, "answer", &field, "an answer must be a text"));
        };
        if text.len() > MAX_ANSWER {
            let what = format!("{}: its answer has more than {MAX_ANSWER} bytes", place.0);
            return Err(Refused::TooCostly(what));
        }
        Ok(text.inner().to_owned())
    }

    /// The value of an expression. A budget that was used up fails it whatever the expression made of that.
    fn evaluate<'e, 'v>(
        &self,
        expression: &'e Expression,
        place: &Place,
        part: &str,
        context: &'e Context<'_, 'v>,
    ) -> Result<CowVal<'e, 'v>, Refused> {
        if self.meter.charge(expression.steps()).is_err() {
            return Err(self.too_costly(place));
        }
        let value = expression.evaluate(context);
        if self.meter.is_spent() {
            return Err(self.too_costly(place));
        }
        value.map_err(|error| {
            let field = trouble::field(&error, expression, self.given());
            failed(place, part, &field, &trouble::text(&error, expression))
        })
    }

    fn too_costly(&self, place: &Place) -> Refused {
        Fail(self.about()).too_costly(&place.0)
    }

    /// What expressions can read: what came, what the catalogue has, and the values of its names.
    fn context(&self) -> Result<Context<'static, 'static>, Refused> {
        let mut context = Context::with_env(Arc::clone(&self.set.env));
        let mut add = |name: &str, value: Box<dyn Val>| context.add_variable_as_val(name, value);
        for (name, value) in &self.given().0 {
            add(name, value.as_val().clone_as_boxed());
        }
        add("data", self.set.data.as_val().clone_as_boxed());
        add("options", self.set.options.as_val().clone_as_boxed());
        add("org", Box::new(CelString::from(self.subject.org.to_string())));
        add(self.about().name, Box::new(self.subject.itself.clone()));
        add(METER, Box::new(Purse(Arc::clone(&self.meter))));
        for (name, pattern) in &self.set.patterns {
            add(name, Box::new(pattern.clone()));
        }
        if let Some(grammar) = &self.set.grammar {
            add(grammar::VARIABLE, Box::new(grammar.clone()));
        }
        for (name, place, expression) in &self.set.lets {
            let value = self.evaluate(expression, place, "value", &context)?.into_owned();
            if let Some(text) = value.downcast_ref::<CelString>()
                && self.meter.charge(text_steps(text)).is_err()
            {
                return Err(self.too_costly(place));
            }
            if optionals(&*value) > MAX_OPTIONALS {
                return Err(failed(place, "value", "", "optionals are nested too deep"));
            }
            context.add_variable_as_val(&**name, value);
        }
        Ok(context)
    }
}

fn failed(place: &Place, part: &str, field: &str, problem: &str) -> Refused {
    Refused::Failed { field: field.to_owned(), problem: format!("{}, {part}: {problem}", place.0) }
}
