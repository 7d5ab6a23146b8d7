//! The protocol of the Kinesis consumer framework: plain data, and its rules as pure functions and
//! state machines.
//!
//! **Invariant:** nothing here is `async`, reads a clock, draws randomness, logs or performs I/O.
//! Time is an argument `now`, chance is an argument, the world is a snapshot, and results are data.
//! The manifest proves it: this crate depends on no runtime, no logger and no source of randomness.
//!
//! | Module | Decides about |
//! |---|---|
//! | [`model`] | nothing: plain data |
//! | [`lease`] | one lease: its writes, the machine of its holder, expiry |
//! | [`fleet`] | all leases and all workers: balance, presence, how often to scan |
//! | [`shards`] | the stream: lineage, coverage, first leases, cleanup |
//! | [`consumer`] | the records of one shard: lifecycle, progress, failures, reading |
//! | [`worker`] | one worker: when its periodic work is due, how it stops |
//! | [`operate`] | nothing: what people see of a fleet, and why a shard stands still |
//! | [`kpl`] | nothing: the codec of aggregated records |

#![expect(
    clippy::exhaustive_enums,
    reason = "every case is handled where it is carried out, and a new one must not compile"
)]

pub mod consumer;
pub mod fleet;
pub mod kpl;
pub mod lease;
pub mod model;
pub mod operate;
pub mod recurring;
pub mod shards;
pub mod worker;

#[cfg(test)]
mod tests;
