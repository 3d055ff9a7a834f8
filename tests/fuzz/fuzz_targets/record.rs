//! Stored bytes of any kind: reading them never panics and never takes much memory, and what is read is written back
//! to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| postrider::queue::fuzzing::read_any(data));
