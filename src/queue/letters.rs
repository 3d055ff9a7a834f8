//! What is done to several dead letters, in portions: each is a commit of its own, that holds nobody up for long.

use std::collections::VecDeque;

use super::settle;
use super::writer::{Applied, Writer};
use super::{Queue, Refused};
use crate::model::DeadLetterId;

/// Payload bytes in one commit. It has the committer's batch to itself.
const STEP_BYTES: u64 = 256 << 10;
/// What one takes beside its payload.
const LETTER_BYTES: u64 = 1 << 10;

/// What became of several dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Those that were there, and are done with.
    pub done: u64,
    /// Why the next one was refused, and with it those after it.
    pub refused: Option<Refused>,
}

/// Does it to one: the payload bytes that were written, or `None` if it is not there.
pub(super) type ToOne = fn(&mut Writer, DeadLetterId) -> Applied<Option<u64>>;

impl Queue {
    /// Appends these dead letters to their orgs' queues in this order, with fresh attempts. Those that are gone, or whose
    /// org is gone, are passed over; ends at the first that is refused.
    pub async fn revive(&self, ids: Vec<DeadLetterId>) -> Result<Changed, Refused> {
        self.each(ids, settle::revive).await
    }

    /// Removes these dead letters for good.
    pub async fn discard(&self, ids: Vec<DeadLetterId>) -> Result<Changed, Refused> {
        let remove: ToOne = |writer, id| Ok(Ok(settle::remove_letter(writer, id)?.then_some(0)));
        self.each(ids, remove).await
    }

    pub(super) async fn each(&self, ids: Vec<DeadLetterId>, change: ToOne) -> Result<Changed, Refused> {
        let mut total = Changed::default();
        let mut left = VecDeque::from(ids);
        let step_bytes = usize::try_from(STEP_BYTES).unwrap_or(usize::MAX);
        while !left.is_empty() && total.refused.is_none() {
            let ids = std::mem::take(&mut left);
            let step = self.commit(step_bytes, move |writer| step(writer, ids, change)).await;
            match step {
                Ok((step, rest)) => {
                    total.done += step.done;
                    (total.refused, left) = (step.refused, rest);
                }
                Err(refused) if total.done == 0 => return Err(refused),
                // What was done before stays done.
                Err(refused) => total.refused = Some(refused),
            }
        }
        Ok(total)
    }
}

/// Takes as many as make a commit. Answers the rest as well.
fn step(
    writer: &mut Writer,
    mut ids: VecDeque<DeadLetterId>,
    change: ToOne,
) -> Applied<(Changed, VecDeque<DeadLetterId>)> {
    let (mut step, mut bytes) = (Changed::default(), 0);
    while bytes < STEP_BYTES
        && let Some(id) = ids.pop_front()
    {
        bytes += LETTER_BYTES;
        match change(writer, id)? {
            Ok(Some(written)) => {
                step.done += 1;
                bytes += written;
            }
            Ok(None) => {}
            Err(refused) => {
                step.refused = Some(refused);
                break;
            }
        }
    }
    Ok(Ok((step, ids)))
}
