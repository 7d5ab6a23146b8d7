//! Every interleaving of two workers and one lease: the proof that the lease machine, the request
//! for another's lease and the writes fit together.
//!
//! The machines, the writes and the counter watch are the real ones. [`worker`] is the engine
//! around them: it scans, takes, carries out effects and delivers to a consumer. [`world`] is the
//! network and the clocks. [`oracles`] holds the rules of every state, by their names in
//! `docs/internals/lease-protocol.md`.
//!
//! Time advances in ticks, and every other step takes any time: a worker that takes no step for
//! some ticks is paused, a copy of a write that lands some ticks after it was sent is late, one
//! that never lands is lost. One clock may be up to a tick ahead of the other, so that either may
//! be the faster.

#![expect(clippy::wildcard_enum_match_arm, reason = "each match handles the steps of one kind")]

mod call;
mod choices;
mod consumer;
mod deliveries;
mod display;
mod explorer;
mod healing;
mod model;
mod oracles;
mod scope;
mod scopes;
mod sessions;
mod step;
mod violation;
mod worker;
mod world;
