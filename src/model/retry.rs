//! When a failed attempt is tried again: what can be asked for, and what it means.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::format_duration;

/// The most attempts a webhook may ask for: bounds the history kept with a delivery.
pub const ATTEMPTS_MAX: u32 = 100;
/// A wait longer than this is more likely a mistake than a schedule.
pub const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
const FACTOR: RangeInclusive<f64> = 1.0..=100.0;
const JITTER: RangeInclusive<f64> = 0.0..=1.0;

/// The retry schedule: attempt k (k = 2..attempts) waits `min(first_delay * factor^(k-2), max_delay)` after the end of
/// the attempt before it, or what `schedule` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// All attempts, the first one included; 1..=[`ATTEMPTS_MAX`].
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first_delay: Duration,
    /// What each wait is multiplied by; 1.0..=100.0.
    pub factor: f64,
    /// No wait is longer; at least `first_delay`, at most 24 h.
    pub max_delay: Duration,
    /// Explicit waits in place of the three above; the last one holds for all attempts beyond.
    pub schedule: Option<Arc<[Duration]>>,
    /// How far a wait is spread, downwards, as a share of it; 0.0..=1.0.
    pub jitter: f64,
    /// What happens after the last attempt.
    pub on_exhausted: OnExhausted,
}

/// What happens to a delivery whose last attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhausted {
    /// It becomes a dead letter and the next one starts: availability over completeness.
    Advance,
    /// The queue waits at it until someone acts: completeness over availability.
    Hold,
}

impl OnExhausted {
    /// The word in the API and the CLI.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            OnExhausted::Advance => "advance",
            OnExhausted::Hold => "hold",
        }
    }
}

impl FromStr for OnExhausted {
    type Err = String;
    fn from_str(text: &str) -> Result<OnExhausted, String> {
        let found = [OnExhausted::Advance, OnExhausted::Hold].into_iter().find(|word| word.code() == text);
        found.ok_or_else(|| "must be \"advance\" or \"hold\"".to_owned())
    }
}

impl Retry {
    /// The longest wait that it can ask for.
    #[must_use]
    pub fn longest_delay(&self) -> Duration {
        match &self.schedule {
            Some(waits) => waits.iter().copied().max().unwrap_or_default(),
            None => self.max_delay,
        }
    }
}

impl Default for Retry {
    /// TimeTime's documented schedule: 10 attempts, 200 ms doubling to 10 s, no jitter.
    fn default() -> Retry {
        Retry {
            attempts: 10,
            first_delay: Duration::from_millis(200),
            factor: 2.0,
            max_delay: Duration::from_secs(10),
            schedule: None,
            jitter: 0.0,
            on_exhausted: OnExhausted::Advance,
        }
    }
}

/// A schedule as far as it is given; the rest comes from another one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RetryGiven {
    /// All attempts; without it, one more than a given schedule has waits.
    pub attempts: Option<u64>,
    /// The wait before the second attempt.
    pub first_delay: Option<Duration>,
    /// What each wait is multiplied by.
    pub factor: Option<f64>,
    /// No wait is longer.
    pub max_delay: Option<Duration>,
    /// Explicit waits in place of the three above.
    pub schedule: Option<Vec<Duration>>,
    /// How far a wait is spread.
    pub jitter: Option<f64>,
    /// What happens after the last attempt.
    pub on_exhausted: Option<OnExhausted>,
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryFault {
    /// Which member of it.
    pub member: &'static str,
    /// Which of its waits, if the member is `schedule` and one of them is at fault.
    pub wait: Option<usize>,
    /// What would be right.
    pub rule: String,
}

