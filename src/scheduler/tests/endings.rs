//! Shutdown and a failed store: what is in flight ends or is abandoned with nothing lost, and the loop never spins.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_is_in_flight_and_starts_nothing() {
    let rig = Rig::new(Settings::default(), |_| Answer::Late(ms(3000), 200)).await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 2).await;
    wait_until(|| rig.script.seen().len() == 1).await;
    let began = Instant::now();
    assert_eq!(rig.scheduler.drain(ms(10_000)).await, 0);
    assert!(began.elapsed() <= ms(3000), "no longer than needed");
    assert_eq!(rig.queue.summary(org.number).depth, 1);
    assert_eq!(rig.script.seen().len(), 1);
    rig.scheduler.gone().await;
    assert_eq!(rig.scheduler.drain(ms(10_000)).await, 0, "there is nothing to drain any more");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_within_the_grace_is_abandoned_uncounted() {
    let rig = Rig::new(Settings::default(), |_| Answer::Hang).await;
    for name in ["acme", "other"] {
        let org = rig.org(name, Retry::default()).await;
        rig.append(&org, 1).await;
    }
    wait_until(|| rig.script.seen().len() == 2).await;
    let began = Instant::now();
    assert_eq!(rig.scheduler.drain(ms(10_000)).await, 2);
    assert_eq!(began.elapsed(), ms(10_000));
    let rig = rig.restart(|_| Answer::Ok).await;
    wait_until(|| rig.script.seen().len() == 2).await;
    assert!(rig.script.seen().iter().all(|seen| seen.attempt == 1), "the abandoned attempts do not count");
}

#[tokio::test(start_paused = true)]
async fn a_failed_store_stops_deliveries_without_spinning() {
    let rig = Rig::new(Settings::default(), |_| Answer::Late(ms(100), 200)).await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 3).await;
    wait_until(|| rig.script.seen().len() == 1).await;
    held(rig.queue.close()).await;
    tokio::time::sleep(ms(1000)).await;
    let turns = rig.scheduler.progress();
    tokio::time::sleep(ms(100_000)).await;
    assert_eq!(rig.script.seen().len(), 1, "nothing runs ahead of the store");
    let turns = rig.scheduler.progress() - turns;
    assert!((50..=200).contains(&turns), "alive, about one turn a second: {turns}");
    assert_eq!(rig.scheduler.drain(ms(10_000)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_loop_shows_that_it_is_alive() {
    let rig = Rig::new(Settings::default(), |_| Answer::Ok).await;
    let turns = rig.scheduler.progress();
    tokio::time::sleep(ms(10_000)).await;
    let turns = rig.scheduler.progress() - turns;
    assert!((9..=11).contains(&turns), "{turns}");
}
