//! Values that the tests of this room share.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::{Client, address};
use crate::model::{Attempt, Delivery, Secret, Sequence, Target, Tls, UnixMs, UrlTemplate, Webhook};

pub(crate) fn delivery(sequence: u64, id: &str, payload: &[u8]) -> Delivery {
    Delivery {
        sequence: Sequence(sequence),
        event_id: id.parse().unwrap(),
        event_type: "OrderPlaced".parse().unwrap(),
        webhook: "orders".parse().unwrap(),
        attributes: BTreeMap::new(),
        accepted_at: UnixMs(0),
        size: payload.len() as u64,
        replay: false,
        payload: Bytes::copy_from_slice(payload),
    }
}

pub(crate) fn webhook(url: &str) -> Webhook {
    let target = Target::Url(UrlTemplate::fixed(Url::parse(url).unwrap().as_str()));
    Webhook { timeout: Duration::from_secs(20), ..Webhook::new("orders".parse().unwrap(), target, UnixMs(0)) }
}

/// An attempt of a webhook without a client.
pub(crate) async fn attempt(client: &Client, delivery: &Delivery, webhook: &Webhook, number: u32) -> Attempt {
    client
        .attempt(&address(delivery, webhook, None, &crate::catalogue::Catalogue::shipped()).unwrap(), number)
        .await
        .attempt
}

/// A certificate that signs itself, and its key: PEM.
pub(crate) fn self_signed() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Certificates and a key, each as PEM.
pub(crate) fn tls(ca: Option<&str>, certificate: Option<&str>, key: Option<&str>) -> Tls {
    Tls {
        ca: ca.map(Into::into),
        certificate: certificate.map(Into::into),
        key: key.map(|key| Secret::new(key.to_owned())),
    }
}
