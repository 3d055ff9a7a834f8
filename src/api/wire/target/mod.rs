//! Where a webhook's requests go, and where a client's do: `url`, or `client` and `path`; `base_url`. PURE.
//!
//! One parser, the one that is dialled with, decides what a URL means. What it would read in a way that nobody meant is
//! refused; what it merely spells its own way (percent-encoding, the host's letters, a default port) is kept as it spells
//! it, with the variables where they were. So a saved template parses to itself.

mod offered;

use serde::Serialize;
use url::{Position, Url};

pub(in crate::api::wire) use offered::check_variables;

use super::Members;
use crate::delivery::check_url;
use crate::model::{ClientId, Piece, Target, URL_MAX, UrlTemplate};
use crate::serving::problem::Problem;

/// What a query's values are shown as.
const MASK: &str = "***";
/// Stands before a client's path while that is read. The client's own URL is not known here, and does not matter: a path
/// that begins with a slash cannot reach into it.
const ANY_ORIGIN: &str = "http://h";

/// Reads `url`, or `client` and `path`.
pub(super) fn target(members: &Members<'_>) -> Result<Target, Problem> {
    let client: Option<ClientId> = members.parsed("client")?;
    let url = members.text("url")?;
    let path = members.text("path")?;
    match (url, client, path) {
        (Some(_), Some(_), _) => Err(members.invalid("client", "give url, or client and path, not both")),
        (Some(_), None, Some(_)) => {
            Err(members.invalid("path", "goes with client; a url holds its own path"))
        }
        (None, None, Some(_)) => Err(members.invalid("path", "goes with client: give that too")),
        (None, None, None) => Err(members.missing("url", "an absolute https URL, or client and path")),
        (Some(url), None, None) => {
            url_template(&url).map(Target::Url).map_err(|rule| members.invalid("url", rule))
        }
        (None, Some(client), path) => {
            let path = path.unwrap_or_default();
            let path = path_template(&path).map_err(|rule| members.invalid("path", rule))?;
            Ok(Target::Client { client, path })
        }
    }
}

/// Reads a client's `base_url`.
pub(super) fn base_url(members: &Members<'_>) -> Result<Url, Problem> {
    let text =
        members.text("base_url")?.ok_or_else(|| members.missing("base_url", "an absolute https URL"))?;
    let read = || {
        check_text(&text)?;
        if text.contains(['{', '}']) {
            return Err("must not contain variables: they stand in a webhook's path".to_owned());
        }
        if text.contains('?') {
            return Err("must not contain a query (?…): a webhook's path follows it".to_owned());
        }
        check_segments(&text)?;
        let url = absolute(&text)?;
        check_length(url.as_str())?;
        Ok(url)
    };
    read().map_err(|rule| members.invalid("base_url", rule))
}

/// Where a webhook's requests go, as shown: names and variables of a query, not its values, which may be secret.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct TargetOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// Shows a target.
pub(super) fn shown(target: &Target) -> TargetOut<'_> {
    match target {
        Target::Url(url) => TargetOut { url: Some(masked(url)), client: None, path: None },
        Target::Client { client, path } => {
            TargetOut { url: None, client: Some(client), path: Some(masked(path)) }
        }
    }
}

pub(in crate::api) fn url_template(text: &str) -> Result<UrlTemplate, String> {
    check_text(text)?;
    let (origin, rest) = origin_and_rest(text);
    if origin.contains(['{', '}']) {
        return Err("may have variables in its path and query only".to_owned());
    }
    let template = UrlTemplate::parse(text)?;
    check_segments(rest)?;
    normal(&template, str::to_owned, Position::BeforeScheme)
}

pub(in crate::api) fn path_template(text: &str) -> Result<UrlTemplate, String> {
    check_text(text)?;
    if text.is_empty() {
        return Ok(UrlTemplate::fixed(""));
    }
    if !text.starts_with('/') {
        return Err("must begin with / or be empty".to_owned());
    }
    let template = UrlTemplate::parse(text)?;
    check_segments(text)?;
    normal(&template, |path| format!("{ANY_ORIGIN}{path}"), Position::BeforePath)
}

