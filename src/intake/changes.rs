//! Derive: the events that a change of an entity fires. PURE.
//!
//! What fires is up to the catalogue's rules. One event that cannot be accepted refuses the change as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Rules;
pub use super::derive::Derived;
use super::derive::{NotDerived, Origin, events};
use crate::catalogue::{self, Change, ChangeLimits};
use crate::model::EventId;
use crate::queue::Org;

/// Why a change is refused, whole.
pub type ChangeRefused = NotDerived<catalogue::ChangeRefused>;

/// The events of a change with this id.
///
/// # Errors
/// Why it is refused.
pub fn derive(
    rules: &Rules<'_>,
    limits: &ChangeLimits,
    org: &Arc<Org>,
    id: &EventId,
    change: &Change<'_>,
) -> Result<Derived, ChangeRefused> {
    let fired = rules.catalogue.fire(change, limits).map_err(ChangeRefused::Rules)?;
    let parts = [("/new", change.new), ("/old", change.old), ("/actor", change.actor)];
    let origin = Origin { org, id, attributes: &BTreeMap::new(), at: change.at, parts: &parts };
    events(rules, &origin, fired)
}
