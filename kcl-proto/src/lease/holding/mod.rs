//! One held lease, as a state machine: what to write, which answers count, when the lease ends.
//!
//! [`Holding::on`] takes an input and returns effects. It owns the write in flight, the deadline,
//! the merging of checkpoints into renewals, hand-overs, the shard's end and release. The engine
//! only carries its effects out. The rules are `docs/internals/lease-protocol.md`, L1 to L9.

mod input;
mod machine;
mod pending_write;
#[cfg(test)]
mod prepared_tests;
#[cfg(test)]
mod tests;

pub use input::{HoldingEffect, HoldingInput, HoldingTimes, StoreEvery};
pub use machine::{HANDOVER_READ_EVERY, Holding, Taken};
