//! What was delivered, as it is kept for a while.

use std::fmt;
use std::str::FromStr;

use super::{Attempt, Delivery, OrgId, UnixMs};

/// Names an entry of the history: where it lies. Opaque outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HistoryId {
    /// The number of its segment.
    pub segment: u64,
    /// Where it begins there, in bytes.
    pub offset: u64,
}

impl fmt::Display for HistoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x}-{:x}", self.segment, self.offset)
    }
}

impl FromStr for HistoryId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (segment, offset) = text.split_once('-').ok_or(())?;
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| ());
        let id = HistoryId { segment: number(segment)?, offset: number(offset)? };
        // One entry, one name.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// A delivery that its receiver took.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Its name.
    pub id: HistoryId,
    /// Its org's name.
    pub org: OrgId,
    /// The delivery; its payload is empty unless it was asked for.
    pub delivery: Delivery,
    /// When the last attempt had ended.
    pub delivered_at: UnixMs,
    /// Every attempt in order; the last one went through.
    pub attempts: Vec<Attempt>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_has_one_form() {
        let id = HistoryId { segment: 0x19b_2c3d, offset: 16 };
        assert_eq!(id.to_string(), "19b2c3d-10");
        assert_eq!("19b2c3d-10".parse(), Ok(id));
        for other in ["19B2C3D-10", "019b2c3d-10", "+1-1", "1-", "-1", "1", "1-1-1", "10000000000000000-0"] {
            assert!(other.parse::<HistoryId>().is_err(), "{other}");
        }
    }
}
