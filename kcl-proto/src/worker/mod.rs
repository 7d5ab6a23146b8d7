//! One worker: when its periodic work is due, what it misses, and how it stops.

pub mod missing_watch;
pub mod schedule;
pub mod shutdown;
