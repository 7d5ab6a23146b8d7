//! One held lease, as a state machine: what to write, what to believe, when to let go.
//!
//! [`Holding::on`] takes what happened and returns what to do. It owns the write in flight, the
//! deadline, the merging of checkpoints into renewals, hand-over, the shard's end and release.
//! `engine/holder.rs` only carries its effects out. The rules are `docs/internals/lease-protocol.md`, L1 to L9.

mod input;
mod machine;
mod pending_write;
#[cfg(test)]
mod prepared_tests;
#[cfg(test)]
mod tests;

pub use input::{HoldingEffect, HoldingInput, HoldingTimes, StoreEvery};
pub use machine::{HAND_OVER_READ_EVERY, Holding};
