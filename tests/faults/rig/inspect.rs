//! Looks into a store after a crash: opens it in this process, as the daemon would, and reads all that it holds.

use std::path::Path;

use postrider::model::OrgId;
use postrider::queue::{DeadFilter, MasterKey, Queue, QueueLimits, StoreOptions};

use super::ledger::{Found, Kept};
use super::load;

/// The key of the stores of these tests.
pub const KEY: [u8; 32] = [7; 32];

/// What [`inspect`] says of a store that panicked.
pub const PANICKED: &str = "opening the store panicked";

const PAGE: usize = 1000;

/// Writes the key where a daemon can be told to find it.
pub fn write_key(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.expect("a key file"), &KEY).expect("a key written");
}

/// What the store in `data` holds, or why it does not open. A panic inside is an answer too.
pub fn inspect(data: &Path) -> Result<Found, String> {
    let options = StoreOptions {
        data_dir: data.to_owned(),
        key: MasterKey(KEY),
        previous_key: None,
        cache_bytes: 16 << 20,
        reserve_bytes: Some(0),
        max_deliveries: 1_000_000,
        max_bytes: 1 << 30,
        max_total: QueueLimits::NONE,
        retention: postrider::queue::Retention::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opened = std::panic::catch_unwind(|| Queue::open(&options)).map_err(|_| PANICKED.to_owned())?;
    let (queue, _notices) = opened.map_err(|error| error.to_string())?;
    let found = runtime.block_on(read_all(&queue));
    runtime.block_on(queue.close());
    found
}

async fn read_all(queue: &Queue) -> Result<Found, String> {
    let mut found = Found::default();
    for org in load::ORGS {
        let id: OrgId = org.parse().map_err(|error| format!("{error}"))?;
        let Some(org_record) = queue.directory().org(&id) else { continue };
        let mut after = None;
        loop {
            let page = queue.list(org_record.number, after, PAGE, true).await.map_err(|e| e.to_string())?;
            after = page.last().map(|queued| queued.delivery.sequence);
            found.queued.extend(page.iter().map(|queued| Kept {
                place: (org.to_owned(), queued.delivery.sequence.0),
                event: queued.delivery.event_id.to_string(),
                attempts: queued.attempts as usize,
                whole: is_whole(queued.delivery.event_id.as_str(), &queued.delivery.payload),
            }));
            if page.len() < PAGE {
                break;
            }
        }
    }
    let mut after = None;
    loop {
        let page = queue.dead_list(DeadFilter::default(), after, PAGE).await.map_err(|e| e.to_string())?;
        for item in page.items {
            let letter = queue.dead_show(item.id, true).await.map_err(|e| e.to_string())?;
            let letter = letter.ok_or_else(|| format!("dead letter {} is listed and not there", item.id))?;
            found.dead.push(Kept {
                place: (letter.org.to_string(), letter.delivery.sequence.0),
                event: letter.delivery.event_id.to_string(),
                attempts: letter.attempts.len(),
                whole: is_whole(letter.delivery.event_id.as_str(), &letter.delivery.payload),
            });
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let usage = queue.usage();
    (found.quarantined, found.blob_files) = (usage.quarantined, usage.blob_files);
    Ok(found)
}

fn is_whole(event: &str, payload: &[u8]) -> bool {
    payload == load::payload_of(event).as_bytes()
}
