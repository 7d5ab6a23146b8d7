//! What people want to know about a fleet, from the rows of its table: states, verdicts, findings,
//! and why a shard stands still.
//!
//! [`FleetReport::of`](fleet_report::FleetReport::of) turns what was [seen](look::Seen) into a
//! report, and [`Why::of`](why::Why::of) explains one shard. Both read the rows of the Java KCL as
//! well. Their times compare clocks of two machines, which is good enough for people: no worker
//! decides by them.

pub mod finding;
mod findings;
pub mod fleet_report;
pub mod look;
mod progress;
mod reporting;
#[cfg(feature = "serde")]
mod serde_parts;
pub mod shard_report;
mod sign_of_life;
mod state;
#[cfg(test)]
mod tests;
pub mod why;
pub mod worker_report;
