//! Decisions, as pure functions and state machines.
//!
//! **Invariant:** nothing here is `async`, reads a clock, draws randomness, logs or performs
//! I/O. Time comes in as `now`, chance as an argument, the world as a snapshot; what goes out is data.

pub mod asking;
pub mod bootstrap;
pub mod cleanup;
pub mod coverage;
#[cfg(test)]
mod histories;
pub mod holding;
pub mod parents;
pub mod shard_sync;
pub mod tenancy;
pub mod write_numbers;
