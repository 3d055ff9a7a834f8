//! Commands that people type, and the grammar by which their parts are found. PURE.
//!
//! A command is fixed words, then parts with one word between each two: `/track [task] in [project]`. People write `in`
//! within parts too, so a text is split from the right, each time at the last place where the word can stand. What is in
//! quotes or brackets is never split. It takes time in proportion to the text, whatever the text is.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use cel::common::types::Type;
use cel::common::value::{StaticVal, Val};

use super::meter::text_steps;
use crate::model::is_variable_name;

/// The variable that holds the grammar.
pub(super) const VARIABLE: &str = "@grammar";
/// The most commands of one catalogue.
const MAX_COMMANDS: usize = 64;
/// The most parts of one command.
const MAX_PARTS: usize = 8;
/// The longest command as it is typed into a catalogue, in bytes.
const MAX_BYTES: usize = 200;

static GRAMMAR: Type = Type::new_unspecified_type("@grammar");

/// The commands of a catalogue.
#[derive(Debug, Clone)]
pub(super) struct Grammar(Arc<Vec<Command>>);

/// One command.
#[derive(Debug)]
struct Command {
    /// The words that it begins with.
    head: Vec<Box<str>>,
    /// The same with one blank between each two: its name.
    name: Box<str>,
    /// As it was typed.
    usage: Box<str>,
    /// The names of its parts, each with the word before it; the first has none.
    parts: Vec<(Option<Box<str>>, Box<str>)>,
}

/// What was meant by a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meant<'g> {
    pub(super) name: &'g str,
    pub(super) usage: &'g str,
    /// Those parts that were given, in the order of the command.
    pub(super) parts: Vec<(&'g str, String)>,
}

impl Grammar {
    /// Reads commands. An error has the number of the one that is wrong, counted from 0.
    pub(super) fn new<'t>(commands: impl IntoIterator<Item = &'t str>) -> Result<Grammar, (usize, String)> {
        let mut known: Vec<Command> = Vec::new();
        for (index, text) in commands.into_iter().enumerate() {
            if index == MAX_COMMANDS {
                return Err((index, format!("there must be at most {MAX_COMMANDS} commands")));
            }
            let command = Command::new(text).map_err(|problem| (index, problem))?;
            if known.iter().any(|other| same_words(&other.head, &command.head)) {
                return Err((index, format!("{} is already a command", command.name)));
            }
            known.push(command);
        }
        Ok(Grammar(Arc::new(known)))
    }

    /// What is meant by a text; `None` if it begins with no command. Of two commands the one with more words counts.
    pub(super) fn read(&self, text: &str) -> Option<Meant<'_>> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let begun = |command: &&Command| {
            words.get(..command.head.len()).is_some_and(|head| same_words(head, &command.head))
        };
        let command = self.0.iter().filter(begun).max_by_key(|command| command.head.len())?;
        let rest = words.get(command.head.len()..).unwrap_or_default().join(" ");
        Some(Meant { name: &command.name, usage: &command.usage, parts: command.split(&rest) })
    }

    /// Steps for reading a text.
    pub(super) fn steps(&self, text: &str) -> u64 {
        let parts = self.0.iter().map(|command| command.parts.len()).max().unwrap_or_default();
        text_steps(text).saturating_mul(parts as u64 + 2).saturating_add(self.0.len() as u64)
    }
}

/// Letters of either case are the same.
fn same_word(a: &str, b: &str) -> bool {
    a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

fn same_words<A: AsRef<str>, B: AsRef<str>>(a: &[A], b: &[B]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_word(a.as_ref(), b.as_ref()))
}

