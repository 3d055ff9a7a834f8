//! What the fuzz targets in `tests/fuzz` reach of this room: every reader of stored bytes, and what must hold for it.

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::MasterKey;
use super::record::{
    AttemptRecord, Body, ClientRecord, DeadRecord, DeliveryRecord, HistoryRecord, OrgRecord,
    QuarantineRecord, Record, RequestRecord, RequestsRecord, SeenRecord, SourceRecord, StateRecord,
    WebhookRecord, decode, encode,
};
use super::seal::{FORMAT_VERSION, Sealer, Unreadable};
use crate::model::{HistoryId, Sequence, UnixMs};

/// Reads `data` as the kind of record that its first byte chooses. Panics where a promise of the format does not hold.
pub fn read_any(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 15 {
        0 => drop(read::<StateRecord>(bytes)),
        1 => drop(read::<SeenRecord>(bytes)),
        2 => drop(read::<QuarantineRecord>(bytes)),
        3 => drop(canonical::<Body>(bytes, decode(bytes))),
        4 => {
            let record = read::<DeliveryRecord>(bytes);
            drop(record.map(|record| record.into_delivery(Sequence(1), Bytes::new())));
        }
        5 => drop(read::<AttemptRecord>(bytes).map(AttemptRecord::into_attempt)),
        6 => {
            if let Some(record) = read::<DeadRecord>(bytes) {
                let _unknown_reason = record.reason();
                drop(record.delivery.into_delivery(Sequence(1), Bytes::new()));
            }
        }
        7 => drop(read::<OrgRecord>(bytes).map(OrgRecord::into_parts)),
        8 => {
            if let Some(Ok(webhook)) = read::<WebhookRecord>(bytes).map(WebhookRecord::into_webhook) {
                let again = WebhookRecord::from(&webhook).into_webhook();
                assert!(again.is_ok(), "a webhook that was read can be written and read again");
            }
        }
        9 => {
            if let Some(Ok(client)) = read::<ClientRecord>(bytes).map(ClientRecord::into_client) {
                let again = ClientRecord::from(&client).into_client();
                assert!(again.is_ok(), "a client that was read can be written and read again");
            }
        }
        10 => open(bytes),
        11 => drop(read::<RequestRecord>(bytes)),
        12 => drop(read::<RequestsRecord>(bytes)),
        13 => {
            if let Some(Ok(source)) = read::<SourceRecord>(bytes).map(SourceRecord::into_source) {
                let again = SourceRecord::from(&source).into_source();
                assert!(again.is_ok(), "a source that was read can be written and read again");
            }
        }
        _ => {
            if let Ok((record, payload)) = HistoryRecord::read(FORMAT_VERSION, bytes) {
                let mut again = Vec::new();
                assert!(record.write(payload, &mut again).is_ok(), "what was read can be written");
                assert_eq!(again, bytes, "written as it was read");
                drop(record.into_delivered(HistoryId { segment: 1, offset: 16 }, UnixMs(0), Bytes::new()));
            }
        }
    }
}

/// Reads in every format; what is of the newest is handed on.
fn read<T: Record>(bytes: &[u8]) -> Option<T> {
    for version in 1..FORMAT_VERSION {
        let _older = T::read(version, bytes);
    }
    canonical(bytes, T::read(FORMAT_VERSION, bytes))
}

/// The layout is canonical: one value, one form.
fn canonical<T: Decode<()> + Encode>(bytes: &[u8], record: Result<T, Unreadable>) -> Option<T> {
    let record = record.ok()?;
    let mut again = Vec::new();
    assert!(encode(&record, &mut again).is_ok(), "what was read can be written");
    assert_eq!(again, bytes, "written as it was read");
    Some(record)
}

/// Nothing that was not sealed opens; what was sealed opens in its own place only.
fn open(bytes: &[u8]) {
    let sealer = Sealer::new(&MasterKey([7; 32]));
    assert!(sealer.open(b"tree", b"key", bytes).is_err(), "forged");
    let Ok(sealed) = sealer.seal(b"tree", b"key", bytes.len(), |buffer| {
        buffer.extend_from_slice(bytes);
        Ok(())
    }) else {
        return;
    };
    let opened = sealer.open(b"tree", b"key", &sealed);
    assert!(opened == Ok((FORMAT_VERSION, bytes.to_vec())), "opens as it was sealed");
    assert!(sealer.open(b"tree", b"other", &sealed).is_err(), "moved to another key");
    assert!(sealer.open(b"tree2", b"key", &sealed).is_err(), "moved to another tree");
    if let Some((last, rest)) = sealed.split_last() {
        let altered = [rest, &[last ^ 1]].concat();
        assert!(sealer.open(b"tree", b"key", &altered).is_err(), "altered");
        assert!(sealer.open(b"tree", b"key", rest).is_err(), "torn");
    }
}
