//! Byte counts as people write them: `1048576`, `"64KiB"`, `"512MiB"`, `"1GiB"`. PURE.

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Parses a whole number of bytes with an optional unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`).
///
/// # Errors
/// A sentence that says what a byte count looks like. `MB` and the like are refused: they mean two things.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let invalid = || {
        format!(
            "\"{}\" is not a number of bytes; write for example 65536, \"64KiB\", \"512MiB\" or \"1GiB\"",
            text.escape_debug()
        )
    };
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'_').count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(invalid)?;
    let number: u64 = number.replace('_', "").parse().map_err(|_| invalid())?;
    let unit = unit.trim_start();
    let factor = if unit.is_empty() {
        1
    } else {
        UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(invalid)?
    };
    number.checked_mul(factor).ok_or_else(invalid)
}

/// Writes a byte count with the largest unit that divides it; what [`parse_bytes`] reads.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let (unit, factor) = UNITS
        .into_iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (text, bytes) in [
            ("0B", 0),
            ("1B", 1),
            ("1000B", 1000),
            ("64KiB", 65_536),
            ("512MiB", 536_870_912),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
            assert_eq!(format_bytes(bytes), text);
        }
        assert_eq!(parse_bytes("65536"), Ok(65_536));
        assert_eq!(parse_bytes("1_000"), Ok(1000));
        assert_eq!(parse_bytes("1 MiB"), Ok(1 << 20));
    }

    #[test]
    fn refuses_what_is_not_a_byte_count() {
        for bad in ["", "MiB", "1MB", "1mib", "-1", "1.5GiB", "99999999999999999999", "99999999999TiB"] {
            assert!(parse_bytes(bad).unwrap_err().contains("512MiB"), "{bad}");
        }
    }
}
