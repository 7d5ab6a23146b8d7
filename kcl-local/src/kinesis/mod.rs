//! A stream in memory: a [`RecordSource`](kcl_core::record_source::RecordSource) without a wire.
//!
//! It behaves as Kinesis does, also where that is unpleasant: lists can be stale and torn between
//! two pages, iterators expire, reads are throttled, and a position that has been trimmed is not
//! announced: reading starts at what is left. Time comes from the clock it is given, and nothing is
//! left to chance, so that a simulation can replay it.

mod iterator;
mod limits;
mod shard_map;
mod stream;

pub use iterator::MemoryReader;
pub use limits::Limits;
pub use stream::{LatePage, MemoryStream};
