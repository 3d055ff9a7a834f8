//! What a product's own webhooks are like: the `[profile]` table of its catalogue. PURE.
//!
//! A webhook that names the profile has these settings where it says nothing itself, and keeps to its limits.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::model::{
    Method, PASSWORD_MAX, RETRY_AFTER_MAX_DEFAULT, Retry, RetryGiven, TIMEOUT_DEFAULT, URL_MAX,
    check_retry_after_max, check_timeout, header_name, parse_duration,
};

/// The most characters that any URL or password may have, whatever a profile says.
pub(super) const CHARS_MAX: usize = if URL_MAX < PASSWORD_MAX { URL_MAX } else { PASSWORD_MAX };

/// What a webhook has where it says nothing itself, and the limits that it keeps to.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// What requests ask for.
    pub method: Method,
    /// The header of a password, in lower case; `None` means `X-TT-Webhook-Password`.
    pub password_header: Option<Box<str>>,
    /// How a secret signs that comes without saying how.
    pub signature: Option<Signing>,
    /// An attempt's whole time.
    pub timeout: Duration,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// The most that a receiver's `Retry-After` may make us wait.
    pub retry_after_max: Duration,
    /// Whether the answer 410 Gone disables the webhook.
    pub disable_on_gone: bool,
    /// Whether only the headers that the product documents are sent.
    pub faithful: bool,
    /// The plans whose orgs may have such webhooks. None at all: every org may.
    pub plans: Box<[Box<str>]>,
    /// Such webhooks that an org may have.
    pub max_webhooks: Option<u64>,
    /// Characters of the URL, and of the password.
    pub max_chars: Option<usize>,
    /// Whether no two such webhooks of an org may have the same URL.
    pub distinct_urls: bool,
}

/// How requests are signed; the secret is the webhook's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// Standard Webhooks.
    Standard,
    /// Lowercase hex in a header of its own.
    Hex {
        /// The header's name, in lower case.
        header: Box<str>,
    },
}

impl Default for Profile {
    /// What a webhook has without a profile.
    fn default() -> Profile {
        Profile {
            method: Method::Post,
            password_header: None,
            signature: None,
            timeout: TIMEOUT_DEFAULT,
            retry: Retry::default(),
            retry_after_max: RETRY_AFTER_MAX_DEFAULT,
            disable_on_gone: false,
            faithful: false,
            plans: Box::default(),
            max_webhooks: None,
            max_chars: None,
            distinct_urls: false,
        }
    }
}

