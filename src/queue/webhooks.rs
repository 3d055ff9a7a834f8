//! An org's webhooks, in order of name. A sorted list: most orgs have one or two, and there may be 100,000 orgs.

use std::sync::Arc;

use crate::model::{Webhook, WebhookId};

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Webhooks(Vec<Arc<Webhook>>);

impl FromIterator<Webhook> for Webhooks {
    fn from_iter<T: IntoIterator<Item = Webhook>>(webhooks: T) -> Webhooks {
        let mut all = Webhooks::default();
        for webhook in webhooks {
            all.insert(webhook);
        }
        all
    }
}

impl Webhooks {
    /// The webhook of this name.
    #[must_use]
    pub fn get(&self, id: &WebhookId) -> Option<&Arc<Webhook>> {
        self.0.get(self.place(id).ok()?)
    }

    /// All of them, in order of name.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts it in, for the one of its name if there was one.
    pub(super) fn insert(&mut self, webhook: Webhook) {
        match self.place(&webhook.id) {
            Ok(at) => {
                if let Some(known) = self.0.get_mut(at) {
                    *known = Arc::new(webhook);
                }
            }
            Err(at) => {
                // One by one: doubling would waste more than it saves on lists this short.
                self.0.reserve_exact(1);
                self.0.insert(at, Arc::new(webhook));
            }
        }
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, id: &WebhookId) -> Option<Arc<Webhook>> {
        self.place(id).ok().map(|at| self.0.remove(at))
    }

    fn place(&self, id: &WebhookId) -> Result<usize, usize> {
        self.0.binary_search_by(|webhook| webhook.id.cmp(id))
    }
}
