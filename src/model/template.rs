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

impl UrlTemplate {
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
