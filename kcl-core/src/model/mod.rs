//! Plain data: every type is a value that can be cloned, compared and printed.
//!
//! **Invariant:** nothing here is `async`, reads a clock, draws randomness, logs or performs I/O.

mod checkpoint;
mod lease;
mod lease_write;
mod name;
mod presence;
mod record;
mod shard;
mod stream;
mod time;
mod watermark;
mod worker;

pub use checkpoint::{
    Checkpoint, ParseCheckpointError, ParseSequenceNumberError, PendingCheckpoint, Position,
    SequenceNumber,
};
pub use lease::{Lease, LeaseCounter, LeaseKey, NewLease, WriteStamp};
pub use lease_write::{
    Change, Effect, Field, LeaseWrite, Precondition, Progress, Update, WriteKind,
};
pub use presence::Presence;
pub use record::{PartitionKey, Record};
pub use shard::{ChildShard, HashKeyRange, ParseHashKeyRangeError, Shard, ShardId};
pub use stream::{
    InitialPosition, StartPosition, StreamArn, StreamDescription, StreamName, StreamStart,
    StreamStatus,
};
pub use time::{Moment, Timestamp};
pub use watermark::Watermark;
pub use worker::WorkerId;
