//! The catalogue in force, for those who outlive a reload of the configuration.

use std::sync::{Arc, PoisonError, RwLock};

use super::Catalogue;

/// A catalogue that can be exchanged while it is in use. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Arc<Catalogue>>>);

impl Current {
    /// Begins with this one.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> Current {
        Current(Arc::new(RwLock::new(catalogue)))
    }

    /// The one in force now.
    #[must_use]
    pub fn get(&self) -> Arc<Catalogue> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another one in force.
    pub fn set(&self, catalogue: Arc<Catalogue>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
    }
}

impl Default for Current {
    /// The catalogues that come along.
    fn default() -> Current {
        Current::new(Catalogue::shipped())
    }
}
