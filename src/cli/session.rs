//! What `queue`, `why` and `dead-letter` work on: a running daemon, or the store of a stopped one with `--data`.

use super::Context;
use super::exit::Result;
use super::transport::Transport;

/// A way to the API that may have to be closed.
pub(super) struct Session {
    pub(super) api: Transport,
}

impl Context {
    /// The daemon's socket.
    pub(super) async fn admin_or_store(&self) -> Result<Session> {
        Ok(Session { api: self.admin()? })
    }
}

impl Session {
    /// Gives the store up.
    pub(super) async fn close(self) {}
}
