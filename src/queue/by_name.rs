//! An org's webhooks, clients and sources, in order of name. A sorted list: most orgs have one or two, and there may be 100,000
//! orgs.

use std::sync::Arc;

use crate::model::{Client, ClientId, Source, SourceId, Webhook, WebhookId};

/// Something that an org has under a name.
pub trait Named {
    /// The name's type.
    type Id: Ord;

    /// Its name.
    fn id(&self) -> &Self::Id;
}

impl Named for Webhook {
    type Id = WebhookId;
    fn id(&self) -> &WebhookId {
        &self.id
    }
}

impl Named for Client {
    type Id = ClientId;
    fn id(&self) -> &ClientId {
        &self.id
    }
}

impl Named for Source {
    type Id = SourceId;
    fn id(&self) -> &SourceId {
        &self.id
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct ByName<T>(Vec<Arc<T>>);

/// An org's webhooks.
pub type Webhooks = ByName<Webhook>;
/// An org's clients.
pub type Clients = ByName<Client>;
/// An org's sources.
pub type Sources = ByName<Source>;

impl<T> Default for ByName<T> {
    fn default() -> ByName<T> {
        ByName(Vec::new())
    }
}

impl<T: Named> FromIterator<T> for ByName<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> ByName<T> {
        let mut all = ByName::default();
        for item in items {
            all.insert(item);
        }
        all
    }
}

impl<T: Named> ByName<T> {
    /// The one of this name.
    #[must_use]
    pub fn get(&self, id: &T::Id) -> Option<&Arc<T>> {
        self.0.get(self.place(id).ok()?)
    }

    /// All of them, in order of name.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
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
    pub(super) fn insert(&mut self, item: T) {
        match self.place(item.id()) {
            Ok(at) => {
                if let Some(known) = self.0.get_mut(at) {
                    *known = Arc::new(item);
                }
            }
            Err(at) => {
                // One by one: doubling would waste more than it saves on lists this short.
                self.0.reserve_exact(1);
                self.0.insert(at, Arc::new(item));
            }
        }
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, id: &T::Id) -> Option<Arc<T>> {
        self.place(id).ok().map(|at| self.0.remove(at))
    }

    fn place(&self, id: &T::Id) -> Result<usize, usize> {
        self.0.binary_search_by(|item| item.id().cmp(id))
    }
}
