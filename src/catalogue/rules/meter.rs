//! What a change may cost: a budget of steps, and where it is charged. PURE.
//!
//! A step is one element or member that is looked at, [`TEXT_STEP`] bytes of text that are read or copied, or
//! [`NODES_STEP`] parts of an expression inside of a loop. What a loop will cost is charged before it runs. Once the
//! budget is used up every later charge fails, whatever became of the first failure: `||` and `all` can swallow it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cel::ExecutionError;
use cel::common::types::Type;
use cel::common::value::{StaticVal, Val};

/// Bytes of text for one step.
pub(super) const TEXT_STEP: usize = 64;
/// Parts of an expression for one step.
pub(super) const NODES_STEP: u64 = 8;

/// The name that the meter's failure has among errors of evaluation.
pub(super) const COST: &str = "@cost";

static METER: Type = Type::new_unspecified_type("@meter");

/// What is left of a budget.
#[derive(Debug)]
pub(super) struct Meter {
    left: AtomicU64,
    spent: AtomicBool,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent;

impl Meter {
    pub(super) fn new(budget: u64) -> Arc<Meter> {
        Arc::new(Meter { left: AtomicU64::new(budget), spent: AtomicBool::new(false) })
    }

    /// Takes steps off the budget. Each evaluation is of one thread: the order of the two does not matter.
    pub(super) fn charge(&self, steps: u64) -> Result<(), Spent> {
        let left = self.left.load(Ordering::Relaxed);
        if self.is_spent() || steps > left {
            self.spent.store(true, Ordering::Relaxed);
            return Err(Spent);
        }
        self.left.store(left - steps, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Uses up the rest: what is asked for has no price within it.
    pub(super) fn exhaust(&self) -> Spent {
        self.spent.store(true, Ordering::Relaxed);
        Spent
    }

    /// What was not used.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

impl From<Spent> for ExecutionError {
    fn from(_: Spent) -> Self {
        ExecutionError::function_error(COST, "over the budget")
    }
}

/// Steps for reading a text.
pub(super) fn text_steps(text: &str) -> u64 {
    (text.len() / TEXT_STEP) as u64 + 1
}

/// The meter as a value that expressions hand to the functions that charge it.
#[derive(Debug, Clone)]
pub(super) struct Purse(pub(super) Arc<Meter>);

impl Val for Purse {
    fn get_type(&self) -> &Type {
        &METER
    }

    fn cel_type() -> &'static Type {
        &METER
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Purse {}
