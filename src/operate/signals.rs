//! Signals as orders: stop gently, stop at once, reload.

use std::io::Error;

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Stop accepting, let attempts in flight end, exit.
    Drain,
    /// Do not wait for attempts in flight any longer.
    AtOnce,
    /// Read the configuration again.
    Reload,
}

/// The process's signals. Must be made within a runtime, before anything takes long: until then SIGHUP kills.
pub struct Orders {
    signals: Signals,
    draining: bool,
}

impl Orders {
    /// Takes over SIGTERM, SIGINT and SIGHUP.
    pub fn new() -> Result<Orders, Error> {
        Ok(Orders { signals: Signals::new([SIGTERM, SIGINT, SIGHUP])?, draining: false })
    }

    /// The next order. Cancel safe.
    pub async fn next(&mut self) -> Order {
        loop {
            let Some(signal) = self.signals.next().await else {
                // The stream ends only when its handle is closed, which nobody does.
                return std::future::pending().await;
            };
            if let Some(order) = order(signal, self.draining) {
                self.draining |= order == Order::Drain;
                return order;
            }
        }
    }
}

/// What `signal` means now.
fn order(signal: i32, draining: bool) -> Option<Order> {
    match (signal, draining) {
        (SIGTERM | SIGINT, false) => Some(Order::Drain),
        // Someone at a terminal pressed it again. A service manager that lost patience sends SIGKILL instead.
        (SIGINT, true) => Some(Order::AtOnce),
        (SIGHUP, false) => Some(Order::Reload),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stop_is_gentle_and_the_second_interrupt_is_not() {
        assert_eq!(order(SIGTERM, false), Some(Order::Drain));
        assert_eq!(order(SIGINT, false), Some(Order::Drain));
        assert_eq!(order(SIGINT, true), Some(Order::AtOnce));
        assert_eq!(order(SIGTERM, true), None);
        assert_eq!(order(SIGHUP, false), Some(Order::Reload));
        assert_eq!(order(SIGHUP, true), None);
    }
}
