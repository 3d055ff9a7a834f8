//! How a sink answers: by path, by count, by convention. PURE.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use crate::model::parse_duration;

/// What a failure answers unless another status is asked for.
const STATUS_DEFAULT: u16 = 500;
/// What success answers.
pub const SUCCESS: u16 = 200;

/// How requests are answered. The default answers every one with 200 at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// What a failing request answers; without [`Behaviour::fail`] every request does.
    pub status: Option<u16>,
    /// Only the first so many requests fail.
    pub fail: Option<u64>,
    /// Every answer waits this long.
    pub delay: Duration,
    /// A failing request is never answered at all.
    pub hang: bool,
}

/// What one request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status; `None` if it is never answered.
    pub status: Option<u16>,
    /// How long the answer waits.
    pub delay: Duration,
}

impl Behaviour {
    /// The answer to the request with this number, from 1.
    #[must_use]
    pub fn answer(&self, number: u64) -> Answer {
        let fails = match self.fail {
            Some(first) => number <= first,
            None => self.hang || self.status.is_some(),
        };
        let status = match (fails, self.hang) {
            (false, _) => Some(SUCCESS),
            (true, true) => None,
            (true, false) => Some(self.status.unwrap_or(STATUS_DEFAULT)),
        };
        Answer { status, delay: self.delay }
    }

    /// What a path asks for by its own words: `/status/503`, `/delay/1s`, `/hang`.
    fn spelled_out(path: &str) -> Option<Behaviour> {
        let behaviour = Behaviour::default();
        match path.strip_prefix('/')?.split_once('/') {
            Some(("status", code)) => Some(Behaviour { status: Some(parse_status(code).ok()?), ..behaviour }),
            Some(("delay", text)) => Some(Behaviour { delay: parse_duration(text).ok()?, ..behaviour }),
            None if path == "/hang" => Some(Behaviour { hang: true, ..behaviour }),
            _ => None,
        }
    }

    /// Adds what `rule` says: `status:503`, `fail:3`, `delay:1s` or `hang`.
    fn add(&mut self, rule: &str) -> Result<(), String> {
        match rule.split_once(':') {
            Some(("status", code)) => self.status = Some(parse_status(code)?),
            Some(("fail", count)) => {
                self.fail = Some(count.parse().map_err(|_| format!("fail:{count} needs a whole number"))?);
            }
            Some(("delay", text)) => self.delay = parse_duration(text)?,
            None if rule == "hang" => self.hang = true,
            _ => return Err(format!("\"{rule}\" is none of status:CODE, fail:N, delay:DURATION, hang")),
        }
        Ok(())
    }
}

/// Reads a status that a server can answer: 200 to 599.
///
/// # Errors
/// A sentence that says what would be right.
pub fn parse_status(text: &str) -> Result<u16, String> {
    let status = text.parse().ok().filter(|code| (200..=599).contains(code));
    status.ok_or_else(|| format!("\"{}\" is not a status from 200 to 599", text.escape_debug()))
}

/// One `--path /p=RULE[,RULE…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    path: String,
    rules: String,
}

impl FromStr for PathRule {
    type Err = String;

    fn from_str(text: &str) -> Result<PathRule, String> {
        // Paths may hold `=`, rules do not.
        let (path, rules) =
            text.rsplit_once('=').ok_or("write for example /p=status:503 or /p=fail:3,delay:1s")?;
        if !path.starts_with('/') {
            return Err(format!("the path \"{}\" must begin with /", path.escape_debug()));
        }
        let mut tried = Behaviour::default();
        rules.split(',').try_for_each(|rule| tried.add(rule))?;
        Ok(PathRule { path: path.to_owned(), rules: rules.to_owned() })
    }
}

/// How a sink answers, all of it.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Where no path is named.
    pub default: Behaviour,
    paths: HashMap<String, Behaviour>,
}

impl Plan {
    /// The same on every path.
    #[must_use]
    pub fn new(default: Behaviour) -> Plan {
        Plan { default, paths: HashMap::new() }
    }

