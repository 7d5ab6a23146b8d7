//! The session of a worker, as a state machine: the one sign of life of all leases that live by it.
//!
//! [`SessionKeeper::on`] takes an input and returns effects. It owns the write in flight, the one
//! deadline, the progress that waits for the next heartbeat, and the roll of the holders. The rules
//! are `docs/internals/lease-protocol.md`, S1 to S11.
//!
//! What the shell does:
//!
//! - It feeds [`SessionInput::Tick`] at [`wake_at`](SessionKeeper::wake_at), and the outcome of
//!   each [`Write`](KeeperEffect::Write).
//! - It passes [`Lives`](KeeperEffect::Lives) on to every holder that holds, as
//!   [`HoldingInput::SessionLives`], except to those that are
//!   [stuck](KeeperEffect::Stuck). It passes a position that is [`Stored`](KeeperEffect::Stored) on
//!   as [`HoldingInput::SessionStored`], to the holder of that lease whose row has that token.
//! - It feeds [`Holds`](SessionInput::Holds) when a holding begins, and
//!   [`Ended`](SessionInput::Ended) at its end. A holder's
//!   [`Keep`](crate::lease::holding::HoldingEffect::Keep), and that its loop woke, which it does at
//!   least every [`beat_every`](SessionTimes::beat_every), are a [`HolderReport`]: the shell feeds
//!   those of all holders as one [`Reports`](SessionInput::Reports) before a heartbeat is due, and
//!   an urgent one at once.
//! - It feeds every row of a lease that it reads, or that a write returns, as
//!   [`Seen`](SessionInput::Seen).
//! - It begins a holding only if [`deadline`](SessionKeeper::deadline) is `Some` and later than now
//!   when the answer to the take arrives.
//! - At [`Ended`](KeeperEffect::Ended) all holdings end ([`HoldingInput::SessionOver`]); a worker
//!   that does not stop opens a session under another id.
//! - It resigns where it cannot release its leases: at a panic of the lease side, after the data
//!   side is cancelled, and after a drain that was missed. Before it feeds
//!   [`SessionInput::Resign`], no processor runs.
//!
//! [`HoldingInput::SessionLives`]: crate::lease::holding::HoldingInput::SessionLives
//! [`HoldingInput::SessionStored`]: crate::lease::holding::HoldingInput::SessionStored
//! [`HoldingInput::SessionOver`]: crate::lease::holding::HoldingInput::SessionOver

mod entries;
mod input;
mod machine;
mod roll;
#[cfg(test)]
mod tests;

pub use input::{HolderReport, KeeperEffect, SessionEnd, SessionInput, SessionTimes};
pub use machine::{LAST_UPDATE_AGE, SessionKeeper};
