//! One worker: when its periodic work is due, when leases do not move, what it misses, and how it
//! stops.

pub mod congestion;
pub mod missing_watch;
pub mod schedule;
pub mod shutdown;
