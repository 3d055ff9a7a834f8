//! URLs with variables: `https://example.com/events/{eventId}?kind={typeKey}`. What a variable's value becomes is decided
//! in `delivery::template`; here is only what a template is.

use std::fmt;

use super::ClientId;

/// A stretch of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that goes out as it is.
    Literal(Box<str>),
    /// `{name}`: one percent-encoded segment.
    Variable(Box<str>),
}

/// A URL, or a path and query, in which `{name}` stands for a value.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    /// Without variables a single literal, exactly as it goes out.
    pieces: Box<[Piece]>,
}

/// Whether a variable may have this name: `[A-Za-z][A-Za-z0-9_]{0,63}`.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl UrlTemplate {
    /// The most variables that one may have.
    pub const VARIABLES_MAX: usize = 16;

    /// Tells the variables in a text from the rest of it. Braces mean variables and nothing else. Whether the whole makes
    /// a URL is checked by whoever reads one.
    ///
    /// # Errors
    /// A sentence that says where the text goes wrong. It does not repeat the text, which may hold a secret.
    pub fn parse(text: &str) -> Result<UrlTemplate, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let place = |rest: &str| text.chars().count() - rest.chars().count() + 1;
        while let Some((before, at)) = rest.find(['{', '}']).and_then(|at| rest.split_at_checked(at)) {
            let Some(inside) = at.strip_prefix('{') else {
                return Err(format!("has a }} without its {{ at character {}", place(at)));
            };
            let Some((name, after)) = inside.split_once('}') else {
                return Err(format!("has a {{ without its }} at character {}", place(at)));
            };
            if !is_variable_name(name) {
                return Err(format!(
                    "has braces at character {} around what is not the name of a variable: a letter, then at most 63 letters, digits or _; write a brace that is not one as %7B or %7D",
                    place(at)
                ));
            }
            if !before.is_empty() {
                pieces.push(Piece::Literal(before.into()));
            }
            pieces.push(Piece::Variable(name.into()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        let template = UrlTemplate::new(pieces);
        if template.variables().count() > Self::VARIABLES_MAX {
            return Err(format!("has more than {} variables", Self::VARIABLES_MAX));
        }
        Ok(template)
    }

    /// A template of these pieces. Whether they make a URL is checked by whoever reads one.
    #[must_use]
    pub fn new(pieces: Vec<Piece>) -> UrlTemplate {
        UrlTemplate { pieces: pieces.into() }
    }

    /// A URL without variables, as it goes out.
    #[must_use]
    pub fn fixed(text: &str) -> UrlTemplate {
        UrlTemplate { pieces: [Piece::Literal(text.into())].into() }
    }

    /// The stretches in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text, if there is no variable in it.
    #[must_use]
    pub fn as_fixed(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The names of its variables, in the order in which they stand.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(&**name),
            Piece::Literal(_) => None,
        })
    }
}

/// As it was written, with `{name}` for each variable.
impl fmt::Display for UrlTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.write_str(text)?,
                Piece::Variable(name) => write!(out, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

/// A URL's query may hold a secret.
impl fmt::Debug for UrlTemplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[url]")
    }
}

/// Where a webhook's requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An absolute http or https URL without user info or fragment; variables in path and query only.
    Url(UrlTemplate),
    /// A client's base URL, with this path and query behind it.
    Client {
        /// The client.
        client: ClientId,
        /// Empty, or begins with a slash.
        path: UrlTemplate,
    },
}

impl Target {
    /// The names of its variables, in the order in which they stand.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        match self {
            Target::Url(template) | Target::Client { path: template, .. } => template.variables(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Vec<String> {
        let template = UrlTemplate::parse(text).unwrap_or_else(|rule| panic!("{text}: {rule}"));
        assert_eq!(template.to_string(), text);
        template.variables().map(str::to_owned).collect()
    }

    #[test]
    fn braces_are_variables_and_the_rest_stays_as_it_is() {
        assert_eq!(variables(""), [""; 0]);
        assert_eq!(variables("https://a.example/x?y=1"), [""; 0]);
        assert_eq!(variables("/events/{eventId}"), ["eventId"]);
        assert_eq!(variables("{a}{B}/{a}ä{c_1}"), ["a", "B", "a", "c_1"]);
        assert_eq!(UrlTemplate::parse("/x").unwrap().as_fixed(), Some("/x"));
        assert_eq!(UrlTemplate::parse("").unwrap().as_fixed(), Some(""));
        assert_eq!(UrlTemplate::parse("/{a}").unwrap().as_fixed(), None);
        let long = format!("{{{}}}", "a".repeat(64));
        assert_eq!(variables(&long).len(), 1);
        assert_eq!(variables(&"{a}".repeat(16)).len(), 16);
    }

    #[test]
    fn what_is_not_a_variable_is_refused_with_its_place_and_without_the_text() {
        let long = format!("s/{{{}}}", "a".repeat(65));
        for (text, says) in [
            ("s/{", "{ without its } at character 3"),
            ("s/{a", "{ without its } at character 3"),
            ("s/}", "} without its { at character 3"),
            ("ä/{a}}", "} without its { at character 6"),
            ("s/{}", "at character 3 around"),
            ("s/{a b}", "at character 3 around"),
            ("s/{{a}}", "at character 3 around"),
            ("s/{a{b}}", "at character 3 around"),
            ("s/{1a}", "at character 3 around"),
            ("s/{_a}", "at character 3 around"),
            ("s/{a-b}", "at character 3 around"),
            ("s/{ä}", "at character 3 around"),
            ("s/{a/b}", "at character 3 around"),
            (&long, "at character 3 around"),
            (&"{a}".repeat(17), "more than 16 variables"),
        ] {
            let rule = UrlTemplate::parse(text).unwrap_err();
            assert!(rule.contains(says), "{text}: {rule}");
            assert!(!rule.contains("s/"), "{text}: {rule}");
        }
    }
}
