//! Backends in memory: a [`RecordSource`](kcl_core::backend::RecordSource) and a
//! [`LeaseStore`](kcl_core::backend::LeaseStore).
//!
//! The stream behaves like Kinesis: shard lists can be stale and torn between two pages, iterators
//! expire, reads are throttled, and a reader whose position was trimmed starts at the oldest record
//! without an error. On request it [pushes](Pushes) records, by subscriptions that end, are lost, late
//! or torn. Time comes from the clock of the stream, and nothing is random, so that a
//! simulation can replay it.

mod iterator;
mod knobs;
mod lease_store;
mod limits;
mod pushes;
mod rows;
mod shard_map;
mod stream;

pub use knobs::LatePage;
pub use lease_store::MemoryLeaseStore;
pub use limits::Limits;
pub use pushes::{PushCounts, Pushes};
pub use stream::{MemoryReader, MemoryStream};
