//! What is done to many dead letters at once holds nobody up, keeps the disk's reserve, and leaves no ghosts.

use super::*;

impl Pair {
    /// Every dead letter of the first org, in order.
    fn letters(&self) -> Vec<DeadLetterId> {
        let org = self.org(0).number;
        self.orgs[0].dead.keys().map(|sequence| DeadLetterId { org, sequence: Sequence(*sequence) }).collect()
    }

    /// What the model says after all of them were revived, in order.
    fn all_revived(&mut self) {
        let model = &mut self.orgs[0];
        for mut item in std::mem::take(&mut model.dead).into_values() {
            item.sequence = model.next;
            model.next += 1;
            model.queue.push_back(item);
        }
    }
}

#[test]
fn large_letters_are_revived_in_commits_of_a_size_that_others_can_wait_for() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.bury_all(&[100_000; 12]).await;
        let commits = |pair: &Pair| pair.queue().figures().commit.read().count;
        let before = commits(&pair);
        let revived = pair.queue().revive(pair.letters()).await;
        assert_eq!(revived.map(|changed| changed.done), Ok(12));
        // Three of them are more than 256 KiB.
        assert!(commits(&pair) >= before + 4, "{} commits", commits(&pair) - before);
        pair.all_revived();
        pair.check().await;
        // Small ones share a commit.
        pair.apply(Action::Reopen).await;
        while !pair.orgs[0].queue.is_empty() {
            pair.apply(Action::Done { org: 0 }).await;
        }
        pair.bury_all(&[100; 12]).await;
        let before = commits(&pair);
        assert_eq!(pair.queue().revive(pair.letters()).await.map(|changed| changed.done), Ok(12));
        assert!(commits(&pair) <= before + 1);
        pair.all_revived();
        pair.check().await;
    });
}

#[test]
fn letters_are_not_revived_below_the_disks_reserve() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.bury_all(&[100, 60_000]).await;
        pair.queue().close().await;
        pair.queue = None;
        let full = StoreOptions { reserve_bytes: Some(u64::MAX), ..options(pair.dir.path()) };
        pair.queue = Some(Queue::open(&full).unwrap());
        for revived in
            [pair.queue().revive(pair.letters()).await, pair.queue().revive_at_head(pair.letters()).await]
        {
            let changed = revived.unwrap();
            assert_eq!((changed.done, changed.refused), (0, Some(Refused::DiskFull)));
        }
        pair.check().await;
        // Giving up is what makes room.
        assert_eq!(pair.queue().discard(pair.letters()).await.map(|changed| changed.done), Ok(2));
        pair.orgs[0].dead.clear();
        pair.reopen().await;
        pair.check().await;
    });
}

#[test]
fn an_org_whose_deletion_is_cut_off_anywhere_is_whole_or_counts_for_nothing() {
    runtime().block_on(async {
        let (mut there, mut gone) = (0, 0);
        for writes in 0..12 {
            let mut pair = Pair::new().await;
            pair.bury_all(&[100, 60_000, 100]).await;
            pair.append(0, 100, 1).await;
            pair.allow(1 + writes).await;
            pair.queue().delete_org(&ORGS[0].parse().unwrap(), true).await.ok();
            pair.reopen_failed();
            let usage = pair.queue().usage();
            if pair.queue().directory().org(&ORGS[0].parse().unwrap()).is_some() {
                there += 1;
                assert_eq!((usage.orgs, usage.dead_letters, usage.deliveries), (3, 3, 1), "{writes}");
            } else {
                gone += 1;
                assert_eq!((usage.orgs, usage.dead_letters, usage.deliveries), (2, 0, 0), "{writes}");
            }
        }
        assert!(there > 0 && gone > 0, "{there} {gone}");
    });
}
