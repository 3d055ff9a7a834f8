//! What is refused whole, and what a store opens from.

use super::super::append::{content_hash, day_of};
use super::super::key;
use super::super::key::{InDead, InOrgs, InQueue};
use super::super::record::{
    DeadRecord, DeadRecord4, DeliveryRecord, DeliveryRecord4, OrgRecord, SeenRecord2, WebhookRecord,
};
use super::super::seal::FORMAT_VERSION;
use super::*;

#[test]
fn what_does_not_fit_a_record_is_refused_and_harms_nothing() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let mut append = Append {
            org: pair.org(0),
            event: event("evt_1", true, b"{}".to_vec()),
            webhooks: vec!["w0".parse().unwrap()],
            accepted_at: clock(),
        };
        append.event.attributes.insert("long".to_owned(), "x".repeat(64 << 10));
        let answers = pair.queue().append(vec![append]).await;
        assert!(matches!(answers[..], [Err(Refused::TooLarge(_))]), "{answers:?}");
        pair.append(0, 100, 2).await;
        pair.check().await;
        pair.reopen().await;
        pair.check().await;
    });
}

#[test]
fn a_wrong_key_a_second_opener_and_a_foreign_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, notices) = Queue::open(&options(dir.path())).unwrap();
    let second = Queue::open(&options(dir.path())).unwrap_err().to_string();
    assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
    runtime().block_on(queue.close());
    drop((queue, notices));

    let marker = std::fs::read(dir.path().join("store/FORMAT")).unwrap();
    let wrong = StoreOptions { key: MasterKey([8; 32]), ..options(dir.path()) };
    let error = Queue::open(&wrong).unwrap_err().to_string();
    assert!(error.contains("--key-file"), "{error}");

    let newer = String::from_utf8(marker).unwrap().replace(&format!("format {FORMAT_VERSION}"), "format 99");
    std::fs::write(dir.path().join("store/FORMAT"), newer).unwrap();
    let error = Queue::open(&options(dir.path())).unwrap_err().to_string();
    assert!(error.contains("newer postrider"), "{error}");

    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("PG_VERSION"), "15").unwrap();
    let error = Queue::open(&options(foreign.path())).unwrap_err().to_string();
    assert!(error.contains("PG_VERSION"), "{error}");
    assert!(!foreign.path().join("store").exists());
}

#[test]
fn a_store_whose_files_are_gone_is_never_started_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, notices) = Queue::open(&options(dir.path())).unwrap();
    runtime().block_on(queue.close());
    drop((queue, notices));
    std::fs::remove_file(dir.path().join("store/db")).unwrap();
    let error = Queue::open(&options(dir.path())).unwrap_err().to_string();
    assert!(error.contains("db is missing"), "{error}");
    // Nor beside a history that knows its orgs by their numbers.
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    std::fs::remove_file(dir.path().join("store.made")).unwrap();
    std::fs::create_dir(dir.path().join("history")).unwrap();
    let error = Queue::open(&options(dir.path())).unwrap_err().to_string();
    assert!(error.contains("history of a store that is gone"), "{error}");
    std::fs::remove_dir(dir.path().join("history")).unwrap();
    Queue::open(&options(dir.path())).unwrap();
}

#[test]
fn a_torn_snapshot_does_not_keep_the_store_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, notices) = Queue::open(&options(dir.path())).unwrap();
    runtime().block_on(queue.close());
    drop((queue, notices));
    std::fs::write(dir.path().join("store/snap.00000000FFFFFFFF.generating"), b"torn").unwrap();
    Queue::open(&options(dir.path())).unwrap();
}