impl Command {
    fn new(usage: &str) -> Result<Command, String> {
        if usage.len() > MAX_BYTES {
            return Err(format!("a command must have at most {MAX_BYTES} bytes"));
        }
        let words: Vec<&str> = usage.split_whitespace().collect();
        let is_part = |word: &&&str| word.starts_with('[');
        let head: Vec<Box<str>> =
            words.iter().take_while(|word| !is_part(word)).map(|word| Box::from(*word)).collect();
        if head.is_empty() {
            return Err("a command must begin with its name: /track [task] in [project]".to_owned());
        }
        let mut parts: Vec<(Option<Box<str>>, Box<str>)> = Vec::new();
        let mut between: Option<&str> = None;
        for word in words.iter().skip(head.len()) {
            let Some(name) = word.strip_prefix('[') else {
                if between.replace(word).is_some() {
                    return Err("between two parts there must be one word, like `in`".to_owned());
                }
                continue;
            };
            let name = name.strip_suffix(']').filter(|name| is_variable_name(name));
            let name = name.ok_or(
                "a part must be a name in brackets, a letter, then at most 63 letters, digits or _: [task]",
            )?;
            if !parts.is_empty() && between.is_none() {
                return Err("between two parts there must be one word, like `in`".to_owned());
            }
            if parts.iter().any(|(_, known)| **known == *name) {
                return Err(format!("[{name}] is there twice"));
            }
            parts.push((between.take().map(Box::from), name.into()));
        }
        if between.is_some() {
            return Err("after the last part there must be nothing".to_owned());
        }
        if parts.len() > MAX_PARTS {
            return Err(format!("a command must have at most {MAX_PARTS} parts"));
        }
        let stray = |word: &str| word.contains(['[', ']', '"']);
        if head.iter().chain(parts.iter().filter_map(|(word, _)| word.as_ref())).any(|word| stray(word)) {
            return Err("brackets must be around parts, with blanks around them".to_owned());
        }
        Ok(Command { name: head.join(" ").into(), head, usage: usage.into(), parts })
    }

    /// The parts of what stands after the command: trimmed, with one blank between each two words.
    fn split(&self, rest: &str) -> Vec<(&str, String)> {
        let kept = kept_together(rest);
        let words = words(rest, &kept);
        let mut found = Vec::with_capacity(self.parts.len());
        let mut end = words.len();
        for (before, name) in self.parts.iter().rev() {
            let start = match before {
                None => 0,
                Some(before) => {
                    let is_it = |at: &usize| {
                        words.get(*at).is_some_and(|word| {
                            word.is_free && rest.get(word.place.clone()).is_some_and(|w| same_word(w, before))
                        })
                    };
                    // With text on both sides.
                    let Some(at) = (1..end.saturating_sub(1)).rev().find(is_it) else { continue };
                    at + 1
                }
            };
            let (Some(first), Some(last)) =
                (words.get(start), end.checked_sub(1).and_then(|at| words.get(at)))
            else {
                continue;
            };
            let place = first.place.start..last.place.end;
            let is_wrapped = kept.contains(&place);
            let place = if is_wrapped { place.start + 1..place.end - 1 } else { place };
            let text = rest.get(place).unwrap_or_default().trim();
            if !text.is_empty() {
                found.push((&**name, text.to_owned()));
            }
            end = start.saturating_sub(1);
        }
        found.reverse();
        found
    }
}

/// A word, and whether a text may be split at it.
struct Word {
    place: Range<usize>,
    is_free: bool,
}

fn words(text: &str, kept: &[Range<usize>]) -> Vec<Word> {
    let mut kept = kept.iter().peekable();
    let mut start = 0;
    let word = |word: &str| {
        let place = start..start + word.len();
        start = place.end + 1;
        while kept.next_if(|range| range.end <= place.start).is_some() {}
        let is_free = kept.peek().is_none_or(|range| place.end <= range.start);
        Word { place, is_free }
    };
    if text.is_empty() { Vec::new() } else { text.split(' ').map(word).collect() }
}

/// What stands in quotes or brackets that begin a word, these included, from left to right; of those in one another the
/// outermost. What has no end is a character like any other.
fn kept_together(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut quote: Option<usize> = None;
    let last_quote = text.rfind('"');
    let mut begins = true;
    for (at, char) in text.char_indices() {
        match char {
            '"' if quote.is_some() => {
                let start = quote.take().unwrap_or(at);
                add(&mut found, start..at + 1);
            }
            _ if quote.is_some() => {}
            '"' if begins && last_quote.is_some_and(|last| last > at) => quote = Some(at),
            '[' => open.push((at, begins)),
            ']' => {
                if let Some((start, true)) = open.pop() {
                    add(&mut found, start..at + 1);
                }
            }
            _ => {}
        }
        begins = char == ' ';
    }
    found
}

/// Adds a range that ends after all others, in place of those within it.
fn add(found: &mut Vec<Range<usize>>, range: Range<usize>) {
    while found.last().is_some_and(|last| last.start > range.start) {
        found.pop();
    }
    found.push(range);
}

impl Val for Grammar {
    fn get_type(&self) -> &Type {
        &GRAMMAR
    }

    fn cel_type() -> &'static Type {
        &GRAMMAR
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Grammar {}
