pub mod cli;
pub mod clock;
pub mod config;
pub mod model;
pub mod operate;
pub mod queue;
