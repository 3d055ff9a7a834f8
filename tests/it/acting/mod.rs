//! An operator's hand: what is asked before something is lost, what is acted on at once, and what is left of it in the log.

mod asked;
mod audit;
mod head;
mod limits;
mod recipes;
mod several;
