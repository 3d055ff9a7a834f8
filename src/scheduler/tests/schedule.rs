//! P3 and P6: attempts follow the schedule to the millisecond, also across a restart; after the last one the next
//! delivery starts at once.

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_attempts_to_the_millisecond_then_the_next_at_once() {
    let rig =
        Rig::new(
            Settings::default(),
            |seen| {
                if seen.sequence == 1 { Answer::Late(ms(3), 503) } else { Answer::Ok }
            },
        )
        .await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 2).await;
    rig.drained(org.number).await;

    // Each attempt takes 3 ms, and each wait counts from the end of the attempt before it.
    let starts = [0, 203, 606, 1409, 3012, 6215, 12_618, 22_621, 32_624, 42_627];
    let mut expected: Vec<_> = (1..).zip(starts).map(|(attempt, at)| (1, attempt, at)).collect();
    expected.push((2, 1, 42_630));
    assert_eq!(rig.script.seen_of("acme"), expected);
    let dead = rig.dead().await;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].reason.code(), dead[0].attempts_made), ("attempts-exhausted", 10));
}

#[tokio::test(start_paused = true)]
async fn a_webhooks_own_schedule_counts() {
    let rig = Rig::new(Settings::default(), |_| Answer::Fail).await;
    let retry =
        Retry { attempts: 4, first_delay: ms(1000), factor: 3.0, max_delay: ms(5000), ..Retry::default() };
    let org = rig.org("acme", retry).await;
    rig.append(&org, 1).await;
    rig.drained(org.number).await;
    assert_eq!(rig.script.seen_of("acme"), [(1, 1, 0), (1, 2, 1000), (1, 3, 4000), (1, 4, 9000)]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_sending_is_a_failed_attempt() {
    let rig =
        Rig::new(Settings::default(), |seen| if seen.attempt < 3 { Answer::Panic } else { Answer::Ok }).await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 1).await;
    rig.drained(org.number).await;
    assert_eq!(rig.script.seen_of("acme"), [(1, 1, 0), (1, 2, 200), (1, 3, 600)]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_continues_attempts_and_waits() {
    const HOUR: u64 = 3_600_000;
    let rig = Rig::new(Settings::default(), |_| Answer::Fail).await;
    let retry =
        Retry { attempts: 5, first_delay: ms(1000), factor: 3600.0, max_delay: ms(HOUR), ..Retry::default() };
    let org = rig.org("acme", retry).await;
    rig.append(&org, 2).await;
    wait_until(|| rig.script.seen().len() == 2).await;
    wait_until(|| rig.scheduler.snapshot().delayed == 1).await;

    let rig = rig.restart(|_| Answer::Fail).await;
    rig.drained(org.number).await;
    let seen = rig.script.seen_of("acme");
    let attempts: Vec<_> = seen.iter().map(|(sequence, attempt, _)| (*sequence, *attempt)).collect();
    let first = [(1, 3), (1, 4), (1, 5)];
    assert_eq!(attempts, [&first[..], &[(2, 1), (2, 2), (2, 3), (2, 4), (2, 5)]].concat());
    // The wall clock is real, and went on during the restart: the rest of the hour is waited for, no more, no less.
    let minute = 60_000;
    assert!((HOUR - minute..=HOUR).contains(&u64::try_from(seen[0].2).unwrap()), "{seen:?}");
    assert_eq!(seen[1].2 - seen[0].2, u128::from(HOUR));
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_webhooks_maximum_is_cut_when_it_is_read() {
    let hour = Retry {
        attempts: 2,
        first_delay: ms(3_600_000),
        factor: 1.0,
        max_delay: ms(3_600_000),
        ..Retry::default()
    };
    let rig = Rig::new(Settings::default(), |_| Answer::Fail).await;
    let org = rig.org("acme", hour.clone()).await;
    rig.append(&org, 1).await;
    wait_until(|| rig.scheduler.snapshot().delayed == 1).await;
    // As after a clock that was set back: what is stored is further away than any wait may be now.
    rig.put_webhook("acme", Retry { max_delay: ms(5000), first_delay: ms(5000), ..hour }, true).await;
    let orders = "orders".parse().unwrap();
    let no_longer = rig.queue.change_webhook(&org.id, &orders, |hook| hook.retry_after_max = ms(0));
    held(no_longer).await.unwrap();
    let rig = rig.restart(|_| Answer::Ok).await;
    rig.drained(org.number).await;
    assert_eq!(rig.script.seen_of("acme"), [(1, 2, 5000)]);
}
