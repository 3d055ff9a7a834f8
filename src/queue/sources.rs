//! Sources: written through the committer, in force once durable. What comes there is in `request.rs`.

use super::directory::Org;
use super::key::{self, InOrgs};
use super::record::SourceRecord;
use super::store::Trouble;
use super::writer::{Applied, Writer};
use super::{Queue, Refused};
use crate::model::{OrgId, OrgNumber, Source, SourceId};

impl Queue {
    /// Creates (`true`) or replaces (`false`; its token and `created_at` are kept) a source.
    pub async fn put_source(&self, org: &OrgId, source: Source) -> Result<bool, Refused> {
        let org = org.clone();
        self.commit(0, move |writer| put_source(writer, &org, source)).await
    }

    /// Changes a source as it is when its turn comes in the committer.
    pub async fn change_source(
        &self,
        org: &OrgId,
        source: &SourceId,
        change: impl FnOnce(&mut Source) + Send + 'static,
    ) -> Result<(), Refused> {
        let (org, source) = (org.clone(), source.clone());
        self.commit(0, move |writer| change_source(writer, &org, &source, change)).await
    }

    /// Deletes a source.
    pub async fn delete_source(&self, org: &OrgId, source: &SourceId) -> Result<(), Refused> {
        let (org, source) = (org.clone(), source.clone());
        self.commit(0, move |writer| delete_source(writer, &org, &source)).await
    }
}

/// Where a source lies.
pub(super) fn place(writer: &Writer, org: OrgNumber, source: &SourceId) -> [u8; 21] {
    key::of_name(InOrgs::Source, org, &writer.store.sealer.hash([source.as_str().as_bytes()]))
}

/// Creates (`true`) or replaces a source; one that is replaced keeps its token.
fn put_source(writer: &mut Writer, org: &OrgId, mut source: Source) -> Applied<bool> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    let known = org.sources.get(&source.id);
    let created = known.is_none();
    if let Some(known) = known {
        (source.token, source.token_at, source.created_at) = (known.token, known.token_at, known.created_at);
    }
    save_source(writer, &mut org, source)?;
    writer.set_org(org);
    Ok(Ok(created))
}

fn save_source(writer: &Writer, org: &mut Org, source: Source) -> Result<(), Trouble> {
    let place = place(writer, org.number, &source.id);
    writer.store.orgs.put(&place, &SourceRecord::from(&source))?;
    org.sources.insert(source);
    Ok(())
}

/// Changes a source as it is now.
fn change_source(
    writer: &mut Writer,
    org: &OrgId,
    source: &SourceId,
    change: impl FnOnce(&mut Source),
) -> Applied<()> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    let Some(known) = org.sources.get(source) else { return Ok(Err(Refused::UnknownSource)) };
    let mut source = Source::clone(known);
    change(&mut source);
    save_source(writer, &mut org, source)?;
    writer.set_org(org);
    Ok(Ok(()))
}

/// Deletes a source: nobody can post there from then on.
fn delete_source(writer: &mut Writer, org: &OrgId, source: &SourceId) -> Applied<()> {
    let Some(mut org) = writer.org(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if org.sources.remove(source).is_none() {
        return Ok(Err(Refused::UnknownSource));
    }
    writer.store.orgs.remove(&place(writer, org.number, source))?;
    writer.set_org(org);
    Ok(Ok(()))
}
