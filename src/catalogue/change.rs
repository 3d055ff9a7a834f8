//! A change of an entity, and what a catalogue makes of it. PURE.

use bytes::Bytes;

use super::Catalogue;
use super::rules::Refused;
use crate::config::nearest::nearest;
use crate::model::{EventType, OrgId, OrgNumber, UnixMs};

/// An entity that was created, changed or deleted, as the application hands it in.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What it is, for example `absence.event`.
    pub entity: &'a str,
    /// The JSON before; `None` for null: it was created.
    pub old: Option<&'a str>,
    /// The JSON after; `None` for null: it was deleted.
    pub new: Option<&'a str>,
    /// The JSON that says who did it.
    pub actor: Option<&'a str>,
    /// Given, or made where none was given.
    pub id: &'a str,
    /// When it was accepted.
    pub at: UnixMs,
    /// Whose it is.
    pub org: &'a OrgId,
    /// The org's number in this daemon.
    pub org_number: OrgNumber,
}

/// An event that a change fires, or that a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Its type.
    pub event_type: EventType,
    /// Its payload's bytes, JSON.
    pub payload: Bytes,
}

/// What bounds the events of one change or request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeLimits {
    /// Events.
    pub max_events: usize,
    /// Steps over lists, comparisons and lengths of text, counted.
    pub max_cost: u64,
    /// Bytes of one payload.
    pub max_payload_bytes: usize,
}

/// Why a change fires nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRefused {
    /// No catalogue has rules for the entity. Holds the nearest one that has, if there is one.
    UnknownEntity {
        /// The nearest one that has.
        nearest: Option<String>,
        /// All that have.
        known: Vec<String>,
    },
    /// By the rules of the entity. Fields are JSON Pointers that begin with `/old`, `/new` or `/actor`.
    Rules(Refused),
}

impl From<Refused> for ChangeRefused {
    fn from(refused: Refused) -> ChangeRefused {
        ChangeRefused::Rules(refused)
    }
}

impl Catalogue {
    /// The events that a change fires, in order.
    ///
    /// # Errors
    /// Why it is refused, whole.
    pub fn fire(&self, change: &Change<'_>, limits: &ChangeLimits) -> Result<Vec<Fired>, ChangeRefused> {
        let entities = || self.products.iter().flat_map(|product| product.rules.entities());
        let found = self.products.iter().find(|product| product.rules.has(change.entity));
        match found {
            Some(product) => product.rules.fire(change, limits),
            None => Err(ChangeRefused::UnknownEntity {
                nearest: nearest(change.entity, entities()).map(str::to_owned),
                known: entities().map(str::to_owned).collect(),
            }),
        }
    }
}
