//! What happens when something panics: it is logged as an error, and some threads take the process with them.
//!
//! sled runs its writes on threads of its own. When one of them panics sled goes on without it, and a flush that was
//! waiting for it may wait for ever or, worse, report success. So such a panic ends the process at once: what was
//! acknowledged is on disk, and the next start recovers it.

use std::panic::PanicHookInfo;

/// How the names of sled's own threads begin.
const STORE_THREADS: [&str; 2] = ["sled-io", "log flusher"];

/// Installs the hook for the whole process.
pub fn install() {
    std::panic::set_hook(Box::new(on_panic));
}

fn on_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info
        .payload()
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(thread = name, place, panic = message, "a thread panicked");
    if is_store_thread(name) {
        tracing::error!(
            "the store's own thread panicked: ending the process, to be started again on what is on disk"
        );
        std::process::abort();
    }
}

fn is_store_thread(name: &str) -> bool {
    STORE_THREADS.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::is_store_thread;

    #[test]
    fn only_the_threads_of_the_store_take_the_process_along() {
        assert!(is_store_thread("sled-io-17"));
        assert!(is_store_thread("log flusher"));
        for other in ["main", "tokio-runtime-worker", "unnamed"] {
            assert!(!is_store_thread(other), "{other}");
        }
    }
}
