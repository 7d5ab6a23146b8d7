//! One held lease, as a state machine: what to write, which answers count, when the lease ends.
//!
//! [`Holding::on`] takes an input and returns effects. It owns the write in flight, the deadline,
//! the merging of checkpoints into renewals, hand-overs, the shard's end and release. The engine
//! only carries its effects out. The rules are `docs/internals/lease-protocol.md`, L1 to L9.
//!
//! A lease lives by its own counter, which the holder renews, or by the
//! [session](crate::lease::session) of its worker. Then the holder writes the row only to prepare a
//! checkpoint, to hand the lease over, to release it or to end it; its progress goes to the session
//! ([`HoldingEffect::Keep`]), and the session says until when it may process
//! ([`HoldingInput::SessionLives`]).

mod goal;
mod handover;
mod input;
mod life;
mod machine;
mod pending_write;
#[cfg(test)]
mod prepared_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;

pub use handover::HANDOVER_READ_EVERY;
pub use input::{HoldingEffect, HoldingInput, HoldingTimes, InSession, StoreEvery, Taken};
pub use machine::Holding;
