//! How large this binary is on disk once stripped: its file without the parts that `strip` removes.

use anyhow::{Context, ensure};

/// Bytes of a 64-bit little-endian ELF file without symbol tables and debug sections.
pub fn stripped_len(file: &[u8]) -> anyhow::Result<u64> {
    ensure!(file.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
    let sections = number::<8>(file, 0x28)?;
    let section_len = number::<2>(file, 0x3a)?;
    let count = number::<2>(file, 0x3c)?;
    let names = number::<2>(file, 0x3e)?;
    let mut removed = 0;
    for index in (0..count).filter(|index| *index != names) {
        let header = usize::try_from(sections + index * section_len)?;
        let kind = number::<4>(file, header + 4)?;
        let loaded = number::<8>(file, header + 8)? & SHF_ALLOC != 0;
        if !loaded && kind != SHT_NULL && kind != SHT_NOBITS {
            removed += number::<8>(file, header + 0x20)?;
        }
    }
    (file.len() as u64).checked_sub(removed).context("sections are larger than the file")
}

const SHT_NULL: u64 = 0;
const SHT_NOBITS: u64 = 8;
/// The section is part of the running program.
const SHF_ALLOC: u64 = 2;

fn number<const LEN: usize>(file: &[u8], at: usize) -> anyhow::Result<u64> {
    let bytes = file.get(at..at + LEN).context("the file is cut short")?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_binary_is_smaller_without_its_debug_sections() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let stripped = stripped_len(&file).unwrap();
        assert!(stripped > 100_000 && stripped < file.len() as u64, "{stripped} of {}", file.len());
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        assert!(stripped_len(b"#!/bin/sh").is_err());
        assert!(stripped_len(b"\x7fELF\x02\x01").is_err());
    }
}
