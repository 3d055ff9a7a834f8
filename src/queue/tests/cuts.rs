//! Appends that are cut off after each of their writes: what was written is on disk, the rest never comes.

use std::cell::Cell;

use super::super::store::Trouble;
use super::*;

thread_local! {
    /// Writes that the committer of a test may still make.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Fails where the writes end.
pub(in crate::queue) fn before_write() -> Result<(), Trouble> {
    let left = LEFT.get().checked_sub(1);
    let left = left.ok_or_else(|| Trouble::Mark(std::io::Error::other("the test's writes end here")))?;
    LEFT.set(if LEFT.get() == usize::MAX { usize::MAX } else { left });
    Ok(())
}

impl Pair {
    /// From now on only so many writes; none at all after a reopening.
    pub(super) async fn allow(&self, writes: usize) {
        let set = move |_: &mut super::super::writer::Writer| {
            LEFT.set(writes);
            Ok(Ok(()))
        };
        self.queue().commit(0, set).await.unwrap();
    }

    /// Opens the store again whose committer has failed, once its thread has let go of it.
    pub(super) fn reopen_failed(&mut self) {
        self.queue = None;
        let since = std::time::Instant::now();
        self.queue = Some(loop {
            match Queue::open(&options(self.dir.path())) {
                Err(OpenError::Locked { .. }) if since.elapsed().as_secs() < 30 => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        });
    }
}

#[test]
fn a_change_that_is_cut_off_anywhere_leaves_nothing_or_all_of_it() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.append(0, 100, 1).await;
        let events = [(100, 1), (60_000, 2), (100, 0), (100, 1)];
        let events = events.map(|(size, hooks)| pair.event_of("chg", 0, size, hooks)).to_vec();
        let key = |pair: &Pair| pair.queue().change_key(&"c".parse().unwrap(), &[b"same"]);
        // Two chunks, four deliveries, the seen id, the state record.
        for writes in 0..=8 {
            assert_eq!(pair.queue().repeated_change(&pair.org(0), key(&pair), clock()).await, Ok(None));
            let change = AppendChange {
                org: pair.org(0),
                key: Some(key(&pair)),
                events: events.clone(),
                accepted_at: clock(),
            };
            // The batch before, which sets the limit, makes a write of its own at its end.
            pair.allow(1 + writes).await;
            let refused = pair.queue().append_change(change).await;
            assert!(matches!(refused, Err(Refused::Unavailable(_))), "{writes}: {refused:?}");
            if writes == 8 {
                // With the state record it counts as a whole, although nobody was told.
                for append in &events {
                    pair.orgs[0].push(append);
                }
            }
            pair.reopen_failed();
            pair.check().await;
        }
        let repeated = pair.queue().repeated_change(&pair.org(0), key(&pair), clock()).await;
        assert!(repeated.unwrap().is_some_and(|before| before.duplicate && before.events.len() == 4));
        pair.reopen().await;
        pair.check().await;
    });
}

/// The commonest append, and the cheapest: its delivery is whole by itself, and recovery writes the rest again.
#[test]
fn an_event_of_one_delivery_takes_three_writes_and_counts_from_the_first() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.append(0, 100, 1).await;
        for writes in 0..=3 {
            let append = pair.event_of("evt", 0, 100, 1);
            pair.allow(1 + writes).await;
            let answer = pair.queue().append(vec![append.clone()]).await.remove(0);
            // The delivery, the seen id, the number of the commit; the state follows before the delivery leaves.
            assert_eq!(answer.is_ok(), writes == 3, "{writes}: {answer:?}");
            if writes > 0 {
                pair.orgs[0].push(&append);
            }
            if writes < 3 {
                pair.reopen_failed();
            } else {
                pair.reopen().await;
            }
            pair.check().await;
            let again = pair.queue().append(vec![append.clone()]).await.remove(0).unwrap();
            assert_eq!(again.duplicate, writes > 0, "{writes}");
            if writes == 0 {
                pair.orgs[0].push(&append);
            }
            pair.check().await;
        }
    });
}
