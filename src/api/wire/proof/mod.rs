//! How requests prove that they are ours, as JSON: authorizations, signatures, headers. PURE.
//!
//! Read here, shown in `shown`, where no secret goes out. `names` has the rules for header names.

mod names;
mod shown;
#[cfg(test)]
mod tests;

use serde_json::value::RawValue;

use self::names::Names;
pub(in crate::api) use self::shown::{AuthorizationOut, HeadersOut, SignatureOut};
use super::Members;
use super::members::pointer_below;
use crate::catalogue::{Profile, Signing};
use crate::delivery::sign::Key;
use crate::model::{
    Authorization, Headers, PASSWORD_HEADER, SECRETS_MAX, Secret, Signature, SigningSecret, header_name,
};
use crate::serving::problem::Problem;

/// The longest user name, password, token, key or header value, in bytes.
const TEXT_MAX: usize = 2048;
const HEADERS_MAX: usize = 32;
/// Names and values together.
const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// What stands for a header's value where it is shown.
const MASK: &str = "***";

/// Everything but the password itself, of a webhook or of a client (which has an authorization and headers only).
#[derive(Debug)]
pub(in crate::api) struct Proof {
    /// In lower case; `None` means the default.
    pub(in crate::api) password_header: Option<Box<str>>,
    pub(in crate::api) authorization: Option<Box<Authorization>>,
    pub(in crate::api) signature: Option<Box<Signature>>,
    pub(in crate::api) headers: Headers,
}

impl Proof {
    /// Reads `password_header`, `authorization`, `signature` and `headers`, as far as the object may have them: no
    /// two of them may want the same header. How secrets are sent that come without saying so is the profile's to say.
    pub(in crate::api) fn read(members: &Members<'_>, profile: &Profile) -> Result<Proof, Problem> {
        let mut names = Names::default();
        let given = members
            .text("password_header")?
            .map(|text| header_name(&text).map_err(|rule| members.invalid("password_header", rule)))
            .transpose()?;
        let wanted = given.is_some() || members.text("password")?.is_some();
        let password_header = given.or_else(|| profile.password_header.clone());
        if wanted {
            names.add(password_header.as_deref().unwrap_or(PASSWORD_HEADER), "the password");
        }
        let authorization = authorization(members, &mut names)?;
        let signature = signature(members, &mut names, profile.signature.as_ref())?;
        let headers = headers(members, &mut names)?;
        Ok(Proof { password_header, authorization, signature, headers })
    }
}

/// A kind of authorization or signature, and its members.
struct Kind {
    word: &'static str,
    /// `type`, then its own.
    known: &'static [&'static str],
}

const AUTHORIZATIONS: &[Kind] = &[
    Kind { word: "basic", known: &["type", "username", "password"] },
    Kind { word: "bearer", known: &["type", "token"] },
    Kind { word: "header", known: &["type", "name", "value"] },
    Kind { word: "hmac-sha256", known: &["type", "secret"] },
];
/// Every member that one of them may have, and the words themselves.
const AUTHORIZATION: &[&str] = &[
    "type",
    "username",
    "password",
    "token",
    "name",
    "value",
    "secret",
    "basic",
    "bearer",
    "header",
    "hmac-sha256",
];
const SIGNATURES: &[Kind] = &[
    Kind { word: "standard", known: &["type", "secret", "secrets"] },
    Kind { word: "hex", known: &["type", "header", "secret"] },
];
const SIGNATURE: &[&str] = &["type", "header", "secret", "secrets", "standard", "hex"];

