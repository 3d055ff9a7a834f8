//! Values that the tests of this room share.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::model::{Delivery, Retry, Sequence, UnixMs, Webhook};

pub(crate) fn delivery(sequence: u64, id: &str, payload: &[u8]) -> Delivery {
    Delivery {
        sequence: Sequence(sequence),
        event_id: id.parse().unwrap(),
        event_type: "OrderPlaced".parse().unwrap(),
        webhook: "orders".parse().unwrap(),
        attributes: BTreeMap::new(),
        accepted_at: UnixMs(0),
        size: payload.len() as u64,
        payload: Bytes::copy_from_slice(payload),
    }
}

pub(crate) fn webhook(url: &str) -> Webhook {
    Webhook {
        id: "orders".parse().unwrap(),
        url: Url::parse(url).unwrap(),
        events: Vec::new(),
        password: None,
        retry: Retry::default(),
        timeout: Duration::from_secs(20),
        enabled: true,
        description: String::new(),
        created_at: UnixMs(0),
        updated_at: UnixMs(0),
    }
}
