pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod model;
pub mod operate;
pub mod queue;
pub mod scheduler;
