//! From a value to a payload's bytes. PURE.
//!
//! What came as an object or array goes out with its very bytes. What was computed is written without white space, its
//! members in their order.

use std::io::Write;

use bytes::Bytes;
use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelUInt};
use cel::common::value::Val;

use super::value::{Json, Node, Shape};

/// Why a value is no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    TooLong,
    NotFinite,
    /// Not JSON: the name of its type.
    NotJson(String),
}

impl Flaw {
    /// What is wrong, without any value.
    pub(super) fn rule(&self) -> String {
        match self {
            Flaw::TooLong => "it is too long".to_owned(),
            Flaw::NotFinite => "a number that is not finite is no JSON".to_owned(),
            Flaw::NotJson(kind) => format!("a value of type {kind} is no JSON"),
        }
    }
}

/// Writes a value as JSON of at most `max` bytes.
pub(super) fn write(value: &dyn Val, max: usize) -> Result<Bytes, Flaw> {
    if let Some(raw) = value.downcast_ref::<Node>().and_then(Node::raw) {
        return if raw.len() <= max { Ok(raw.clone()) } else { Err(Flaw::TooLong) };
    }
    let mut out = Out { bytes: Vec::new(), max };
    out.value(value)?;
    Ok(Bytes::from(out.bytes))
}

struct Out {
    bytes: Vec<u8>,
    max: usize,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        if bytes.len() > self.max.saturating_sub(self.bytes.len()) {
            return Err(Flaw::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Flaw> {
        if text.len() > self.max.saturating_sub(self.bytes.len()) {
            return Err(Flaw::TooLong);
        }
        serde_json::to_writer(&mut *self, text).map_err(|_| Flaw::TooLong)
    }

    fn value(&mut self, value: &dyn Val) -> Result<(), Flaw> {
        if let Some(node) = value.downcast_ref::<Node>() {
            self.node(node)
        } else if let Some(text) = value.downcast_ref::<CelString>() {
            self.text(text)
        } else if let Some(int) = value.downcast_ref::<CelInt>() {
            self.put(int.inner().to_string().as_bytes())
        } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
            self.put(uint.inner().to_string().as_bytes())
        } else if let Some(double) = value.downcast_ref::<CelDouble>() {
            if !double.inner().is_finite() {
                return Err(Flaw::NotFinite);
            }
            serde_json::to_writer(&mut *self, double.inner()).map_err(|_| Flaw::TooLong)
        } else if let Some(flag) = value.downcast_ref::<CelBool>() {
            self.put(if *flag.inner() { b"true" } else { b"false" })
        } else if value.downcast_ref::<CelNull>().is_some() {
            self.put(b"null")
        } else {
            Err(Flaw::NotJson(value.get_type().name().to_owned()))
        }
    }

    fn json(&mut self, json: &Json) -> Result<(), Flaw> {
        self.value(json.as_val())
    }

    fn node(&mut self, node: &Node) -> Result<(), Flaw> {
        if let Some(raw) = node.raw() {
            return self.put(raw);
        }
        match node.shape() {
            Shape::List(items) => {
                self.put(b"[")?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.put(b",")?;
                    }
                    self.json(item)?;
                }
                self.put(b"]")
            }
            Shape::Object(object) => {
                self.put(b"{")?;
                for (index, member) in object.members().iter().enumerate() {
                    if index > 0 {
                        self.put(b",")?;
                    }
                    self.text(&member.name)?;
                    self.put(b":")?;
                    self.json(&member.value)?;
                }
                self.put(b"}")
            }
        }
    }
}

/// For `serde_json`, which writes texts and doubles.
impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(bytes).map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
