//! Whole workers in virtual time: a stream and a lease table in memory, processors that do as told,
//! faults, and a journal of everything that happened.
//!
//! Tests that use it run on a paused runtime: time passes when everybody waits, and only then.

mod clock;
mod faults;
mod journal;
mod letters;
mod script;
mod stage;

pub use clock::TestClock;
pub use faults::{Faults, FaultySource, FaultyStore, StoreFault};
pub use journal::{Call, Entry, Journal, Moment, Said};
pub use letters::Letters;
pub use script::{Act, Asked, Scripted};
pub use stage::{Member, World};
