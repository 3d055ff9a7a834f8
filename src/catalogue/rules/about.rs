//! What rules are about, a change of an entity or a request: the names that expressions can read, and what each holds. PURE.

use bytes::Bytes;
use cel::common::types::{CelInt, CelString};

use super::json;
use super::meter::Meter;
use super::value::{Json, Member, Node};
use super::{Fail, Refused};
use crate::catalogue::{Change, IncomingRequest};
use crate::model::{OrgId, OrgNumber, UnixMs};

/// A kind of thing that rules are about.
pub(super) struct About {
    /// Its word, and the variable that tells of it.
    pub(super) name: &'static str,
    /// The members of that variable.
    pub(super) members: &'static [&'static str],
    /// The variables that hold what came with it.
    pub(super) given: &'static [&'static str],
    /// Where the field of a refusal may be, in words.
    pub(super) fields: &'static str,
    /// Whether someone waits for an answer.
    pub(super) is_answered: bool,
}

pub(super) static CHANGE: About = About {
    name: "change",
    members: &["id", "number", "at", "org_number"],
    given: &["old", "new", "actor"],
    fields: "/old, /new or /actor",
    is_answered: false,
};

pub(super) static REQUEST: About = About {
    name: "request",
    members: &["kind", "source", "event", "id", "number", "at", "org_number"],
    given: &["body"],
    fields: "/body",
    is_answered: true,
};

impl About {
    /// What every expression can read.
    pub(super) fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.given.iter().copied().chain([self.name, "org", "data", "options"])
    }
}

/// One thing that rules are applied to.
pub(super) struct Subject<'a> {
    pub(super) about: &'static About,
    /// What came with it: where what is missing is looked for.
    pub(super) given: Given,
    /// What can be known of the thing itself.
    pub(super) itself: Node,
    pub(super) org: &'a OrgId,
}

/// What came with it, by the names of its variables.
pub(super) struct Given(pub(super) Vec<(&'static str, Json)>);

impl Given {
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl<'a> Subject<'a> {
    pub(super) fn of_change(change: &Change<'a>, meter: &Meter) -> Result<Subject<'a>, Refused> {
        let given = [("old", change.old), ("new", change.new), ("actor", change.actor)];
        let given = given.into_iter().map(|(name, text)| {
            let text = text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
            read(&CHANGE, name, text.as_ref(), meter)
        });
        let mut members = vec![text("id", Some(change.id)), int("number", number_of([change.id.as_bytes()]))];
        members.extend(when_and_whose(change.at, change.org_number));
        Ok(Subject {
            about: &CHANGE,
            given: Given(given.collect::<Result<_, _>>()?),
            itself: Node::object(members, None),
            org: change.org,
        })
    }

    pub(super) fn of_request(request: &IncomingRequest<'a>, meter: &Meter) -> Result<Subject<'a>, Refused> {
        let given = Given(vec![read(&REQUEST, "body", Some(request.body), meter)?]);
        // Without an id only what was sent, where and when tells requests apart.
        let at = request.at.0.to_le_bytes();
        let number = match request.id {
            Some(id) => number_of([id.as_bytes()]),
            None => number_of([request.source.as_bytes(), &at, request.body]),
        };
        let mut members = vec![
            text("kind", Some(request.kind)),
            text("source", Some(request.source)),
            text("event", request.event),
            text("id", request.id),
            int("number", number),
        ];
        members.extend(when_and_whose(request.at, request.org_number));
        Ok(Subject { about: &REQUEST, given, itself: Node::object(members, None), org: request.org })
    }
}

fn read(
    about: &About,
    name: &'static str,
    text: Option<&Bytes>,
    meter: &Meter,
) -> Result<(&'static str, Json), Refused> {
    let Some(text) = text else { return Ok((name, Json::Null)) };
    match json::read(text, meter) {
        Ok(value) => Ok((name, value)),
        Err(json::Flaw::Spent) => Err(Fail(about).too_costly("reading it")),
        Err(flaw) => Err(Refused::Failed { field: format!("/{name}"), problem: flaw.rule().to_owned() }),
    }
}

fn member(name: &str, value: Json) -> Member {
    Member { name: CelString::from(name.to_owned()), value }
}

fn text(name: &str, value: Option<&str>) -> Member {
    member(name, value.map_or(Json::Null, Json::text))
}

fn int(name: &str, value: i64) -> Member {
    member(name, Json::Int(CelInt::from(value)))
}

fn when_and_whose(at: UnixMs, org_number: OrgNumber) -> [Member; 2] {
    [int("at", at.0), int("org_number", i64::from(org_number.0))]
}

/// A number of at most 53 bits, so that every reader of JSON can hold it, and the same for the same bytes: FNV-1a.
fn number_of<const N: usize>(parts: [&[u8]; N]) -> i64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step);
    i64::try_from(hash >> 11).unwrap_or_default()
}
