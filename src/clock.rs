//! The only file that reads the wall clock. Waiting uses tokio's monotonic `Instant`; what is stored is wall time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::UnixMs;

/// The wall clock's time now. Times before 1970 read as negative.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> UnixMs {
    let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => UnixMs(ms(after)),
        Err(before) => UnixMs(-ms(before.duration())),
    }
}
