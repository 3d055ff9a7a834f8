//! Incoming webhooks, through the real binary and its real listener: one file per promise.

mod answers;
mod isolation;
mod repeats;
mod trackingtime;
mod crash;
mod tls;
mod upkeep;
mod vectors;
