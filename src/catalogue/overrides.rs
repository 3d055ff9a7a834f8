//! What an operator sets in a catalogue without writing one: `product.options.name=value`, and the limits of a profile,
//! `product.profile.name=value`. (Everything else of a profile is each webhook's own to override.) PURE.

use super::parse::Typed;
use super::profile::CHARS_MAX;
use super::{Fault, Profile};
use crate::config::nearest::nearest;

/// Where overrides are given, for faults.
const SETTING: &str = "catalogue.set";

/// One value in one product's catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Override {
    pub(super) product: Box<str>,
    section: Section,
    key: Box<str>,
    value: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// What rules read.
    Options,
    /// Who may have such webhooks, and how many.
    Profile,
}

impl Override {
    /// Reads `product.section.key=value`.
    pub(super) fn parse(text: &str) -> Result<Override, Fault> {
        let fault = || {
            self::fault(format!(
                "{text:?} must be product.options.name=value or product.profile.name=value, for example \
                 timetime.profile.max_webhooks=32"
            ))
        };
        let (path, value) = text.split_once('=').ok_or_else(fault)?;
        let mut words = path.trim().splitn(3, '.');
        let (Some(product), Some(section), Some(key)) = (words.next(), words.next(), words.next()) else {
            return Err(fault());
        };
        let section = match section {
            "options" => Section::Options,
            "profile" => Section::Profile,
            _ => return Err(fault()),
        };
        Ok(Override { product: product.into(), section, key: key.into(), value: value.trim().into() })
    }

    /// Sets an option, if that is what it says. An option keeps its type.
    pub(super) fn set_option(&self, typed: &mut Typed) -> Result<(), Fault> {
        if self.section != Section::Options {
            return Ok(());
        }
        let known: Vec<String> = typed.options.keys().cloned().collect();
        let Some(option) = typed.options.get_mut(&*self.key) else {
            let advice = match nearest(&self.key, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("it has {}", known.join(", ")),
            };
            return Err(fault(format!("{} has no option {:?}; {advice}", self.product, self.key)));
        };
        let value = match option {
            toml::Value::Boolean(_) => self.value.parse().ok().map(toml::Value::Boolean),
            toml::Value::Integer(_) => self.value.parse().ok().map(toml::Value::Integer),
            toml::Value::String(_) => Some(toml::Value::String(self.value.to_string())),
            _ => None,
        };
        *option = value.ok_or_else(|| {
            fault(format!("{}.options.{} must be a {}", self.product, self.key, option.type_str()))
        })?;
        Ok(())
    }

    /// Sets a limit of the profile, if that is what it says.
    pub(super) fn set_limit(&self, profile: Option<&mut Profile>) -> Result<(), Fault> {
        if self.section != Section::Profile {
            return Ok(());
        }
        let Some(profile) = profile else {
            return Err(fault(format!("{} has no profile", self.product)));
        };
        let rule = match &*self.key {
            "plans" => {
                profile.plans = self.value.split_whitespace().map(Box::from).collect();
                None
            }
            "max_webhooks" => set(&self.value, &mut profile.max_webhooks, |number| *number > 0),
            "max_chars" => {
                set(&self.value, &mut profile.max_chars, |number| (1..=CHARS_MAX).contains(number))
            }
            "distinct_urls" => match self.value.parse() {
                Ok(distinct) => {
                    profile.distinct_urls = distinct;
                    None
                }
                Err(_) => Some("must be true or false"),
            },
            _ => Some(
                "is not to be set here; there are plans (split by spaces), max_webhooks, max_chars and distinct_urls",
            ),
        };
        match rule {
            None => Ok(()),
            Some(rule) => Err(fault(format!("{}.profile.{} {rule}", self.product, self.key))),
        }
    }
}

/// Sets a number that there may be; answers what it must be, if this is none.
fn set<N: std::str::FromStr>(
    text: &str,
    place: &mut Option<N>,
    allowed: impl Fn(&N) -> bool,
) -> Option<&'static str> {
    match text.parse().ok().filter(allowed) {
        Some(number) => {
            *place = Some(number);
            None
        }
        None => Some("must be a whole number within its bounds"),
    }
}

pub(super) fn fault(problem: String) -> Fault {
    Fault { file: SETTING.to_owned(), line: 0, problem }
}
