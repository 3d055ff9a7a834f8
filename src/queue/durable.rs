//! Makes sled's `flush` mean what it says: on disk, through power loss. The only unsafe code in the tree.
//!
//! sled 0.34 makes a written buffer stable with `sync_file_range(2)`, which writes neither the file's size and extents
//! nor the drive's cache: it survives kill -9 and loses acknowledged data when the power goes. Only where that call
//! answers `ENOSYS` does sled fsync the file instead. So the binary defines `sync_file_range` itself and answers
//! exactly that; the definition in the executable wins over libc's. [`check_override`] proves at start that it does.
//!
//! An error of that fsync reaches us through `flush`: sled marks itself failed before anybody is told that the buffer is
//! stable. sled's periodic flusher, whose fsync errors are only logged and would be lost to the next caller, is
//! switched off (`flush_every_ms(None)`), so no second descriptor is needed to hear of them.

#![expect(unsafe_code, reason = "defining a C symbol and calling it once to see that it is ours")]

/// Answers `ENOSYS`, always: see the module's documentation.
///
/// The signature is that of `sync_file_range(2)` on Linux.
#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(
    _fd: libc::c_int,
    _offset: libc::off64_t,
    _length: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    // SAFETY: `__errno_location` returns a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}

/// Whether a call of `sync_file_range` from here reaches the override. The real call answers `EBADF` for this
/// descriptor.
pub(super) fn check_override() -> bool {
    // SAFETY: the arguments are plain numbers, and -1 is no descriptor whichever implementation answers.
    let answer = unsafe { libc::sync_file_range(-1, 0, 0, 0) };
    answer == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_override_answers_instead_of_the_kernel() {
        assert!(super::check_override());
    }
}
