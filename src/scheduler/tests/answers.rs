//! What a receiver's answers do to the queue: waits that it asks for, a webhook that is gone for good, and a head that is
//! held when nothing more is to be tried.

use super::*;
use crate::model::{Head, OnExhausted};

#[tokio::test(start_paused = true)]
async fn a_receiver_is_left_alone_for_as_long_as_it_asks_within_bounds() {
    let asked = [ms(30_000), ms(100), ms(3_600_000)];
    let rig = Rig::new(Settings::default(), move |seen| {
        asked.get(seen.attempt as usize - 1).map_or(Answer::Ok, |after| Answer::RetryAfter(*after))
    })
    .await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 1).await;
    rig.drained(org.number).await;
    // 30 s as asked; 0.4 s of its own, since less was asked; 60 s, the webhook's bound.
    assert_eq!(rig.script.seen_of("acme"), [(1, 1, 0), (1, 2, 30_000), (1, 3, 30_400), (1, 4, 90_400)]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_asked_for_survives_a_restart() {
    let rig = Rig::new(Settings::default(), |_| Answer::RetryAfter(ms(45_000))).await;
    let org = rig.org("acme", Retry::default()).await;
    rig.append(&org, 1).await;
    wait_until(|| rig.queue.summary(org.number).head.is_some_and(|head| head.attempts == 1)).await;
    let rig = rig.restart(|_| Answer::Ok).await;
    rig.drained(org.number).await;
    let at = rig.script.seen_of("acme")[0].2;
    // What is left of it; the wall clock, which paused time does not move, may have gone on for a little.
    assert!((40_000..=45_000).contains(&at), "{at}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_disables_its_webhook_if_it_may() {
    for disable_on_gone in [false, true] {
        let rig = Rig::new(Settings::default(), |_| Answer::Gone).await;
        let org = rig.org("acme", Retry { attempts: 3, ..Retry::default() }).await;
        let webhook = "orders".parse().unwrap();
        held(rig.queue.change_webhook(&org.id, &webhook, move |hook| hook.disable_on_gone = disable_on_gone))
            .await
            .unwrap();
        rig.append(&org, 2).await;
        rig.drained(org.number).await;
        let enabled = rig.queue.directory().org(&org.id).unwrap().webhooks.get(&webhook).unwrap().enabled;
        assert_eq!(enabled, !disable_on_gone);
        let dead = rig.dead().await;
        let reasons: Vec<_> = dead.iter().map(|dead| (dead.reason.code(), dead.attempts_made)).collect();
        if disable_on_gone {
            assert_eq!(reasons, [("webhook-disabled", 1), ("webhook-disabled", 0)]);
        } else {
            assert_eq!(reasons, [("attempts-exhausted", 3); 2]);
        }
    }
}

fn holding() -> Retry {
    Retry { attempts: 2, on_exhausted: OnExhausted::Hold, ..Retry::default() }
}

/// An org whose head is held after its last attempt.
async fn held_rig() -> (Rig, Arc<Org>) {
    let rig = Rig::new(Settings::default(), |_| Answer::Fail).await;
    let org = rig.org("acme", holding()).await;
    rig.append(&org, 3).await;
    wait_until(|| rig.queue.summary(org.number).head.is_some_and(|head| head.held)).await;
    (rig, org)
}

#[tokio::test(start_paused = true)]
async fn a_held_head_keeps_the_queue_in_order_until_someone_acts() {
    let (rig, org) = held_rig().await;
    tokio::time::sleep(ms(86_400_000)).await;
    assert_eq!(
        rig.script.seen_of("acme"),
        [(1, 1, 0), (1, 2, 200)],
        "nothing more is tried, nothing passes it"
    );
    assert_eq!(rig.scheduler.snapshot().held, 1);
    assert_eq!(rig.queue.summary(org.number).depth, 3);

    let rig = rig.restart(|seen| if seen.attempt == 3 { Answer::Fail } else { Answer::Ok }).await;
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(rig.script.seen(), [], "it is held through a restart");
    held(rig.queue.retry_now(&org.id)).await.unwrap();
    wait_until(|| rig.queue.summary(org.number).head.is_some_and(|head| head.held && head.attempts == 3))
        .await;
    held(rig.queue.retry_now(&org.id)).await.unwrap();
    rig.drained(org.number).await;
    let seen: Vec<_> = rig.script.seen().iter().map(|seen| (seen.sequence, seen.attempt)).collect();
    assert_eq!(seen, [(1, 3), (1, 4), (2, 1), (3, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_held_head_can_be_skipped_and_its_webhook_changed() {
    let (rig, org) = held_rig().await;
    held(rig.queue.skip(&org.id, None, None, clock::now())).await.unwrap();
    wait_until(|| {
        let head = rig.queue.summary(org.number).head;
        head.is_some_and(|Head { sequence, held, .. }| held && sequence == Sequence(2))
    })
    .await;
    // Whoever changes the webhook wants it tried: given up, for that is what it now says.
    rig.put_webhook("acme", Retry { attempts: 2, ..Retry::default() }, true).await;
    rig.drained(org.number).await;
    let dead: Vec<_> = rig.dead().await.iter().map(|dead| (dead.reason.code(), dead.attempts_made)).collect();
    assert_eq!(dead, [("skipped", 2), ("attempts-exhausted", 2), ("attempts-exhausted", 2)]);
}

#[tokio::test(start_paused = true)]
async fn deleting_the_webhook_of_a_held_head_lets_the_queue_move_on() {
    let (rig, org) = held_rig().await;
    held(rig.queue.delete_webhook(&org.id, &"orders".parse().unwrap())).await.unwrap();
    rig.drained(org.number).await;
    assert!(rig.dead().await.iter().all(|dead| dead.reason.code() == "webhook-deleted"));
}

#[tokio::test(start_paused = true)]
async fn a_late_410_does_not_disable_a_webhook_that_was_saved_meanwhile() {
    let rig = Rig::new(Settings::default(), |seen| {
        if seen.attempt == 1 { Answer::Late(ms(3000), 410) } else { Answer::Ok }
    })
    .await;
    let org = rig.org("acme", Retry::default()).await;
    let orders = "orders".parse().unwrap();
    held(rig.queue.change_webhook(&org.id, &orders, |hook| hook.disable_on_gone = true)).await.unwrap();
    rig.append(&org, 1).await;
    wait_until(|| rig.script.seen().len() == 1).await;
    held(rig.queue.change_webhook(&org.id, &orders, |hook| hook.description = "acme".into())).await.unwrap();
    held(rig.queue.change_webhook(&org.id, &orders, |hook| hook.updated_at = clock::now())).await.unwrap();
    rig.drained(org.number).await;
    assert!(rig.dead().await.is_empty(), "it was delivered");
    assert!(rig.queue.directory().org(&org.id).unwrap().webhooks.get(&orders).unwrap().enabled);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_was_saved_during_the_last_attempt_is_tried_rather_than_held() {
    let rig = Rig::new(Settings::default(), |seen| {
        if seen.attempt == 1 { Answer::Late(ms(500), 503) } else { Answer::Ok }
    })
    .await;
    let retry = Retry { attempts: 1, on_exhausted: OnExhausted::Hold, ..Retry::default() };
    let org = rig.org("acme", retry).await;
    rig.append(&org, 1).await;
    wait_until(|| rig.script.seen().len() == 1).await;
    let orders = "orders".parse().unwrap();
    let mended = rig.queue.change_webhook(&org.id, &orders, |hook| hook.timeout = ms(7000));
    held(mended).await.unwrap();
    rig.drained(org.number).await;
    assert_eq!(rig.script.seen_of("acme"), [(1, 1, 0), (1, 2, 500)]);
}
