pub mod clock;
pub mod model;
pub mod operate;
pub mod queue;