/// Opens `{"type":"word",…}`, or `{"word":{…}}` with nothing beside it: the word, and the members that go with it. What
/// does not say which word is `usual`, if there is one.
fn open<'a>(
    members: &Members<'a>,
    name: &str,
    any: &'static [&'static str],
    kinds: &'static [Kind],
    usual: Option<&str>,
) -> Result<Option<(&'static str, Members<'a>)>, Problem> {
    let Some(outer) = members.object(name, any)? else { return Ok(None) };
    let words = || kinds.iter().map(|kind| format!("\"{}\"", kind.word)).collect::<Vec<_>>().join(", ");
    let find = |word: &str| kinds.iter().find(|kind| kind.word == word);
    if let Some(word) = outer.text("type")? {
        let kind = find(&word).ok_or_else(|| outer.invalid("type", format!("must be one of {}", words())))?;
        return Ok(members.object(name, kind.known)?.map(|own| (kind.word, own)));
    }
    let mut given = any.iter().filter(|name| outer.raw(name).is_some());
    if let (Some(only), None) = (given.next(), given.next())
        && let Some(kind) = find(only)
        && let Some(own) = outer.object(kind.word, kind.known.get(1..).unwrap_or_default())?
    {
        return Ok(Some((kind.word, own)));
    }
    match usual.and_then(find) {
        Some(kind) => Ok(members.object(name, kind.known)?.map(|own| (kind.word, own))),
        None => Err(outer.missing("type", &words())),
    }
}

fn authorization(members: &Members<'_>, names: &mut Names) -> Result<Option<Box<Authorization>>, Problem> {
    let Some((word, own)) = open(members, "authorization", AUTHORIZATION, AUTHORIZATIONS, None)? else {
        return Ok(None);
    };
    let read = match word {
        "basic" => basic(&own)?,
        "bearer" => {
            let rule = format!("must have 1 to {TEXT_MAX} visible ASCII characters, without spaces");
            let fits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
            Authorization::Bearer { token: secret(&own, "token", &rule, fits)? }
        }
        "header" => {
            let name = own.text("name")?.ok_or_else(|| own.missing("name", "the header's name"))?;
            let name = if name.eq_ignore_ascii_case("authorization") {
                Ok("authorization".into())
            } else {
                header_name(&name).and_then(|name| names.take(&name, "the authorization").map(|()| name))
            };
            let name = name.map_err(|rule| own.invalid("name", rule))?;
            let rule = format!("{VALUE_RULE}, and not be empty");
            let value = secret(&own, "value", &rule, |text| !text.is_empty() && is_value(text))?;
            Authorization::Header { name: name.into(), value }
        }
        _ => Authorization::HmacSha256 { secret: key(&own)? },
    };
    Ok(Some(Box::new(read)))
}

fn basic(own: &Members<'_>) -> Result<Authorization, Problem> {
    let username = own.text("username")?.ok_or_else(|| own.missing("username", "the user's name"))?;
    if username.len() > TEXT_MAX || username.contains(|c: char| c == ':' || c.is_control()) {
        let rule = format!("must have at most {TEXT_MAX} bytes, no colon and no control characters");
        return Err(own.invalid("username", rule));
    }
    let rule = format!("must have at most {TEXT_MAX} bytes and no control characters");
    let password = secret(own, "password", &rule, |text| !text.contains(char::is_control))?;
    if username.is_empty() && password.expose().is_empty() {
        return Err(own.invalid("username", "must not be empty when the password is"));
    }
    Ok(Authorization::Basic { username: username.into_owned(), password })
}

fn signature(
    members: &Members<'_>,
    names: &mut Names,
    usual: Option<&Signing>,
) -> Result<Option<Box<Signature>>, Problem> {
    let (usual, usual_header) = match usual {
        Some(Signing::Standard) => (Some("standard"), None),
        Some(Signing::Hex { header }) => (Some("hex"), Some(&**header)),
        None => (None, None),
    };
    let Some((word, own)) = open(members, "signature", SIGNATURE, SIGNATURES, usual)? else {
        return Ok(None);
    };
    let read = if word == "standard" {
        Signature::Standard { secrets: secrets(&own)? }
    } else {
        let header = own
            .text("header")?
            .or(usual_header.map(Into::into))
            .ok_or_else(|| own.missing("header", "the header's name, for example \"x-timekit-signature\""))?;
        let header = header_name(&header)
            .and_then(|name| names.take(&name, "the signature").map(|()| name))
            .map_err(|rule| own.invalid("header", rule))?;
        let secrets = vec![SigningSecret { secret: key(&own)?, until: None }];
        Signature::Hex { header: header.into(), secrets }
    };
    Ok(Some(Box::new(read)))
}

