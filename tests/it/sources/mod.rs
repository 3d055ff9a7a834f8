//! Incoming webhooks, through the real binary and its real listener: one file per promise.

mod crash;
mod tls;
mod upkeep;
mod vectors;
