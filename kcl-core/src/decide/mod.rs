//! Decisions, as pure functions and state machines.
//!
//! **Invariant:** nothing here is `async`, reads a clock, draws randomness, logs or performs
//! I/O. Time comes in as `now`, chance as an argument, the world as a snapshot; what goes out is data.

#![expect(
    clippy::exhaustive_enums,
    reason = "every case is handled where it is carried out, and a new one must not compile"
)]

pub mod asking;
pub mod at_risk;
pub mod balance;
pub mod bootstrap;
pub mod checkpointing;
pub mod children;
pub mod cleanup;
pub mod coverage;
pub mod expiry;
pub mod failure;
pub mod holding;
pub mod holes;
pub mod lifecycle;
pub mod memory;
pub mod pace;
pub mod parents;
pub mod prefetch;
pub mod presence;
pub mod resume;
pub mod retry;
pub mod scan_budget;
pub mod shard_sync;
pub mod slow;
pub mod tenancy;
pub mod turn;
pub mod under_way;
pub mod write_numbers;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod interleavings;