/// `secret`, or `secrets` with the newest first.
fn secrets(own: &Members<'_>) -> Result<Vec<SigningSecret>, Problem> {
    let checked = |text: String, pointer: &str| {
        let secret = Secret::new(text);
        match Key::parse(&secret) {
            Ok(_) => Ok(SigningSecret { secret, until: None }),
            Err(rule) => Err(Problem::invalid(pointer, format!("secret: {rule}"))),
        }
    };
    let several: Option<Vec<&RawValue>> = own.value("secrets", "a list of secrets, the newest first")?;
    let one = own.text("secret")?;
    let several = match (one, several) {
        (Some(_), Some(_)) => return Err(own.invalid("secrets", "give this or \"secret\", not both")),
        (Some(one), None) => return Ok(vec![checked(one.into_owned(), &own.pointer("secret"))?]),
        (None, Some(several)) => several,
        (None, None) => {
            return Err(own.missing("secret", "whsec_… or whsk_…, or a list of them as \"secrets\""));
        }
    };
    if !(1..=SECRETS_MAX).contains(&several.len()) {
        return Err(own.invalid("secrets", format!("must have 1 to {SECRETS_MAX} entries")));
    }
    let mut all: Vec<SigningSecret> = Vec::with_capacity(several.len());
    for (index, text) in several.iter().enumerate() {
        let pointer = format!("{}/{index}", own.pointer("secrets"));
        let text = serde_json::from_str(text.get())
            .map_err(|_| Problem::invalid(&*pointer, "an entry of secrets must be a string"))?;
        let read = checked(text, &pointer)?;
        if all.contains(&read) {
            return Err(Problem::invalid(pointer, "secret: is given twice"));
        }
        all.push(read);
    }
    Ok(all)
}

/// Whether a webhook that signs like this could sign with that secret.
pub(in crate::api) fn is_secret_of(signature: &Signature, secret: &Secret) -> Result<(), String> {
    match signature {
        Signature::Standard { .. } => Key::parse(secret).map(drop).map_err(str::to_owned),
        Signature::Hex { .. } if is_key(secret.expose()) => Ok(()),
        Signature::Hex { .. } => Err(key_rule()),
    }
}

/// A secret whose very bytes are the key.
fn key(own: &Members<'_>) -> Result<Secret, Problem> {
    secret(own, "secret", &key_rule(), is_key)
}

fn is_key(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

fn key_rule() -> String {
    format!("must have 1 to {TEXT_MAX} bytes and no control characters")
}

fn secret(own: &Members<'_>, name: &str, rule: &str, fits: impl Fn(&str) -> bool) -> Result<Secret, Problem> {
    let text = own.text(name)?.ok_or_else(|| own.missing(name, "it as text"))?;
    if text.len() > TEXT_MAX || !fits(&text) {
        return Err(own.invalid(name, rule));
    }
    Ok(Secret::new(text.into_owned()))
}

const VALUE_RULE: &str =
    "must have at most 2048 bytes, no line breaks or control characters, no space at either end";

/// Goes out as it is: what a header would lose or could break out of it is refused.
fn is_value(text: &str) -> bool {
    text.len() <= TEXT_MAX
        && !text.contains(char::is_control)
        && !text.starts_with(' ')
        && !text.ends_with(' ')
}

fn headers(members: &Members<'_>, names: &mut Names) -> Result<Headers, Problem> {
    let given = members.texts("headers")?;
    if given.len() > HEADERS_MAX {
        return Err(members.invalid("headers", format_args!("must have at most {HEADERS_MAX} entries")));
    }
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        let rule = format!("must have at most {HEADERS_BYTES_MAX} bytes, names and values together");
        return Err(members.invalid("headers", rule));
    }
    let read = |(name, value): (String, String)| {
        let refuse = |rule: &str| {
            let pointer = pointer_below(&members.pointer("headers"), &name);
            Problem::invalid(pointer, format!("headers: \"{}\" {rule}", name.escape_debug()))
        };
        let known = header_name(&name).and_then(|known| names.take(&known, "another header").map(|()| known));
        let known = known.map_err(|rule| refuse(&rule))?;
        if value == MASK {
            return Err(refuse("is masked: give the real value"));
        }
        if !is_value(&value) {
            return Err(refuse(VALUE_RULE));
        }
        Ok((known, Secret::new(value)))
    };
    given.into_iter().map(read).collect::<Result<_, _>>().map(Headers)
}
