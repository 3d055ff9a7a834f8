//! What can come of an attempt. A refused delivery is a value; an `Err` is our own trouble.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::UnixMs;

/// Defines an enum whose every variant has one stable kebab-case code, used in the API, the CLI, logs and the store.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $($name::$variant => $code,)+ }
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|reason| reason.code() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|reason| reason.code()).collect();
                    format!("must be one of {}", known.join(", "))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.code())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.code())
            }
        }
    };
}

reasons! {
    /// Why an attempt failed.
    FailReason {
        /// The receiver answered with a status outside 2xx (a redirect included: it is never followed).
        Status = "status",
        /// The attempt's deadline passed, at whatever stage.
        Timeout = "timeout",
        /// The host name did not resolve.
        Dns = "dns",
        /// The guard refused the address.
        AddressNotAllowed = "address-not-allowed",
        /// Plain http to an address that `[egress] allow_http` does not name.
        HttpNotAllowed = "http-not-allowed",
        /// The connection was refused or the host unreachable.
        Connect = "connect",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The connection was closed or reset before the response head was complete.
        Reset = "reset",
        /// What came back is not an HTTP/1.1 response, or is past a limit.
        Protocol = "protocol",
        /// Our own trouble during the attempt, out of file descriptors above all.
        Local = "local",
    }
}

reasons! {
    /// Why a delivery became a dead letter.
    DeadReason {
        /// The last attempt failed.
        AttemptsExhausted = "attempts-exhausted",
        /// An operator skipped it.
        Skipped = "skipped",
        /// Its webhook is disabled.
        WebhookDisabled = "webhook-disabled",
        /// Its webhook was deleted.
        WebhookDeleted = "webhook-deleted",
        /// Its webhook's URL has a variable for which the event has no value.
        MissingVariable = "missing-variable",
        /// Its webhook's URL has a variable whose value no URL can carry as one segment.
        InvalidVariable = "invalid-variable",
    }
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it; the delivery leaves the queue.
    Delivered,
    /// It stays the head and is not tried again before this time.
    Retry {
        /// Wall-clock time of the next attempt.
        not_before: UnixMs,
    },
    /// It stays the head, and is tried again only when someone says so.
    Hold,
    /// It is given up and the next delivery becomes the head.
    Dead {
        /// Why.
        reason: DeadReason,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back() {
        for reason in FailReason::ALL {
            assert_eq!(reason.code().parse(), Ok(*reason));
        }
        for reason in DeadReason::ALL {
            assert_eq!(reason.code().parse(), Ok(*reason));
        }
        assert!("x".parse::<DeadReason>().unwrap_err().contains("attempts-exhausted"));
    }
}
