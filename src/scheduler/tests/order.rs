//! P2 and P7: order within an org whatever its receiver does, and no org waits for another's.

use super::*;

#[tokio::test(start_paused = true)]
async fn deliveries_of_an_org_are_in_order_under_random_failures() {
    const EVENTS: u64 = 25;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let settings = Settings { max_in_flight: 3, ..Settings::default() };
    let rig = Rig::new(settings, move |_| match random.u8(..20) {
        0..6 => Answer::Fail,
        6..8 => Answer::Late(ms(random.u64(1..2000)), 503),
        8..11 => Answer::Late(ms(random.u64(1..2000)), 200),
        11 => Answer::Panic,
        _ => Answer::Ok,
    })
    .await;
    let mut orgs = Vec::new();
    for n in 0..6 {
        let retry = Retry { attempts: 1 + n, ..Retry::default() };
        orgs.push((format!("org{n}"), retry.clone(), rig.org(&format!("org{n}"), retry).await));
    }
    for _ in 0..5 {
        for (_, _, org) in &orgs {
            rig.append(org, 5).await;
        }
        tokio::time::sleep(ms(700)).await;
    }
    for (_, _, org) in &orgs {
        rig.drained(org.number).await;
    }
    let dead = rig.dead().await;
    for (name, retry, org) in &orgs {
        let made = rig.script.seen_of(name);
        let mut expected = (1, 1);
        for (sequence, attempt, _) in &made {
            let same = (expected.0, expected.1);
            let next = (expected.0 + 1, 1);
            let got = (*sequence, *attempt);
            assert!(
                got == same || got == next,
                "seed {seed}: {name} made {got:?} instead of {same:?} or {next:?}"
            );
            assert!(*attempt <= retry.attempts, "seed {seed}: {name} made {got:?}");
            expected = (*sequence, attempt + 1);
        }
        assert_eq!(made.last().map(|last| last.0), Some(EVENTS), "seed {seed}: {name}");
        for dead in dead.iter().filter(|dead| dead.id.org == org.number) {
            assert_eq!(dead.attempts_made, retry.attempts, "seed {seed}: {name} gave up early");
        }
    }
    assert_eq!(rig.scheduler.snapshot(), super::super::Snapshot::default());
}

#[tokio::test(start_paused = true)]
async fn hanging_receivers_cost_a_healthy_org_nothing_once_they_have_failed() {
    let settings = Settings { max_in_flight: 8, ..Settings::default() };
    let rig =
        Rig::new(
            settings,
            |seen| {
                if seen.org == "healthy" { Answer::Ok } else { Answer::Late(ms(10_000), 503) }
            },
        )
        .await;
    for n in 0..30 {
        let org = rig.org(&format!("hanging{n}"), Retry::default()).await;
        rig.append(&org, 3).await;
    }
    // Each has timed out once: from now on they share six of the eight slots.
    wait_until(|| rig.script.seen().len() > 40).await;
    let healthy = rig.org("healthy", Retry::default()).await;
    wait_until(|| rig.scheduler.snapshot().in_flight == 6).await;
    assert!(rig.scheduler.snapshot().oldest_due.is_some_and(|due| due < clock::now()));
    let began = rig.script.0.epoch.elapsed().as_millis();
    rig.append(&healthy, 50).await;
    rig.drained(healthy.number).await;
    let seen = rig.script.seen_of("healthy");
    assert_eq!(seen.len(), 50);
    assert_eq!((seen[0].2, seen[49].2), (began, began), "all at once, one after the other");
}

#[tokio::test(start_paused = true)]
async fn payloads_in_flight_are_bounded_but_never_stuck() {
    // Room for one payload at a time: everything still gets through.
    let settings = Settings { max_payload_bytes: 0, ..Settings::default() };
    let rig = Rig::new(settings, |_| Answer::Late(ms(5), 200)).await;
    let mut orgs = Vec::new();
    for n in 0..10 {
        let org = rig.org(&format!("org{n}"), Retry::default()).await;
        rig.append(&org, 3).await;
        orgs.push(org);
    }
    for org in orgs {
        rig.drained(org.number).await;
    }
    assert_eq!(rig.script.seen().len(), 30);
}
