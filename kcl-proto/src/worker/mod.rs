//! One worker: when its periodic work is due, and how it stops.

pub mod schedule;
pub mod shutdown;
