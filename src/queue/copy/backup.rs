//! Backing up while everything goes on.
//!
//! Every write is recorded from the start (`tape.rs`); then all rows are read as they are at that moment, no two at the same
//! one, and sent; what was recorded is sent in order, and at the end one more commit is waited for. Rows first, then the
//! changes in their order: that is the store exactly as that commit left it. Records stay sealed.
//!
//! The reader sets the pace, and nobody else waits for it: one that takes a block too slowly, or lets more be written
//! meanwhile than is held in memory, gets an error instead of the end.

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::file::Writer;
use crate::clock;
use crate::queue::store::{Store, Trouble};
use crate::queue::{Queue, Refused, StoreHealth};

/// Blocks that wait for the reader.
const BLOCKS_WAITING: usize = 8;
/// How long one block may wait for the reader.
const BLOCK_MAX: Duration = Duration::from_secs(60);

/// Why a backup broke off.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailed {
    /// Nobody reads it any more.
    #[error("nobody reads the backup any more")]
    Unread,
    /// The reader is too slow.
    #[error("the backup is read too slowly: more was written meanwhile than is kept for it, or nothing was read for {} s", BLOCK_MAX.as_secs())]
    Slow,
    /// The store failed or is closing.
    #[error("the store does not accept writes any more")]
    Closed,
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
}

/// A part of a backup. The one after which there are no more is marked, so that one that breaks off is never taken for whole.
#[derive(Debug)]
pub enum Part {
    /// More follows.
    More(Bytes),
    /// The end.
    Last(Bytes),
}

impl Queue {
    /// Backs up the store as one of the next commits leaves it. `held` is let go of when it has ended.
    pub async fn backup(
        &self,
        held: impl Send + 'static,
    ) -> Result<mpsc::Receiver<Result<Part, BackupFailed>>, Refused> {
        self.commit(0, |writer| {
            writer.store.tape.start();
            Ok(Ok(()))
        })
        .await?;
        let (sender, receiver) = mpsc::channel(BLOCKS_WAITING);
        let (queue, runtime) = (self.clone(), Handle::current());
        tokio::task::spawn_blocking(move || {
            let out = Out { queue: &queue, runtime: &runtime, sender: &sender };
            let sent = send(queue.store(), &out);
            queue.store().tape.stop();
            if let Err(failed) = sent {
                tracing::warn!(why = %failed, "a backup broke off");
                // If there is no room, the reader sees that the end is missing.
                sender.try_send(Err(failed)).ok();
            }
            drop(held);
        });
        Ok(receiver)
    }
}

/// Where the parts go.
struct Out<'a> {
    queue: &'a Queue,
    runtime: &'a Handle,
    sender: &'a mpsc::Sender<Result<Part, BackupFailed>>,
}

impl Out<'_> {
    /// Waits until there is room for it, unless that takes too long or the store closes.
    fn send(&self, part: Part) -> Result<(), BackupFailed> {
        let mut health = self.queue.health();
        self.runtime.block_on(async {
            tokio::select! {
                sent = tokio::time::timeout(BLOCK_MAX, self.sender.send(Ok(part))) => match sent {
                    Ok(sent) => sent.map_err(|_| BackupFailed::Unread),
                    Err(_) => Err(BackupFailed::Slow),
                },
                _ = health.wait_for(|health| matches!(health, StoreHealth::Failed(_))) => Err(BackupFailed::Closed),
            }
        })
    }

    fn send_block(&self, block: Option<Vec<u8>>) -> Result<(), BackupFailed> {
        block.map_or(Ok(()), |block| self.send(Part::More(block.into())))
    }
}

fn unreadable(trouble: &Trouble) -> BackupFailed {
    BackupFailed::Unreadable(trouble.to_string())
}

fn send(store: &Store, out: &Out<'_>) -> Result<(), BackupFailed> {
    let ring = store.sealer.ring();
    let keys: Vec<_> = ring.ids().filter(|id| store.may_have_sealed(*id)).collect();
    let (mut writer, head) = Writer::new(ring, &keys, clock::now())
        .ok_or_else(|| BackupFailed::Unreadable("no key".to_owned()))?;
    out.send(Part::More(head.into()))?;
    for tree in store.all_trees() {
        let name = tree.name();
        for row in tree.rows::<[u8; 0]>(..) {
            let row = row.map_err(|trouble| unreadable(&trouble))?;
            if let Some(block) = writer.row(&name, &row.key, &row.sealed) {
                out.send(Part::More(block.into()))?;
                send_changes(store, &mut writer, out)?;
            }
        }
    }
    // What is durable once this is answered is what the backup holds.
    let barrier = out.queue.commit(0, |_| Ok(Ok(())));
    out.runtime.block_on(barrier).map_err(|_| BackupFailed::Closed)?;
    let commit = send_changes(store, &mut writer, out)?;
    store.tape.stop();
    out.send_block(writer.close())?;
    out.send(Part::Last(writer.end(commit).into()))
}

/// Sends what was written meanwhile and is durable. Answers the number of the last commit that is in it.
fn send_changes(store: &Store, writer: &mut Writer, out: &Out<'_>) -> Result<u64, BackupFailed> {
    let (changes, commit) = store.tape.fetch().ok_or(BackupFailed::Slow)?;
    for change in &changes {
        out.send_block(writer.change(change))?;
    }
    Ok(commit)
}