    /// On this path, and no longer what was said for it before.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>, behaviour: Behaviour) -> Plan {
        self.paths.insert(path.into(), behaviour);
        self
    }

    /// Adds rules; several for one path add up.
    #[must_use]
    pub fn with_rules(mut self, rules: &[PathRule]) -> Plan {
        for PathRule { path, rules } in rules {
            let behaviour = self.paths.entry(path.clone()).or_default();
            for rule in rules.split(',') {
                // Checked when the rule was read.
                behaviour.add(rule).unwrap_or_default();
            }
        }
        self
    }

    /// How requests to this path (without query) are answered.
    #[must_use]
    pub fn behaviour(&self, path: &str) -> Behaviour {
        let named = if self.paths.is_empty() { None } else { self.paths.get(path).copied() };
        named.or_else(|| Behaviour::spelled_out(path)).unwrap_or(self.default)
    }

    /// Whether requests to this path are counted apart.
    #[must_use]
    pub fn names(&self, path: &str) -> bool {
        self.paths.contains_key(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(behaviour: Behaviour) -> Vec<Option<u16>> {
        (1..=4).map(|number| behaviour.answer(number).status).collect()
    }

    #[test]
    fn answers_follow_from_what_was_asked_for() {
        let plain = Behaviour::default();
        assert_eq!(statuses(plain), [Some(200); 4]);
        assert_eq!(statuses(Behaviour { status: Some(503), ..plain }), [Some(503); 4]);
        assert_eq!(
            statuses(Behaviour { fail: Some(2), ..plain }),
            [Some(500), Some(500), Some(200), Some(200)]
        );
        assert_eq!(
            statuses(Behaviour { fail: Some(1), status: Some(429), ..plain }),
            [Some(429), Some(200), Some(200), Some(200)]
        );
        assert_eq!(statuses(Behaviour { hang: true, ..plain }), [None; 4]);
        assert_eq!(
            statuses(Behaviour { hang: true, fail: Some(1), ..plain }),
            [None, Some(200), Some(200), Some(200)]
        );
        assert_eq!(statuses(Behaviour { fail: Some(0), ..plain }), [Some(200); 4]);
    }

    #[test]
    fn rules_of_a_path_add_up() {
        let rule = |text: &str| text.parse::<PathRule>().unwrap();
        let plan = Plan::new(Behaviour { status: Some(500), ..Behaviour::default() }).with_rules(&[
            rule("/p=fail:3"),
            rule("/p=status:503,delay:1s"),
            rule("/a=b=hang"),
        ]);
        let expected =
            Behaviour { status: Some(503), fail: Some(3), delay: Duration::from_secs(1), hang: false };
        assert_eq!(plan.behaviour("/p"), expected);
        assert!(plan.behaviour("/a=b").hang);
        assert_eq!(plan.behaviour("/other"), plan.default);
    }

    #[test]
    fn a_path_can_say_it_itself() {
        let plan = Plan::default().path("/status/404", Behaviour::default());
        assert_eq!(plan.behaviour("/status/503").status, Some(503));
        assert_eq!(plan.behaviour("/delay/200ms").delay, Duration::from_millis(200));
        assert!(plan.behaviour("/hang").hang);
        assert_eq!(plan.behaviour("/status/404"), Behaviour::default(), "a named path is what it was named");
        for path in ["/", "/status/99", "/status/", "/status", "/delay/x", "/hang/x", "/x/hang", ""] {
            assert_eq!(plan.behaviour(path), Behaviour::default(), "{path}");
        }
    }

    #[test]
    fn a_bad_rule_says_what_would_be_right() {
        let refused = |text: &str| text.parse::<PathRule>().unwrap_err();
        assert!(refused("/p").contains("/p=status:503"));
        assert!(refused("p=hang").contains("begin with /"));
        assert!(refused("/p=").contains("none of"));
        assert!(refused("/p=hang,").contains("none of"));
        assert!(refused("/p=hang:1").contains("none of"));
        assert!(refused("/p=status:100").contains("200 to 599"));
        assert!(refused("/p=fail:x").contains("whole number"));
        assert!(refused("/p=delay:1").contains("not a duration"));
    }
}