/// What no URL or path may have, whatever else it is.
fn check_text(text: &str) -> Result<(), String> {
    if text.len() > URL_MAX {
        return Err(format!("must have at most {URL_MAX} bytes"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("must not contain spaces, control characters or backslashes".to_owned());
    }
    if text.contains('#') {
        return Err("must not contain a fragment (#…): receivers never see it".to_owned());
    }
    if text.split_once('?').is_some_and(|(_, query)| query.contains(MASK)) {
        return Err(format!("is masked where it says {MASK}: give the real value"));
    }
    Ok(())
}

/// Refuses `.` and `..` as segments of a path, in all their spellings: they mean another path than the one that stands
/// there.
fn check_segments(text: &str) -> Result<(), String> {
    let path = text.split('?').next().unwrap_or_default();
    let dots = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    if path.split('/').any(dots) {
        return Err("must not contain . or .. as a segment of its path".to_owned());
    }
    Ok(())
}

/// An absolute http or https URL.
fn absolute(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not an absolute URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must start with https:// or http://".to_owned());
    }
    let (origin, _) = origin_and_rest(text);
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    if authority.is_empty() || url.host_str().is_none_or(str::is_empty) {
        return Err("must have a host, as in https://example.com/hook".to_owned());
    }
    if authority.contains('@') {
        return Err("must not contain a user name or password".to_owned());
    }
    // Some hosts that the parser takes cannot stand in a request: better said now than by every attempt.
    check_url(&url)?;
    Ok(url)
}

/// Splits a URL where its path or query begins.
fn origin_and_rest(text: &str) -> (&str, &str) {
    let authority = text.find("://").map_or(0, |at| at + 3);
    let after = text.get(authority..).unwrap_or_default();
    let length = after.find(['/', '?']).unwrap_or(after.len());
    text.split_at_checked(authority + length).unwrap_or((text, ""))
}

/// The template as the parser spells it. `whole` makes a URL of the template's text, of which the template is what
/// begins at `from`.
fn normal(
    template: &UrlTemplate,
    whole: impl Fn(&str) -> String,
    from: Position,
) -> Result<UrlTemplate, String> {
    let token = token(&template.to_string());
    let text: String = template
        .pieces()
        .iter()
        .map(|piece| match piece {
            Piece::Literal(text) => &**text,
            Piece::Variable(_) => &token,
        })
        .collect();
    let url = absolute(&whole(&text))?;
    // The parser changes a host's letters, so only what follows it is searched.
    let rest = url[Position::BeforePath..].split(&token);
    let origin = &url[from..Position::BeforePath];
    let mut names = template.variables();
    let mut pieces = Vec::with_capacity(template.pieces().len());
    let mut literal = origin.to_owned();
    for (index, text) in rest.enumerate() {
        if index > 0 {
            let name = names.next().ok_or("has variables that the URL parser multiplies")?;
            push_literal(&mut pieces, &mut literal)?;
            pieces.push(Piece::Variable(name.into()));
        }
        literal.push_str(text);
    }
    if names.next().is_some() {
        return Err("has variables that the URL parser drops".to_owned());
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    let template = UrlTemplate::new(pieces);
    check_length(&template.to_string())?;
    Ok(template)
}

/// Refuses what could not be given again as it is kept.
fn check_length(kept: &str) -> Result<(), String> {
    if kept.len() > URL_MAX {
        return Err(format!("must have at most {URL_MAX} bytes once percent-encoded"));
    }
    Ok(())
}

/// Adds the text before a variable, which must not reach into it.
fn push_literal(pieces: &mut Vec<Piece>, literal: &mut String) -> Result<(), String> {
    let ends = |count: usize| literal.bytes().rev().nth(count) == Some(b'%');
    if ends(0) || ends(1) && literal.ends_with(|last: char| last.is_ascii_hexdigit()) {
        return Err("must not have an unfinished percent-escape before a variable".to_owned());
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into()));
    }
    Ok(())
}

/// A word that stands for a variable while the rest is parsed. It is not in the text, cannot come about by
/// percent-encoding, and no end of it is also its beginning, so it is found where it was put and nowhere else.
fn token(text: &str) -> String {
    let mut token = "vw".to_owned();
    while text.contains(&token) {
        token.push('w');
    }
    token
}

/// The template with the values of its query masked. A word that no value follows counts as one: some services take a key
/// so.
fn masked(template: &UrlTemplate) -> String {
    let text = template.to_string();
    let Some((path, query)) = text.split_once('?') else { return text };
    let pairs: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !value.trim_matches('=').is_empty() => format!("{name}={}", mask(value)),
            // Base64 ends in such signs.
            _ => mask(pair),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Everything but the variables becomes the mask.
fn mask(value: &str) -> String {
    let mut shown = String::new();
    for (index, part) in value.split('{').enumerate() {
        let literal = match part.split_once('}') {
            Some((name, literal)) if index > 0 => {
                shown.extend(["{", name, "}"]);
                literal
            }
            _ => part,
        };
        if !literal.is_empty() {
            shown.push_str(MASK);
        }
    }
    shown
}

#[cfg(test)]
mod tests;
