//! What this process takes of the machine, as the kernel counts it.

/// Memory that is really there, in bytes; `None` where `/proc` is not.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Files and connections that are open.
#[must_use]
pub fn open_files() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_in_kilobytes() {
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t   24576 kB\nThreads:\t4\n"), Some(24 << 20));
        assert_eq!(resident_in("Name:\tx\n"), None);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(open_files().is_some_and(|files| files > 2));
    }
}
