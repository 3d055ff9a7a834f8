//! PURE. The records of sources, and of the requests that came there.

use bincode::{Decode, Encode};

use super::proof::exposed;
use super::{Record, decode, parse};
use crate::model::{HmacProof, Secret, Source, SourceKind, TokenHash, UnixMs};
use crate::queue::seal::Unreadable;

/// A source. New in format 4.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(in crate::queue) struct SourceRecord {
    id: String,
    kind: String,
    hmac: Option<HmacRecord>,
    secrets: Vec<String>,
    /// SHA-256.
    token: [u8; 32],
    token_at_ms: i64,
    id_header: Option<String>,
    event_header: Option<String>,
    catalogue: Option<String>,
    unmapped: String,
    enabled: bool,
    description: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
struct HmacRecord {
    header: String,
    algorithm: String,
    encoding: String,
    prefix: String,
    timestamp_header: Option<String>,
}

/// A request that was accepted, and what it was answered. New in format 4.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(in crate::queue) struct RequestRecord {
    pub accepted_at_ms: i64,
    /// Of the first delivery of its events.
    pub first_sequence: Option<u64>,
    pub content_type: String,
    pub body: String,
}

/// What the requests that are remembered of a day take. New in format 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(in crate::queue) struct RequestsRecord {
    pub day: u32,
    pub bytes: u64,
}

impl Record for RequestsRecord {
    fn read(_: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        decode(bytes)
    }
}

impl Record for SourceRecord {
    fn read(_: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        decode(bytes)
    }
}

impl Record for RequestRecord {
    fn read(_: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        decode(bytes)
    }
}

impl From<&Source> for SourceRecord {
    fn from(source: &Source) -> SourceRecord {
        let hmac = match &source.kind {
            SourceKind::Hmac(proof) => Some(HmacRecord {
                header: proof.header.to_string(),
                algorithm: proof.algorithm.code().to_owned(),
                encoding: proof.encoding.code().to_owned(),
                prefix: proof.prefix.to_string(),
                timestamp_header: proof.timestamp_header.as_ref().map(ToString::to_string),
            }),
            _ => None,
        };
        SourceRecord {
            id: source.id.as_str().to_owned(),
            kind: source.kind.code().to_owned(),
            hmac,
            secrets: source.secrets.iter().map(exposed).collect(),
            token: source.token.0,
            token_at_ms: source.token_at.0,
            id_header: source.id_header.as_ref().map(ToString::to_string),
            event_header: source.event_header.as_ref().map(ToString::to_string),
            catalogue: source.catalogue.as_ref().map(ToString::to_string),
            unmapped: source.unmapped.code().to_owned(),
            enabled: source.enabled,
            description: source.description.clone(),
            created_at_ms: source.created_at.0,
            updated_at_ms: source.updated_at.0,
        }
    }
}

impl SourceRecord {
    pub(in crate::queue) fn into_source(self) -> Result<Source, Unreadable> {
        let kind = match (self.kind.as_str(), self.hmac) {
            ("slack", None) => SourceKind::Slack,
            ("github", None) => SourceKind::Github,
            ("stripe", None) => SourceKind::Stripe,
            ("standard", None) => SourceKind::Standard,
            ("hipchat", None) => SourceKind::Hipchat,
            ("token", None) => SourceKind::Token,
            ("hmac", Some(record)) => SourceKind::Hmac(HmacProof {
                header: record.header.into_boxed_str(),
                algorithm: parse(&record.algorithm)?,
                encoding: parse(&record.encoding)?,
                prefix: record.prefix.into_boxed_str(),
                timestamp_header: record.timestamp_header.map(String::into_boxed_str),
            }),
            _ => return Err(Unreadable::Garbled),
        };
        Ok(Source {
            id: parse(&self.id)?,
            kind,
            secrets: self.secrets.into_iter().map(Secret::new).collect(),
            token: TokenHash(self.token),
            token_at: UnixMs(self.token_at_ms),
            id_header: self.id_header.map(String::into_boxed_str),
            event_header: self.event_header.map(String::into_boxed_str),
            catalogue: self.catalogue.map(String::into_boxed_str),
            unmapped: parse(&self.unmapped)?,
            enabled: self.enabled,
            description: self.description,
            created_at: UnixMs(self.created_at_ms),
            updated_at: UnixMs(self.updated_at_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Algorithm, Encoding, Unmapped};

    #[test]
    fn a_source_comes_back_as_it_was() {
        let hmac = HmacProof {
            header: "x-signature".into(),
            algorithm: Algorithm::Sha512,
            encoding: Encoding::Base64,
            prefix: "sha512=".into(),
            timestamp_header: Some("x-time".into()),
        };
        let kinds = [
            SourceKind::Slack,
            SourceKind::Github,
            SourceKind::Stripe,
            SourceKind::Standard,
            SourceKind::Hipchat,
            SourceKind::Token,
            SourceKind::Hmac(hmac),
        ];
        assert_eq!(kinds.each_ref().map(SourceKind::code), SourceKind::CODES);
        for kind in kinds {
            let source = Source {
                id: "in".parse().unwrap(),
                kind,
                secrets: vec![Secret::new("new".into()), Secret::new("old".into())],
                token: TokenHash::of("token"),
                token_at: UnixMs(3),
                id_header: Some("x-id".into()),
                event_header: Some("x-event".into()),
                catalogue: Some("trackingtime".into()),
                unmapped: Unmapped::Keep,
                enabled: false,
                description: "d".into(),
                created_at: UnixMs(1),
                updated_at: UnixMs(2),
            };
            let mut bytes = Vec::new();
            super::super::encode(&SourceRecord::from(&source), &mut bytes).unwrap();
            assert_eq!(SourceRecord::read(4, &bytes).unwrap().into_source().unwrap(), source);
        }
    }

    #[test]
    fn a_kind_without_what_belongs_to_it_is_unreadable() {
        let source = Source::new("in".parse().unwrap(), SourceKind::Token, TokenHash::of("token"), UnixMs(1));
        for kind in ["hmac", "slak", ""] {
            let record = SourceRecord { kind: kind.to_owned(), ..SourceRecord::from(&source) };
            assert_eq!(record.into_source().err(), Some(Unreadable::Garbled), "{kind}");
        }
    }
}
