//! P5: what an operator does to a queue meets what is in flight: nothing is lost, nothing goes out twice at once.

use super::*;

/// A rig with one org whose first delivery hangs, in flight.
async fn hanging() -> (Rig, Arc<Org>) {
    let rig =
        Rig::new(Settings::default(), |seen| if seen.sequence == 1 { Answer::Hang } else { Answer::Ok })
            .await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 3).await;
    wait_until(|| rig.script.seen().len() == 1).await;
    assert_eq!(rig.scheduler.in_flight(org.number), Some((Sequence(1), 1)));
    (rig, org)
}

#[tokio::test(start_paused = true)]
async fn skipping_the_delivery_in_flight_cancels_it_and_goes_on() {
    let (rig, org) = hanging().await;
    let skipped = held(rig.queue.skip(&org.id, None, Some("stuck".into()), clock::now())).await.unwrap();
    assert_eq!(skipped.sequence, Sequence(1));
    rig.drained(org.number).await;
    let seen = rig.script.seen_of("acme");
    assert_eq!(seen.iter().map(|seen| (seen.0, seen.1)).collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(rig.dead().await[0].reason.code(), "skipped");
    assert_eq!(rig.scheduler.in_flight(org.number), None);
}

#[tokio::test(start_paused = true)]
async fn deleting_the_org_cancels_what_is_in_flight() {
    let (rig, org) = hanging().await;
    held(rig.queue.delete_org(&org.id, true)).await.unwrap();
    wait_until(|| rig.scheduler.snapshot().in_flight == 0).await;
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(rig.script.seen().len(), 1, "nothing follows");
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_the_attempt_end_and_starts_nothing() {
    let rig = Rig::new(Settings::default(), |_| Answer::Late(ms(500), 200)).await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 2).await;
    wait_until(|| rig.script.seen().len() == 1).await;
    held(rig.queue.pause(&org.id, None, clock::now())).await.unwrap();
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(rig.script.seen().len(), 1);
    assert_eq!(rig.queue.summary(org.number).depth, 1, "what was in flight was delivered");
    assert_eq!(rig.scheduler.snapshot().held, 1);

    let rig = rig.restart(|_| Answer::Ok).await;
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(rig.script.seen(), [], "a pause survives a restart");
    held(rig.queue.resume(&org.id)).await.unwrap();
    rig.drained(org.number).await;
    assert_eq!(rig.script.seen_of("acme"), [(2, 1, 60_000)]);
}

#[tokio::test(start_paused = true)]
async fn retry_now_ends_the_wait_and_keeps_the_count() {
    let rig =
        Rig::new(Settings::default(), |seen| if seen.attempt < 6 { Answer::Fail } else { Answer::Ok }).await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 1).await;
    wait_until(|| rig.script.seen().len() == 5).await;
    // The fifth attempt was at 3,000 ms; the sixth would be at 6,200 ms.
    tokio::time::sleep(ms(1000)).await;
    let at = rig.script.0.epoch.elapsed().as_millis();
    assert_eq!(held(rig.queue.retry_now(&org.id)).await, Ok(Sequence(1)));
    rig.drained(org.number).await;
    assert_eq!(rig.script.seen_of("acme")[5], (1, 6, at));
}

#[tokio::test(start_paused = true)]
async fn deliveries_without_an_enabled_webhook_die_unsent() {
    let rig = Rig::new(Settings::default(), |_| Answer::Ok).await;
    for (name, reason) in [("disabled", "webhook-disabled"), ("deleted", "webhook-deleted")] {
        let org = rig.org(name, Retry::default()).await;
        held(rig.queue.pause(&org.id, None, clock::now())).await.unwrap();
        rig.append(&org, 2).await;
        if name == "disabled" {
            rig.put_webhook(name, Retry::default(), false).await;
        } else {
            held(rig.queue.delete_webhook(&org.id, &"orders".parse().unwrap())).await.unwrap();
        }
        held(rig.queue.resume(&org.id)).await.unwrap();
        rig.drained(org.number).await;
        let dead = rig.dead().await;
        let dead: Vec<_> = dead.iter().filter(|dead| dead.id.org == org.number).collect();
        assert_eq!(dead.len(), 2);
        assert!(dead.iter().all(|dead| dead.reason.code() == reason && dead.attempts_made == 0), "{dead:?}");
    }
    assert_eq!(rig.script.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_shortened_below_the_attempts_made_allows_no_other() {
    let rig = Rig::new(Settings::default(), |_| Answer::Fail).await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 1).await;
    wait_until(|| rig.script.seen().len() == 4).await;
    rig.put_webhook("acme", once(), true).await;
    rig.drained(org.number).await;
    assert_eq!(rig.script.seen().len(), 4);
    let dead = rig.dead().await;
    assert_eq!((dead[0].reason.code(), dead[0].attempts_made), ("attempts-exhausted", 4));
}
