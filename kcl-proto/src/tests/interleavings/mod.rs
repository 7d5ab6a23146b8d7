//! Every interleaving of two workers and one lease: the proof that the lease machine, the request
//! for another's lease and the writes fit together.
//!
//! The machines, the writes and the watch over counters are the real ones. What the engine does around
//! them (scan, take, carry out effects, deliver to a consumer) is [`worker`]; what the network and the
//! clocks may do to them is [`world`]; what must hold in every state is [`oracles`], under the
//! names of `docs/internals/lease-protocol.md`.
//!
//! Time comes in ticks, and everything that is no tick takes as long as it likes: a worker
//! that is not run for some ticks is paused, a copy of a write that lands some ticks after it was sent
//! is late, one that never lands is lost. One clock is up to a tick ahead of the other, so that
//! each may be the faster one.

#![expect(clippy::wildcard_enum_match_arm, reason = "most steps are somebody else's")]

mod display;
mod explorer;
mod healing;
mod oracles;
mod scopes;
mod steps;
mod worker;
mod world;