#[test]
fn a_store_of_format_2_keeps_its_ids_and_becomes_one_of_this_format() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        pair.append(0, 100, 1).await;
        let append = pair.event_of("evt", 0, 100, 2);
        let (org, event) = (append.org.number, append.event.clone());
        let written = pair.queue().read_store(move |store| {
            let content =
                content_hash(&store.sealer, event.event_type.as_str(), &event.payload, &event.attributes);
            let place = key::seen(
                org,
                day_of(append.accepted_at),
                &store.sealer.hash([event.id.as_str().as_bytes()]),
            );
            let at = append.accepted_at.0;
            let record = SeenRecord2 { accepted_at_ms: at, content, first_sequence: Some(7), deliveries: 2 };
            store.queue_for_writing(org)?.put_in(2, &place, &record);
            Ok(append)
        });
        let append = written.await.unwrap();
        let (queue, notices) = pair.queue.take().unwrap();
        queue.close().await;
        drop((queue, notices));
        let marker = pair.dir.path().join("store/FORMAT");
        let text = std::fs::read_to_string(&marker).unwrap();
        std::fs::write(&marker, text.replace(&format!("format {FORMAT_VERSION}"), "format 2")).unwrap();
        pair.queue = Some(Queue::open(&options(pair.dir.path())).unwrap());
        assert_eq!(std::fs::read_to_string(&marker).unwrap(), text);
        pair.check().await;
        let id = append.event.id.clone();
        let again = pair.queue().append(vec![append]).await.remove(0);
        assert_eq!(again, Ok(Appended { id, sequence: Some(Sequence(7)), deliveries: 2, duplicate: true }));
        pair.change(0, &[(100, 1), (100, 2)], true).await;
        pair.check().await;
    });
}

/// What waits and what is dead, as format 4 wrote it: nothing of it was a replay.
#[test]
fn deliveries_and_dead_letters_of_format_4_are_read_as_they_are() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        for _ in 0..2 {
            pair.append(0, 100, 1).await;
        }
        pair.apply(Action::Bury { org: 0 }).await;
        let org = pair.org(0).number;
        let written = pair.queue().read_store(move |store| {
            let tree = store.queue_for_writing(org)?;
            let place = key::of_sequence(InQueue::Delivery as u8, org, Sequence(2));
            tree.put_in(4, &place, &DeliveryRecord4::from(tree.get::<DeliveryRecord>(&place)?.unwrap()));
            let place = key::of_sequence(InDead::Letter as u8, org, Sequence(1));
            let letter = store.dead.get::<DeadRecord>(&place)?.unwrap();
            store.dead.put_in(4, &place, &DeadRecord4::from(letter));
            Ok(())
        });
        written.await.unwrap();
        pair.reopen().await;
        pair.check().await;
        assert!(!pair.queue().list(org, None, 1, false).await.unwrap()[0].delivery.replay);
        pair.apply(Action::Revive { org: 0, nth: 0 }).await;
        pair.reopen().await;
        pair.check().await;
    });
}

#[test]
fn settings_of_format_2_are_in_force_when_the_store_opens() {
    runtime().block_on(async {
        let mut pair = Pair::new().await;
        let known = pair.org(0);
        let (org, marker) = (known.clone(), pair.dir.path().join("store/FORMAT"));
        let written = pair.queue().read_store(move |store| {
            let place = key::of_org(InOrgs::Org as u8, org.number);
            store.orgs.put_in(2, &place, OrgRecord::new(&org.id, &org.settings).of_2());
            for webhook in org.webhooks.values() {
                let hash = store.sealer.hash([webhook.id.as_str().as_bytes()]);
                let place = key::of_name(InOrgs::Webhook, org.number, &hash);
                store.orgs.put_in(2, &place, WebhookRecord::from(&**webhook).of_2());
            }
            Ok(())
        });
        written.await.unwrap();
        let (queue, notices) = pair.queue.take().unwrap();
        queue.close().await;
        drop((queue, notices));
        let text = std::fs::read_to_string(&marker).unwrap();
        std::fs::write(&marker, text.replace(&format!("format {FORMAT_VERSION}"), "format 2")).unwrap();
        pair.queue = Some(Queue::open(&options(pair.dir.path())).unwrap());
        let read = pair.org(0);
        assert_eq!(read.settings, known.settings);
        assert!(read.webhooks.values().eq(known.webhooks.values()) && read.webhooks.len() == 3);
        pair.append(0, 100, 2).await;
        pair.check().await;
    });
}
