//! The judge of every run with crashes: what was acknowledged, what arrived, what is left.
