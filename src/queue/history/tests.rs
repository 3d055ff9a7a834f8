//! Segments as they are on disk: cut off anywhere, swapped, moved, and read with another key.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use super::read::Reader;
use super::*;
use crate::model::{Delivered, Delivery, HistoryId, OrgNumber, OrgSettings, Sequence};
use crate::queue::copy::Rekeyed;
use crate::queue::record::HistoryRecord;
use crate::queue::seal::Ring;
use crate::queue::{Clients, Directory, MasterKey, Org, Retention, Sources, Webhooks};

const KEPT: Kept = Kept { age: Duration::from_secs(36_500 * 86_400), bytes: 256 << 20 };

fn history(dir: &Path, key: u8) -> Arc<History> {
    let retention = Arc::new(InForce::default());
    retention.set(Retention { dead_letters: None, history: Some(KEPT) });
    let sealer = Arc::new(Sealer::new(&MasterKey([key; 32])));
    Arc::new(History::open(dir.join("history"), sealer, retention))
}

/// Where `acme` is the org with the number 7.
fn directory() -> Directory {
    let directory = Directory::default();
    directory.put(Org {
        number: OrgNumber(7),
        id: "acme".parse().unwrap(),
        settings: OrgSettings {
            plan: None,
            description: String::new(),
            max_deliveries: None,
            max_bytes: None,
            max_webhooks: None,
            created_at: UnixMs(1),
            updated_at: UnixMs(1),
        },
        clients: Clients::default(),
        webhooks: Webhooks::default(),
        sources: Sources::default(),
    });
    directory
}

fn push(writer: &mut HistoryWriter, org: (OrgNumber, &str), sequence: u64, payload: &'static [u8]) {
    let delivery = Delivery {
        sequence: Sequence(sequence),
        event_id: format!("evt_{sequence}").parse().unwrap(),
        event_type: "a.b".parse().unwrap(),
        webhook: "w".parse().unwrap(),
        attributes: BTreeMap::new(),
        accepted_at: UnixMs(1),
        size: payload.len() as u64,
        replay: false,
        payload: Bytes::from_static(payload),
    };
    let at = UnixMs(1_000_000 + i64::try_from(sequence).unwrap());
    writer.push(org.0, at, &HistoryRecord::new(org.1, &delivery, Vec::new()), payload);
}

/// A history of entries of `acme` with these sequences, in one segment: its file.
fn written(dir: &Path, sequences: impl IntoIterator<Item = u64>) -> PathBuf {
    let shared = history(dir, 1);
    let mut writer = HistoryWriter::new(shared.clone());
    for sequence in sequences {
        push(&mut writer, (OrgNumber(7), "acme"), sequence, b"{\"n\":1}");
        writer.write();
    }
    drop(writer);
    let number = *shared.segments().first_key_value().unwrap().0;
    assert_eq!(shared.segments().len(), 1);
    shared.path(number)
}

fn listed(shared: &History) -> Vec<Delivered> {
    let directory = directory();
    Reader::new(shared, &directory).list(&HistoryFilter::default(), (None, None), 1000).items
}

fn sequences(shared: &History) -> Vec<u64> {
    listed(shared).iter().map(|entry| entry.delivery.sequence.0).collect()
}

#[test]
fn a_segment_that_is_cut_off_anywhere_gives_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), [1, 2, 3]);
    let whole = std::fs::read(&file).unwrap();
    let ends: Vec<usize> = {
        let entries = listed(&history(dir.path(), 1));
        let starts = entries.iter().skip(1).map(|entry| usize::try_from(entry.id.offset).unwrap());
        starts.chain([whole.len()]).collect()
    };
    assert_eq!(ends.len(), 3);
    for length in 0..=whole.len() {
        std::fs::write(&file, &whole[..length]).unwrap();
        let shared = history(dir.path(), 1);
        let expected = ends.iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(sequences(&shared), (1..=expected).collect::<Vec<_>>(), "length {length}");
    }
    // The next process writes to another one.
    std::fs::write(&file, &whole[..ends[1] + 5]).unwrap();
    let shared = history(dir.path(), 1);
    let mut writer = HistoryWriter::new(shared.clone());
    push(&mut writer, (OrgNumber(7), "acme"), 9, b"{}");
    writer.write();
    assert_eq!(sequences(&shared), [1, 2, 9]);
    // The keeper counts what was there before, in its own time.
    let since = std::time::Instant::now();
    while shared.usage().entries != 3 {
        assert!(since.elapsed().as_secs() < 60, "{:?}", shared.usage());
        std::thread::yield_now();
    }
    drop(writer);
    assert_eq!(std::fs::read(&file).unwrap().len(), ends[1] + 5);
    assert_eq!(shared.usage().oldest, Some(UnixMs(1_000_001)));
}

