//! What the process may use: file descriptors, and what that allows; no core files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything but attempts: the store, the sockets and their connections, logs, DNS.
pub const RESERVED_DESCRIPTORS: u64 = 1_280;

/// Raises the soft limit on open files to the hard one and answers what is in force; `None` means no limit.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit on open files");
        }
    }
    getrlimit(Resource::Nofile).current
}

/// No core files: they would hold payloads and keys.
pub fn forbid_core_files() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        tracing::warn!(%error, "cannot forbid core files");
    }
}

/// The attempts that may be in flight at once: what is configured, or what `open_files` leaves room for if that is less.
#[must_use]
pub fn clamp_in_flight(configured: usize, open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else {
        return configured;
    };
    // With a tiny limit half of it is for attempts: slow beats not at all.
    let room = open_files.saturating_sub(RESERVED_DESCRIPTORS).max(open_files / 2).max(1);
    configured.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// The connections that each of the two sockets may have at once: what is configured, or what `open_files` leaves room for
/// if that is less.
#[must_use]
pub fn clamp_connections(configured: usize, open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else {
        return configured;
    };
    // A quarter for both, and never so few that an operator is kept out.
    let room = (open_files / 8).max(8);
    configured.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_fit_into_the_open_files() {
        assert_eq!(clamp_in_flight(4_096, None), 4_096);
        assert_eq!(clamp_in_flight(4_096, Some(1 << 20)), 4_096);
        assert_eq!(clamp_in_flight(4_096, Some(4_096)), 2_816);
        assert_eq!(clamp_in_flight(4_096, Some(1_024)), 512);
        assert_eq!(clamp_in_flight(4_096, Some(1)), 1);
    }

    #[test]
    fn connections_and_attempts_fit_together() {
        assert_eq!(clamp_connections(1_024, None), 1_024);
        assert_eq!(clamp_connections(1_024, Some(1 << 20)), 1_024);
        assert_eq!(clamp_connections(1_024, Some(1_024)), 128);
        assert_eq!(clamp_connections(1_024, Some(1)), 8);
        for open_files in [1_024_u64, 4_096, 16_384, 65_536] {
            let attempts = clamp_in_flight(4_096, Some(open_files));
            let both = 2 * clamp_connections(1_024, Some(open_files));
            assert!((attempts + both + 200) as u64 <= open_files, "{open_files}: {attempts} and {both}");
        }
    }

    #[test]
    fn the_soft_limit_ends_up_at_the_hard_one() {
        let raised = raise_open_files();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
    }
}
