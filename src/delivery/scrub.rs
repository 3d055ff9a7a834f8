//! Takes the secrets of a request out of what a receiver sent back. PURE.
//!
//! A receiver may echo what it got, in any of the spellings that programs use: as it is, inside JSON, HTML or a URL, in
//! hex or base64, alone or in the middle of something larger. Only an answer with a body is ever looked at, so all of
//! this costs nothing where receivers answer as they should.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::request::{authorization, basic};
use super::sign::{self, Key};
use super::template::Addressed;
use crate::model::{Authorization, Signature};

/// Shorter secrets are found in every text.
const SECRET_MIN: usize = 4;
/// Shorter words of a header's value are ordinary ones.
const WORD_MIN: usize = 8;
/// Values of a query that are no secret, and that answers are full of.
const ORDINARY: &[&str] = &["true", "false", "null", "none", "json"];
/// The longest escape of one character, `\ud83d\ude00`.
const ESCAPE_MAX: usize = 12;
/// As many stand before a quote in JSON that was put into JSON four times.
const BACKSLASHES_MAX: usize = 16;
/// How many characters are compared for one text: some milliseconds.
const WORK_MAX: usize = 300_000;

/// Secrets in all their spellings, ready to be looked for.
#[derive(Default)]
pub struct Scrub {
    /// In order of their first character, and the longest first.
    needles: Vec<Needle>,
}

struct Needle {
    text: Zeroizing<Vec<char>>,
    /// What is shown instead.
    mask: &'static str,
}

impl Scrub {
    /// Everything secret that a request carries, and what it was signed with.
    #[must_use]
    pub fn of(addressed: &Addressed<'_>) -> Scrub {
        let mut scrub = Scrub::default();
        let webhook = addressed.webhook;
        if let Some(password) = &webhook.password {
            scrub.add("[password]", password.expose().as_bytes());
        }
        match authorization(addressed) {
            Some(Authorization::Basic { username, password }) => {
                scrub.add_value(&Zeroizing::new(basic(username, password)));
                scrub.add(SECRET, password.expose().as_bytes());
            }
            Some(Authorization::Bearer { token }) => scrub.add(SECRET, token.expose().as_bytes()),
            Some(Authorization::Header { value, .. }) => scrub.add_value(value.expose()),
            Some(Authorization::HmacSha256 { secret }) => {
                scrub.add(SECRET, secret.expose().as_bytes());
                scrub.add_value(&sign::hmac_authorization(secret, &addressed.delivery.payload));
            }
            None => {}
        }
        for one in webhook.signature.iter().flat_map(|signature| signature.secrets()) {
            scrub.add(SECRET, one.secret.expose().as_bytes());
            let standard = matches!(webhook.signature.as_deref(), Some(Signature::Standard { .. }));
            match standard.then(|| Key::parse(&one.secret)) {
                Some(Ok(Key::Shared(key))) => scrub.add(SECRET, &key),
                Some(Ok(Key::Private(key))) => scrub.add(SECRET, key.as_bytes()),
                _ => {}
            }
        }
        let routes = webhook.route.as_deref().into_iter().chain(addressed.client.map(|client| &client.route));
        for credentials in routes.filter_map(|route| route.proxy.as_ref()?.credentials.as_ref()) {
            scrub.add_value(&Zeroizing::new(basic(&credentials.username, &credentials.password)));
            scrub.add(SECRET, credentials.password.expose().as_bytes());
        }
        let shared = addressed.client.iter().flat_map(|client| &client.headers.0);
        for (name, value) in shared.chain(&webhook.headers.0) {
            if [CONTENT_TYPE, ACCEPT, USER_AGENT].iter().all(|public| public.as_str() != &**name) {
                scrub.add_value(value.expose());
            }
        }
        for (name, value) in form_urlencoded::parse(addressed.uri.query().unwrap_or_default().as_bytes()) {
            let value = if value.is_empty() { name } else { value };
            if !ORDINARY.contains(&&*value) {
                scrub.add(SECRET, value.as_bytes());
            }
        }
        scrub.ready()
    }

    /// A header's value, and its longer words: the one after `Token`, for example.
    fn add_value(&mut self, value: &str) {
        self.add(SECRET, value.as_bytes());
        if value.contains(' ') {
            for word in value.split(' ').filter(|word| word.len() >= WORD_MIN) {
                self.add(SECRET, word.as_bytes());
            }
        }
    }

    fn add(&mut self, mask: &'static str, secret: &[u8]) {
        if secret.len() < SECRET_MIN {
            return;
        }
        if let Ok(text) = std::str::from_utf8(secret) {
            self.needle(mask, text);
        }
        let hex = Zeroizing::new(sign::hex(secret));
        self.needle(mask, &hex);
        self.needle(mask, &Zeroizing::new(hex.to_ascii_uppercase()));
        for engine in [&STANDARD, &URL_SAFE] {
            let whole = Zeroizing::new(engine.encode(secret));
            self.needle(mask, &whole);
            self.needle(mask, whole.trim_end_matches('='));
            // In the middle of something larger, it begins at one of three places in a group of characters, and those
            // that it shares with its neighbours can be anything.
            for before in 0..3 {
                let mut padded = Zeroizing::new(vec![0; before]);
                padded.extend_from_slice(secret);
                let text = Zeroizing::new(engine.encode(&*padded));
                let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
                self.needle(mask, text.get(from..to).unwrap_or_default());
            }
        }
    }

    fn needle(&mut self, mask: &'static str, text: &str) {
        self.needles.push(Needle { text: Zeroizing::new(text.chars().collect()), mask });
    }