#[test]
fn another_key_takes_over_what_is_whole_and_leaves_the_rest_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), 1..=20);
    let whole = std::fs::read(&file).unwrap();
    // Behind the last entry another one that is torn, and one within that is altered.
    let torn = [whole.as_slice(), &whole[16..60]].concat();
    let mut torn = torn;
    torn[100] ^= 1;
    std::fs::write(&file, &torn).unwrap();
    let (first, second) = (MasterKey([1; 32]), MasterKey([2; 32]));
    let ring = Ring::new(&second, Some(&first));
    let hash = ring.first_hash(ring.ids().last().unwrap()).unwrap();
    let retention = Arc::new(InForce::default());
    retention.set(Retention { dead_letters: None, history: Some(KEPT) });
    let sealer = Arc::new(Sealer::with(ring, &hash));
    let shared = Arc::new(History::open(dir.path().join("history"), sealer, retention));
    let before = sequences(&shared);
    assert_eq!(before, (2..=20).collect::<Vec<_>>());

    let mut done = Rekeyed::default();
    shared.reseal(&mut done).unwrap();
    assert_eq!((done.examined, done.rewritten, done.unreadable), (20, 19, 1));
    let after = std::fs::read(&file).unwrap();
    assert_eq!((after.len(), &after[whole.len()..]), (torn.len(), &torn[whole.len()..]));
    shared.reseal(&mut done).unwrap();
    assert_eq!(
        (done.examined, done.rewritten, done.unreadable),
        (40, 19, 2),
        "the second time nothing is left"
    );
    assert_eq!(sequences(&shared), before);
    // The first key opens nothing any more, the second alone everything.
    assert!(sequences(&history(dir.path(), 1)).is_empty());
    assert_eq!(sequences(&history(dir.path(), 2)), before);
    let files = std::fs::read_dir(dir.path().join("history")).unwrap().count();
    assert_eq!(files, 1, "nothing is left beside it");
}

#[test]
fn a_segment_that_is_none_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), 1..=3);
    std::fs::write(file.with_file_name(format::file_name(1)), [b'x'; 64]).unwrap();
    assert_eq!(sequences(&history(dir.path(), 1)), [1, 2, 3]);
}

#[test]
fn what_a_cut_off_rekey_left_goes_and_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), 1..=3);
    let left_over = file.with_extension("new");
    let other = file.with_file_name("notes.new");
    for path in [&left_over, &other] {
        std::fs::write(path, "x").unwrap();
    }
    assert_eq!(sequences(&history(dir.path(), 1)), [1, 2, 3]);
    assert!(!left_over.exists() && other.exists());
}

#[test]
fn an_entry_opens_only_where_it_was_written_and_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = written(dir.path(), [1, 2]);
    let entries = listed(&history(dir.path(), 1));
    let [one, two] = [0, 1].map(|at| usize::try_from(entries[at].id.offset).unwrap());
    assert!(sequences(&history(dir.path(), 2)).is_empty(), "another key");

    let whole = std::fs::read(&file).unwrap();
    assert_eq!(two - one, whole.len() - two, "entries of one size");
    let swapped = [&whole[..one], &whole[two..], &whole[one..two]].concat();
    std::fs::write(&file, swapped).unwrap();
    assert!(sequences(&history(dir.path(), 1)).is_empty(), "swapped");

    // The first one altered in its sealed part: the one behind it is still found.
    let mut altered = whole.clone();
    altered[two - 1] ^= 1;
    std::fs::write(&file, &altered).unwrap();
    assert_eq!(sequences(&history(dir.path(), 1)), [2]);

    // As if it were of another org, by a header that is right in itself.
    let mut stolen = whole.clone();
    let header = format::Header::read(whole[one..one + format::HEADER].try_into().unwrap()).unwrap();
    let header = format::Header { org: OrgNumber(8), ..header };
    stolen[one..one + format::HEADER].copy_from_slice(&header.to_bytes());
    std::fs::write(&file, &stolen).unwrap();
    assert_eq!(sequences(&history(dir.path(), 1)), [2]);

    // In the file of another segment.
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(sequences(&history(dir.path(), 1)), [1, 2]);
    std::fs::rename(&file, file.with_file_name("0000000000000001")).unwrap();
    assert!(sequences(&history(dir.path(), 1)).is_empty(), "moved");
}

