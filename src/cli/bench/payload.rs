//! The events that the bench sends: 1 KiB of JSON that does not compress, stamped with when it was sent.

use std::fs;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;

/// The payload's size in bytes.
pub const SIZE: usize = 1024;

const STAMP_START: &str = r#"{"at":""#;
const STAMP_DIGITS: usize = 20;
const BEFORE_DATA: &str = r#"","kind":"bench","data":""#;
const AFTER_DATA: &str = r#""}"#;

/// What a webhook says to be given these events only, as members of its JSON.
pub const MATCH: &str = r#","events":["bench.*"],"match":{"kind":"bench"}"#;

const SCHEMA: &str = r##"{
  "type": "object",
  "required": ["at", "kind", "data"],
  "additionalProperties": false,
  "properties": {
    "at": {"type": "string", "pattern": "^[0-9]{20}$"},
    "kind": {"enum": ["bench", "other"]},
    "data": {"$ref": "#/$defs/data"}
  },
  "$defs": {"data": {"type": "string", "minLength": 100, "maxLength": 2000}}
}"##;

/// Makes payloads. Each is stamped with the nanoseconds from one origin, so that the receiver can tell how old it is.
#[derive(Debug, Clone)]
pub struct Payloads {
    origin: Instant,
    data: String,
}

impl Payloads {
    /// Payloads with random data.
    pub fn new(origin: Instant) -> Payloads {
        let length = SIZE - STAMP_START.len() - STAMP_DIGITS - BEFORE_DATA.len() - AFTER_DATA.len();
        Payloads { origin, data: std::iter::repeat_with(fastrand::alphanumeric).take(length).collect() }
    }

    /// The payload alone, sent at `at`.
    pub fn payload(&self, at: Instant) -> String {
        let stamp = at.saturating_duration_since(self.origin).as_nanos();
        format!("{STAMP_START}{stamp:0STAMP_DIGITS$}{BEFORE_DATA}{}{AFTER_DATA}", self.data)
    }

    /// The body of an enqueue call.
    pub fn event(&self, at: Instant) -> Bytes {
        format!(r#"{{"type":"bench.event","payload":{}}}"#, self.payload(at)).into()
    }

    /// Appends one line of an NDJSON stream.
    pub fn line(&self, at: Instant, org: &str, lines: &mut String) {
        lines.push_str(r#"{"org":""#);
        lines.push_str(org);
        lines.push_str(r#"","type":"bench.event","payload":"#);
        lines.push_str(&self.payload(at));
        lines.push_str("}\n");
    }
}

/// Writes a catalogue that knows these events: their schema, and an attribute to match by.
pub fn write_catalogue(directory: &Path) -> std::io::Result<()> {
    let product = directory.join("bench");
    fs::create_dir_all(product.join("schemas"))?;
    let table = "product = \"bench\"\n[events.\"bench.event\"]\nattributes = { kind = \"/kind\" }\n";
    fs::write(product.join("catalogue.toml"), table)?;
    fs::write(product.join("schemas/bench.event.json"), SCHEMA)
}

/// When a payload was sent, in nanoseconds from its maker's origin; `None` for anything else.
pub fn stamp(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(STAMP_START.as_bytes())?.get(..STAMP_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_payload_is_one_kibibyte_of_json_that_knows_its_age() {
        let origin = Instant::now();
        let payloads = Payloads::new(origin);
        let payload = payloads.payload(origin + Duration::from_nanos(1_234_567_890));
        assert_eq!(payload.len(), SIZE);
        assert!(serde_json::from_str::<serde_json::Value>(&payload).unwrap().is_object());
        assert_eq!(stamp(payload.as_bytes()), Some(1_234_567_890));
        assert_eq!(stamp(b"{}"), None);

        let mut lines = String::new();
        payloads.line(origin, "o-1", &mut lines);
        let line: serde_json::Value = serde_json::from_str(lines.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!((&line["org"], line["payload"].is_object()), (&"o-1".into(), true));
        assert!(serde_json::from_slice::<serde_json::Value>(&payloads.event(origin)).is_ok());
    }
}
