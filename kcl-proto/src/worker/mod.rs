//! One worker: when its periodic work is due, when leases do not move, what it misses, which
//! failures it reports, whether it is well, and how it stops.

pub mod congestion;
pub mod health;
pub mod missing_watch;
pub mod repeated_failures;
pub mod schedule;
pub mod shutdown;