#[test]
fn an_org_sees_what_has_its_number_and_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let shared = history(dir.path(), 1);
    let mut writer = HistoryWriter::new(shared.clone());
    // As after a store was put back that had given the number to another org; and of one that is gone.
    push(&mut writer, (OrgNumber(7), "globex"), 1, b"{}");
    push(&mut writer, (OrgNumber(6), "acme"), 2, b"{}");
    push(&mut writer, (OrgNumber(7), "acme"), 3, b"{}");
    writer.write();
    assert_eq!(sequences(&shared), [3]);
    let directory = directory();
    let reader = Reader::new(&shared, &directory);
    let of_acme = HistoryFilter { org: Some("acme".parse().unwrap()), ..HistoryFilter::default() };
    assert_eq!(reader.list(&of_acme, (None, None), 10).items.len(), 1);
    let id = listed(&shared)[0].id;
    assert_eq!(reader.find(id, true).unwrap().unwrap().1.delivery.payload, &b"{}"[..]);
    for other in [16, id.offset - 1, id.offset + 1, u64::MAX / 2] {
        let other = HistoryId { offset: other, ..id };
        assert!(reader.find(other, false).unwrap().is_none(), "{other}");
    }
}

#[test]
fn pages_follow_each_other_and_times_bound_them() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 1..=7);
    let shared = history(dir.path(), 1);
    let directory = directory();
    let reader = Reader::new(&shared, &directory);
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = reader.list(&HistoryFilter::default(), (after, None), 3);
        found.extend(page.items.iter().map(|entry| entry.delivery.sequence.0));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [1, 2, 3, 4, 5, 6, 7]);
    let at = |sequence: i64| Some(UnixMs(1_000_000 + sequence));
    let between = HistoryFilter { since: at(3), until: at(5), ..HistoryFilter::default() };
    let page = reader.list(&between, (None, None), 10);
    assert_eq!(page.items.iter().map(|entry| entry.delivery.sequence.0).collect::<Vec<_>>(), [3, 4]);
    let fourth = listed(&shared)[3].id;
    let page = reader.list(&HistoryFilter::default(), (None, Some(fourth)), 10);
    assert_eq!((page.items.len(), page.next), (3, None));
}

#[test]
fn a_directory_that_cannot_be_written_leaves_a_gap_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let shared = history(dir.path(), 1);
    std::fs::write(dir.path().join("history"), "in the way").unwrap();
    let mut writer = HistoryWriter::new(shared.clone());
    assert!(writer.takes_entries());
    push(&mut writer, (OrgNumber(7), "acme"), 1, b"{}");
    writer.write();
    assert!(!writer.takes_entries(), "not tried again at once");
    let usage = shared.usage();
    assert_eq!((usage.entries, usage.missed), (0, 1));
    assert!(usage.trouble.unwrap().contains("cannot write"));
}

#[test]
fn what_is_too_large_is_missed_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let shared = history(dir.path(), 1);
    let mut writer = HistoryWriter::new(shared.clone());
    push(&mut writer, (OrgNumber(7), "acme"), 1, vec![b' '; 3 << 20].leak());
    writer.write();
    assert_eq!((shared.usage().missed, shared.usage().entries), (1, 0));
    // Switched off and on again, it begins anew.
    shared.retention.set(Retention::default());
    writer.tick();
    shared.retention.set(Retention { dead_letters: None, history: Some(KEPT) });
    push(&mut writer, (OrgNumber(7), "acme"), 2, b"{}");
    writer.write();
    assert_eq!(sequences(&shared), [2]);
}
