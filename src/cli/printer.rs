//! Lines that are printed as they come, on a thread of its own, so that a reader that does not read holds up no signal.

use std::io::Write as _;

use tokio::sync::{mpsc, oneshot};

use super::exit::{Failure, Result};
use super::output;

/// Prints what is received, one line each, until there is no more or nobody reads. A reader that has seen enough (`| head`)
/// ends it quietly.
pub(super) fn start<T: Send + 'static>(
    mut receiver: mpsc::Receiver<T>,
    format: impl Fn(&T) -> String + Send + 'static,
) -> Result<oneshot::Receiver<Result<()>>> {
    let (done, ended) = oneshot::channel();
    let work = move || {
        let mut stdout = std::io::stdout().lock();
        let mut result = Ok(());
        while let Some(received) = receiver.blocking_recv() {
            let written = writeln!(stdout, "{}", format(&received)).and_then(|()| stdout.flush());
            if let Err(error) = written {
                result = match output::write_failure(&error) {
                    failure if failure.message.is_empty() => Ok(()),
                    failure => Err(failure),
                };
                break;
            }
        }
        // The command has ended before its last lines.
        done.send(result).unwrap_or_default();
    };
    std::thread::Builder::new()
        .name("print".to_owned())
        .spawn(work)
        .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
    Ok(ended)
}