    fn ready(mut self) -> Scrub {
        self.needles.retain(|needle| needle.text.len() >= SECRET_MIN);
        let key = |needle: &Needle| (needle.text.first().copied(), std::cmp::Reverse(needle.text.len()));
        self.needles.sort_by_key(key);
        // What two of them look for needs looking for once.
        self.needles.dedup_by(|one, other| one.text == other.text);
        self
    }

    /// The text without the secrets; no more of it than makes `max` bytes or a few over.
    #[must_use]
    pub fn clean(&self, text: &str, max: usize) -> String {
        let chars: Vec<char> = text.chars().collect();
        let mut rest = chars.as_slice();
        let mut clean = String::with_capacity(text.len().min(max));
        let mut work = 0;
        while let Some((first, others)) = rest.split_first() {
            // A text that takes so long was made to: what has not been looked through is not kept.
            if clean.len() >= max || work > WORK_MAX {
                break;
            }
            if let Some((length, mask)) = self.find(rest, &mut work) {
                clean.push_str(mask);
                rest = rest.get(length..).unwrap_or_default();
            } else {
                clean.push(*first);
                rest = others;
            }
        }
        clean
    }

    /// The longest stretch at the start of a text that spells a secret. Adds the characters compared to `work`.
    fn find(&self, text: &[char], work: &mut usize) -> Option<(usize, &'static str)> {
        let (raw, escaped) = readings(text);
        let firsts = [raw, escaped].into_iter().flatten().map(|(first, _)| first);
        let needles = firsts.flat_map(|first| {
            let from = self.needles.partition_point(|needle| needle.text.first() < Some(&first));
            self.needles.iter().skip(from).take_while(move |needle| needle.text.first() == Some(&first))
        });
        let mut longest = None;
        for needle in needles {
            let found = length(&needle.text, text, work);
            if let Some(length) = found.filter(|found| longest.is_none_or(|(longest, _)| *found > longest)) {
                longest = Some((length, needle.mask));
            }
        }
        longest
    }
}

const SECRET: &str = "[secret]";

/// How many characters at the start of a text spell all of `wanted`. A text that ends before that was cut off: what
/// there is of a secret counts.
fn length(wanted: &[char], text: &[char], work: &mut usize) -> Option<usize> {
    let mut rest = text;
    for (index, wanted) in wanted.iter().enumerate() {
        *work += 1;
        let (raw, escaped) = readings(rest);
        let found = [escaped, raw].into_iter().flatten().find(|(reading, _)| reading == wanted);
        let Some((_, used)) = found else {
            let cut_off =
                rest.is_empty() || rest.len() < ESCAPE_MAX && matches!(rest.first(), Some('\\' | '%' | '&'));
            return (cut_off && index >= SECRET_MIN).then_some(text.len());
        };
        rest = rest.get(used..)?;
    }
    Some(text.len() - rest.len())
}

/// A character, and over how many characters of the text it is spelled.
type Reading = Option<(char, usize)>;

/// What the text may begin with: its first character as it is, and what that begins as an escape.
fn readings(text: &[char]) -> (Reading, Reading) {
    let Some(first) = text.first() else { return (None, None) };
    let escaped = match first {
        '\\' => backslash(text),
        '%' => percent(text),
        '&' => entity(text),
        '+' => Some((' ', 1)),
        _ => None,
    };
    (Some((*first, 1)), escaped)
}

/// `\"`, `\/` or `\u00e4`; more backslashes where JSON was put into JSON.
fn backslash(text: &[char]) -> Reading {
    let run = backslashes(text);
    let unit = |at: usize| -> Option<u16> {
        match text.get(at..at + 5)? {
            ['u', digits @ ..] => u16::try_from(number(digits, 16)?).ok(),
            _ => None,
        }
    };
    let Some(high) = unit(run) else { return text.get(run).map(|c| (*c, run + 1)) };
    if let Some(c) = char::from_u32(high.into()) {
        return Some((c, run + 5));
    }
    let again = run + 5;
    let low = unit(again + backslashes(text.get(again..)?))?;
    let c = char::decode_utf16([high, low]).next()?.ok()?;
    Some((c, again + run + 5))
}

fn backslashes(text: &[char]) -> usize {
    text.iter().take(BACKSLASHES_MAX).take_while(|c| **c == '\\').count()
}

/// `%C3%A4`.
fn percent(text: &[char]) -> Reading {
    let byte = |index: usize| match text.get(index * 3..index * 3 + 3)? {
        ['%', digits @ ..] => u8::try_from(number(digits, 16)?).ok(),
        _ => None,
    };
    let bytes: Vec<u8> = (0..4).map_while(byte).collect();
    let valid = match std::str::from_utf8(&bytes) {
        Ok(valid) => valid,
        Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?,
    };
    let c = valid.chars().next()?;
    Some((c, c.len_utf8() * 3))
}

/// `&quot;`, `&#34;` or `&#x22;`.
fn entity(text: &[char]) -> Reading {
    let end = text.iter().take(ESCAPE_MAX).position(|c| *c == ';')?;
    let c = match text.get(1..end)? {
        ['#', 'x' | 'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        ['#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        name => match name.iter().collect::<String>().as_str() {
            "quot" => '"',
            "apos" => '\'',
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            _ => return None,
        },
    };
    Some((c, end + 1))
}

fn number(digits: &[char], radix: u32) -> Option<u32> {
    let mut number: u32 = 0;
    for digit in digits {
        number = number.checked_mul(radix)?.checked_add(digit.to_digit(radix)?)?;
    }
    (!digits.is_empty()).then_some(number)
}

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
