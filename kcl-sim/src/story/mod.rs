//! Stories: tests of whole fleets in which only what the test says goes wrong.
//!
//! A [`Story`] is a [`World`](crate::World) without chance in its faults. The test starts workers
//! with scripted processors, puts records, strikes workers with faults, and waits
//! [until](Story::until) something holds. All [oracles](crate::Oracle) watch after every step. When
//! the story is dropped, its faults end, and the fleet must heal and shut down, unless the story
//! [says](Story::ends_unhealed) otherwise.
//!
//! ```
//! use std::time::Duration;
//!
//! use kcl_sim::story::Story;
//!
//! const EXPIRY: Duration = Duration::from_secs(10);
//!
//! let story = Story::new(2);
//! let ann = story.start("ann");
//! story.put(0, ["a", "b"]);
//! story.until("a is delivered", EXPIRY, |story| story.journal.has("a"));
//! ann.crash();
//! let _ben = story.start("ben");
//! story.until("ben owns both shards", EXPIRY * 2, |story| story.owned_by("ben") == Some(2));
//! ```
//!
//! A story panics where a promise is broken or a condition does not come to hold, at the line of
//! the test that waited.

mod fleet;
mod journal;
mod letters;
mod member;
mod notes;
mod script;
mod stage;
#[cfg(test)]
mod tests;

pub use fleet::Story;
pub use journal::{Delivered, Entry, Handled, Journal, What};
pub use member::Member;
pub use notes::{Notes, ShardNotes};
pub use script::{Act, Call, CallKind};

pub use crate::world::{CallFault, Calls};