impl RetryGiven {
    /// The schedule that comes of what is given here, and of `base` for the rest, member by member. Explicit waits and the
    /// three numbers of the formula exclude each other: those that are given take the place of the others in `base`.
    ///
    /// # Errors
    /// The first member that cannot be.
    pub fn over(self, base: &Retry) -> Result<Retry, RetryFault> {
        let formula = [
            ("first_delay", self.first_delay.is_some()),
            ("factor", self.factor.is_some()),
            ("max_delay", self.max_delay.is_some()),
        ];
        let formula = formula.into_iter().find_map(|(member, given)| given.then_some(member));
        let attempts_default = match &self.schedule {
            Some(waits) => waits.len() as u64 + 1,
            None => u64::from(base.attempts),
        };
        let schedule = match (self.schedule, formula) {
            (Some(_), Some(member)) => {
                return Err(fault(member, "cannot be given beside schedule, which says every wait itself"));
            }
            (Some(waits), None) => Some(check_waits(&waits)?),
            (None, Some(_)) => None,
            (None, None) => base.schedule.clone(),
        };
        let attempts = u32::try_from(self.attempts.unwrap_or(attempts_default))
            .ok()
            .filter(|attempts| (1..=ATTEMPTS_MAX).contains(attempts))
            .ok_or_else(|| fault("attempts", format!("must be from 1 to {ATTEMPTS_MAX}")))?;
        let first_delay = self.first_delay.unwrap_or(base.first_delay);
        if first_delay > DELAY_MAX {
            return Err(fault("first_delay", "must be at most 24h"));
        }
        // Without a maximum of its own, a first delay above the maximum is what was meant.
        let max_delay = self.max_delay.unwrap_or(base.max_delay.max(first_delay));
        if max_delay > DELAY_MAX || max_delay < first_delay {
            let first_delay = format_duration(first_delay);
            return Err(fault(
                "max_delay",
                format!("must be at least first_delay ({first_delay}) and at most 24h"),
            ));
        }
        Ok(Retry {
            attempts,
            first_delay,
            factor: within("factor", self.factor.unwrap_or(base.factor), &FACTOR)?,
            max_delay,
            schedule,
            jitter: within("jitter", self.jitter.unwrap_or(base.jitter), &JITTER)?,
            on_exhausted: self.on_exhausted.unwrap_or(base.on_exhausted),
        })
    }
}

fn fault(member: &'static str, rule: impl Into<String>) -> RetryFault {
    RetryFault { member, wait: None, rule: rule.into() }
}

fn check_waits(waits: &[Duration]) -> Result<Arc<[Duration]>, RetryFault> {
    let waits_max = ATTEMPTS_MAX - 1;
    if !(1..=waits_max as usize).contains(&waits.len()) {
        let rule = format!("must have 1 to {waits_max} waits, one before each attempt after the first");
        return Err(fault("schedule", rule));
    }
    if let Some(index) = waits.iter().position(|wait| *wait > DELAY_MAX) {
        return Err(RetryFault { wait: Some(index), ..fault("schedule", "a wait must be at most 24h") });
    }
    Ok(waits.into())
}

fn within(member: &'static str, number: f64, range: &RangeInclusive<f64>) -> Result<f64, RetryFault> {
    if range.contains(&number) {
        return Ok(number);
    }
    Err(fault(member, format!("must be from {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_given_wins_member_by_member() {
        let base = Retry {
            attempts: 5,
            first_delay: seconds(1),
            factor: 3.0,
            max_delay: seconds(9),
            schedule: None,
            jitter: 0.5,
            on_exhausted: OnExhausted::Hold,
        };
        assert_eq!(RetryGiven::default().over(&base), Ok(base.clone()));
        let given = RetryGiven { attempts: Some(3), ..RetryGiven::default() };
        assert_eq!(given.over(&base), Ok(Retry { attempts: 3, ..base.clone() }));
        let given = RetryGiven { first_delay: Some(seconds(20)), ..RetryGiven::default() };
        let expected = Retry { first_delay: seconds(20), max_delay: seconds(20), ..base.clone() };
        assert_eq!(given.over(&base), Ok(expected));
        let given = RetryGiven {
            factor: Some(1.0),
            jitter: Some(0.0),
            on_exhausted: Some(OnExhausted::Advance),
            ..RetryGiven::default()
        };
        let expected = Retry { factor: 1.0, jitter: 0.0, on_exhausted: OnExhausted::Advance, ..base.clone() };
        assert_eq!(given.over(&base), Ok(expected));
    }

    #[test]
    fn waits_and_formula_take_each_others_place() {
        let formula = Retry { jitter: 0.5, ..Retry::default() };
        let given = RetryGiven { schedule: Some(vec![seconds(1), seconds(2)]), ..RetryGiven::default() };
        let waits = given.over(&formula).unwrap();
        assert_eq!((waits.attempts, waits.jitter), (3, 0.5));
        assert_eq!(waits.schedule.as_deref(), Some(&[seconds(1), seconds(2)][..]));
        // Attempts alone say nothing of the waits.
        let given = RetryGiven { attempts: Some(7), ..RetryGiven::default() };
        assert_eq!(given.over(&waits), Ok(Retry { attempts: 7, ..waits.clone() }));
        let given = RetryGiven { factor: Some(4.0), ..RetryGiven::default() };
        assert_eq!(given.over(&waits), Ok(Retry { factor: 4.0, schedule: None, ..waits.clone() }));
        let given =
            RetryGiven { factor: Some(4.0), schedule: Some(vec![seconds(1)]), ..RetryGiven::default() };
        assert_eq!(given.over(&waits).unwrap_err().member, "factor");
    }
}
