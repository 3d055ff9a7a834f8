//! When two values are the same. PURE.

use cel::common::types::{CelOptional, CelString};
use cel::common::value::Val;

use super::meter::{Meter, Spent, text_steps};
use super::value::{Node, Shape};

/// Whether two values are the same: lists by their elements in order, objects by their members in any order, numbers
/// by value whatever their types. Both sides are charged.
pub(super) fn same(a: &dyn Val, b: &dyn Val, meter: &Meter) -> Result<bool, Spent> {
    match (a.downcast_ref::<Node>(), b.downcast_ref::<Node>()) {
        (Some(a), Some(b)) => return same_nodes(a, b, meter),
        (None, None) => {}
        _ => return Ok(false),
    }
    if let (Some(a), Some(b)) = (a.downcast_ref::<CelString>(), b.downcast_ref::<CelString>()) {
        meter.charge(if a.len() == b.len() { text_steps(a) } else { 1 })?;
        return Ok(a.inner() == b.inner());
    }
    if let (Some(a), Some(b)) = (a.downcast_ref::<CelOptional>(), b.downcast_ref::<CelOptional>()) {
        return match (a.option(), b.option()) {
            (Some(a), Some(b)) => same(a, b, meter),
            (a, b) => Ok(a.is_none() && b.is_none()),
        };
    }
    meter.charge(1)?;
    Ok(a.equals(b))
}

fn same_nodes(a: &Node, b: &Node, meter: &Meter) -> Result<bool, Spent> {
    meter.charge(1)?;
    if a.is(b) {
        return Ok(true);
    }
    match (a.shape(), b.shape()) {
        (Shape::List(a), Shape::List(b)) if a.len() == b.len() => {
            for (a, b) in a.iter().zip(b) {
                if !same(a.as_val(), b.as_val(), meter)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Shape::Object(a), Shape::Object(b)) if a.members().len() == b.members().len() => {
            for member in a.members() {
                meter.charge(text_steps(&member.name))?;
                let Some(other) = b.get(&member.name) else { return Ok(false) };
                if !same(member.value.as_val(), other.as_val(), meter)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}