/// A `[profile]` as it is typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    method: Option<Spanned<String>>,
    password_header: Option<Spanned<String>>,
    signature: Option<TypedSignature>,
    timeout: Option<Spanned<String>>,
    retry: Option<TypedRetry>,
    retry_after_max: Option<Spanned<String>>,
    disable_on_gone: Option<bool>,
    faithful: Option<bool>,
    #[serde(default)]
    plans: Vec<Spanned<String>>,
    max_webhooks: Option<Spanned<u64>>,
    max_chars: Option<Spanned<usize>>,
    #[serde(default)]
    distinct_urls: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedSignature {
    r#type: Spanned<String>,
    header: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedRetry {
    attempts: Option<Spanned<u64>>,
    first_delay: Option<Spanned<String>>,
    factor: Option<Spanned<f64>>,
    max_delay: Option<Spanned<String>>,
    schedule: Option<Spanned<Vec<Spanned<String>>>>,
    jitter: Option<Spanned<f64>>,
    on_exhausted: Option<Spanned<String>>,
}

/// Where the fault is in the file's text, in bytes from its beginning, and what would be right.
type Refused = (usize, String);

impl Profile {
    /// Checks a table by the rules that hold for webhooks.
    ///
    /// # Errors
    /// Where the first fault is in the file, in bytes from its beginning, and what would be right.
    pub fn check(typed: &Typed) -> Result<Profile, (usize, String)> {
        let default = Profile::default();
        let password_header = read(typed.password_header.as_ref(), "password_header", header_name)?;
        let signature = typed.signature.as_ref().map(TypedSignature::check).transpose()?;
        if let (Some(Signing::Hex { header }), Some(password_header)) = (&signature, &password_header)
            && header == password_header
            && let Some(given) = &typed.password_header
        {
            return Err(at(given, format!("password_header: the signature is sent in {header}")));
        }
        let timeout =
            read(typed.timeout.as_ref(), "timeout", |text| parse_duration(text).and_then(check_timeout))?;
        let retry_after_max = read(typed.retry_after_max.as_ref(), "retry_after_max", |text| {
            parse_duration(text).and_then(check_retry_after_max)
        })?;
        let retry = typed.retry.as_ref().map(TypedRetry::check).transpose()?;
        let (max_webhooks, max_chars) = (typed.max_webhooks.as_ref(), typed.max_chars.as_ref());
        if let Some(none) = max_webhooks.filter(|number| *number.get_ref() == 0) {
            return Err(at(none, "max_webhooks: must be above 0".to_owned()));
        }
        if let Some(wrong) = max_chars.filter(|number| !(1..=CHARS_MAX).contains(number.get_ref())) {
            return Err(at(wrong, format!("max_chars: must be from 1 to {CHARS_MAX}")));
        }
        if let Some(empty) = typed.plans.iter().find(|plan| plan.get_ref().is_empty()) {
            return Err(at(
                empty,
                "plans: must name plans; a list without any entitles every org".to_owned(),
            ));
        }
        Ok(Profile {
            method: read(typed.method.as_ref(), "method", str::parse)?.unwrap_or(default.method),
            password_header,
            signature,
            timeout: timeout.unwrap_or(default.timeout),
            retry: retry.unwrap_or(default.retry),
            retry_after_max: retry_after_max.unwrap_or(default.retry_after_max),
            disable_on_gone: typed.disable_on_gone.unwrap_or(default.disable_on_gone),
            faithful: typed.faithful.unwrap_or(default.faithful),
            plans: typed.plans.iter().map(|plan| plan.get_ref().as_str().into()).collect(),
            max_webhooks: max_webhooks.map(|number| *number.get_ref()),
            max_chars: max_chars.map(|number| *number.get_ref()),
            distinct_urls: typed.distinct_urls,
        })
    }

    /// Whether an org with this plan may have such webhooks.
    #[must_use]
    pub fn entitles(&self, plan: Option<&str>) -> bool {
        self.plans.is_empty() || plan.is_some_and(|plan| self.plans.iter().any(|known| **known == *plan))
    }
}

impl TypedSignature {
    fn check(&self) -> Result<Signing, Refused> {
        let header = read(self.header.as_ref(), "signature.header", header_name)?;
        match (self.r#type.get_ref().as_str(), header) {
            ("standard", None) => Ok(Signing::Standard),
            ("standard", Some(_)) => {
                Err(at(&self.r#type, "signature: standard has a header of its own, leave header out".into()))
            }
            ("hex", Some(header)) => Ok(Signing::Hex { header }),
            ("hex", None) => {
                Err(at(&self.r#type, "signature: hex needs header, as in \"x-timekit-signature\"".into()))
            }
            _ => Err(at(&self.r#type, "signature.type: must be \"standard\" or \"hex\"".into())),
        }
    }
}

impl TypedRetry {
    fn check(&self) -> Result<Retry, Refused> {
        let schedule = self.schedule.as_ref().map(|waits| {
            let wait = |wait| read(Some(wait), "retry.schedule", parse_duration);
            waits.get_ref().iter().filter_map(|text| wait(text).transpose()).collect::<Result<Vec<_>, _>>()
        });
        let given = RetryGiven {
            attempts: self.attempts.as_ref().map(|number| *number.get_ref()),
            first_delay: read(self.first_delay.as_ref(), "retry.first_delay", parse_duration)?,
            factor: self.factor.as_ref().map(|number| *number.get_ref()),
            max_delay: read(self.max_delay.as_ref(), "retry.max_delay", parse_duration)?,
            schedule: schedule.transpose()?,
            jitter: self.jitter.as_ref().map(|number| *number.get_ref()),
            on_exhausted: read(self.on_exhausted.as_ref(), "retry.on_exhausted", str::parse)?,
        };
        given.over(&Retry::default()).map_err(|fault| {
            let offset = self.offset(fault.member, fault.wait);
            (offset, format!("retry.{}: {}", fault.member, fault.rule))
        })
    }

    /// Where a member stands; its wait with this index, if it has waits.
    fn offset(&self, member: &str, wait: Option<usize>) -> usize {
        let start = |span: std::ops::Range<usize>| span.start;
        let found = match member {
            "attempts" => self.attempts.as_ref().map(Spanned::span),
            "first_delay" => self.first_delay.as_ref().map(Spanned::span),
            "factor" => self.factor.as_ref().map(Spanned::span),
            "max_delay" => self.max_delay.as_ref().map(Spanned::span),
            "jitter" => self.jitter.as_ref().map(Spanned::span),
            "schedule" => self.schedule.as_ref().map(|waits| {
                let wait = wait.and_then(|index| waits.get_ref().get(index));
                wait.map_or_else(|| waits.span(), Spanned::span)
            }),
            _ => None,
        };
        // A member that was not given is at fault by one that was.
        let any = || [self.first_delay.as_ref(), self.max_delay.as_ref()].into_iter().flatten().next();
        found.or_else(|| any().map(Spanned::span)).map_or(0, start)
    }
}

fn at<T>(given: &Spanned<T>, problem: String) -> Refused {
    (given.span().start, problem)
}

/// A text that means something; `name` is what is told of when it does not.
fn read<T>(
    given: Option<&Spanned<String>>,
    name: &str,
    meaning: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Refused> {
    let Some(given) = given else { return Ok(None) };
    meaning(given.get_ref()).map(Some).map_err(|rule| at(given, format!("{name}: {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OnExhausted;

    /// The line of this byte, counted from 1.
    fn line(text: &str, start: usize) -> usize {
        1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
    }

    /// The profile, or the line of its fault and what is said.
    fn check(text: &str) -> Result<Profile, (usize, String)> {
        let typed: Typed = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            (line(text, start), error.message().to_owned())
        })?;
        Profile::check(&typed).map_err(|(start, problem)| (line(text, start), problem))
    }

    #[test]
    fn a_table_without_members_gives_the_defaults() {
        assert_eq!(check(""), Ok(Profile::default()));
    }

    #[test]
    fn every_member_is_read() {
        let profile = check(
            "method = 'put'\npassword_header = 'X-Shop-Password'\n\
             signature = { type = 'hex', header = 'X-Shop-Signature' }\ntimeout = '2s'\n\
             retry = { attempts = 3, first_delay = '1s', factor = 3, max_delay = '5s', jitter = 0.5, on_exhausted = 'hold' }\n\
             retry_after_max = '0s'\ndisable_on_gone = true\nfaithful = true\nplans = ['pro', 'max']\n\
             max_webhooks = 3\nmax_chars = 100\ndistinct_urls = true\n",
        );
        let retry = Retry {
            attempts: 3,
            first_delay: Duration::from_secs(1),
            factor: 3.0,
            max_delay: Duration::from_secs(5),
            schedule: None,
            jitter: 0.5,
            on_exhausted: OnExhausted::Hold,
        };
        let expected = Profile {
            method: Method::Put,
            password_header: Some("x-shop-password".into()),
            signature: Some(Signing::Hex { header: "x-shop-signature".into() }),
            timeout: Duration::from_secs(2),
            retry,
            retry_after_max: Duration::ZERO,
            disable_on_gone: true,
            faithful: true,
            plans: ["pro".into(), "max".into()].into(),
            max_webhooks: Some(3),
            max_chars: Some(100),
            distinct_urls: true,
        };
        assert_eq!(profile, Ok(expected));
        let waits = check("signature = { type = 'standard' }\nretry.schedule = ['1s', '2s']").unwrap();
        assert_eq!(waits.signature, Some(Signing::Standard));
        assert_eq!((waits.retry.attempts, waits.retry.longest_delay()), (3, Duration::from_secs(2)));
    }

    #[test]
    fn plans_entitle() {
        let profile = check("plans = ['pro']").unwrap();
        assert!(profile.entitles(Some("pro")));
        assert!(!profile.entitles(Some("Pro")) && !profile.entitles(None));
        assert!(check("plans = []").unwrap().entitles(None));
    }

    #[test]
    fn a_fault_is_named_with_its_line() {
        for (rest, says) in [
            ("method = 'HEAD'", "method: must be GET"),
            ("password_header = 'a b'", "password_header: must be a header's name"),
            ("password_header = 'Host'", "belongs to the connection"),
            (
                "password_header = 'x-a'\nsignature = { type = 'hex', header = 'X-A' }",
                "signature is sent in x-a",
            ),
            (
                "signature = { type = 'md5', header = 'x-a' }",
                "signature.type: must be \"standard\" or \"hex\"",
            ),
            ("signature = { type = 'hex' }", "signature: hex needs header"),
            ("signature = { type = 'standard', header = 'x-a' }", "leave header out"),
            ("signature = { type = 'hex', header = 'webhook-id' }", "signature.header: must not begin"),
            ("signature = { type = 'hex', header = 'x-a', secret = 's' }", "unknown field `secret`"),
            ("timeout = '61s'", "timeout: must be from 100ms to 1m"),
            ("timeout = 'soon'", "timeout: "),
            ("timeout = 10", "string"),
            ("retry_after_max = '25h'", "retry_after_max: must be at most 24h"),
            ("retry.attempts = 0", "retry.attempts: must be from 1 to 100"),
            ("retry.attempts = -1", "invalid value"),
            ("retry.factor = 0.5", "retry.factor: must be from 1 to 100"),
            ("retry.jitter = 2", "retry.jitter: must be from 0 to 1"),
            ("retry.first_delay = '25h'", "retry.first_delay: must be at most 24h"),
            ("retry.max_delay = '100ms'", "retry.max_delay: must be at least first_delay"),
            ("retry.schedule = ['x']", "retry.schedule: "),
            ("retry.schedule = []", "retry.schedule: must have 1 to 99 waits"),
            ("retry.schedule = ['25h']", "retry.schedule: a wait must be at most 24h"),
            ("retry = { factor = 2, schedule = ['1s'] }", "retry.factor: cannot be given beside"),
            ("retry.on_exhausted = 'stop'", "retry.on_exhausted: must be \"advance\" or"),
            ("retry.delay = '1s'", "unknown field `delay`"),
            ("plans = ['']", "plans: must name plans"),
            ("plans = 'pro'", "sequence"),
            ("max_webhooks = 0", "max_webhooks: must be above 0"),
            ("max_chars = 2049", "max_chars: must be from 1 to 2048"),
            ("max_chars = 0", "max_chars: must be from 1 to 2048"),
            ("distinct_urls = 'yes'", "boolean"),
            ("color = 'red'", "unknown field `color`"),
        ] {
            let (line, problem) =
                check(&format!("\n\n{rest}\n")).err().unwrap_or_else(|| panic!("{rest} was taken"));
            assert!(line == 3 && problem.contains(says), "{rest}: line {line}: {problem}");
        }
    }
}
