//! Backends in memory: a [`RecordSource`](kcl_core::backend::RecordSource) and a
//! [`LeaseStore`](kcl_core::backend::LeaseStore) without a wire.
//!
//! The stream behaves as Kinesis does, also where that is unpleasant: lists can be stale and torn between
//! two pages, iterators expire, reads are throttled, and a position that has been trimmed is not
//! announced: reading starts at what is left. Time comes from the clock it is given, and nothing is
//! left to chance, so that a simulation can replay it.

mod iterator;
mod lease_store;
mod limits;
mod shard_map;
mod stream;

pub use iterator::MemoryReader;
pub use lease_store::MemoryLeaseStore;
pub use limits::Limits;
pub use stream::{LatePage, MemoryStream};
