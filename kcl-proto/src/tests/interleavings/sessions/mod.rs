//! Every interleaving of two workers, their sessions and one lease: the proof that the machine of a
//! session, the machine of a lease that lives by it, the observer, adoption and the writes fit
//! together.
//!
//! The machines are the real ones. [`worker`] is the shell around them. What is reduced:
//!
//! - Every worker sees every row the moment it changes. One that sees it later is only more patient,
//!   and one that acts on an older row sends a write that lands later.
//! - Heartbeats of a worker that no lease names are made and answered at once, and so are the writes
//!   that open a session and bury one.
//! - A request for a lease is a single write, as is its withdrawal.

mod choices;
mod display;
mod healing;
mod message;
mod model;
mod oracles;
mod scopes;
mod step;
mod worker;
mod world;
