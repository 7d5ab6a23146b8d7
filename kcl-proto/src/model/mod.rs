//! Plain data: every type can be cloned, compared and printed.
//!
//! **Invariant:** nothing here is `async`, reads a clock, draws randomness, logs or performs I/O.

mod bulletin;
mod checkpoint;
mod digits;
mod fencing_token;
mod key_number;
mod lease;
mod lease_counter;
mod lease_end;
mod lease_rows;
mod liveness;
mod move_bytes;
mod name;
mod packed_sequence;
mod policies;
mod posted;
mod presence;
mod progress_bytes;
mod read_from;
mod record;
#[cfg(feature = "serde")]
mod serde_text;
mod session;
mod session_progress;
mod shard;
mod shard_info;
mod stream;
mod time;
mod worker;

pub use bulletin::{Bulletin, Publication};
pub use checkpoint::{
    Checkpoint, ParseCheckpointError, ParseSequenceNumberError, PendingCheckpoint, Position,
    SequenceNumber,
};
pub use fencing_token::FencingToken;
pub use lease::{Lease, LeaseKey, NewLease, WriteStamp};
pub use lease_counter::LeaseCounter;
pub use lease_end::{LeaseEnd, TakeReason};
pub use lease_rows::{Conditional, JavaRow, UnreadableRow};
pub use liveness::{Liveness, ParseLivenessError};
pub use policies::{CheckpointPolicy, FailurePolicy, OnExhausted};
pub use posted::{HoldUp, HoldUpKind, Posted};
pub use presence::Presence;
pub use progress_bytes::DecodeProgressError;
pub use read_from::{ReadFrom, ShardFilter};
pub use record::{PartitionKey, Record};
pub use session::{Session, SessionKind};
pub use session_progress::{KeptProgress, SessionProgress};
pub use shard::{ChildShard, HashKeyRange, ParseHashKeyRangeError, Shard, ShardId};
pub use shard_info::ShardInfo;
pub use stream::{
    InitialPosition, ParseInitialPositionError, StartPosition, StreamArn, StreamDescription,
    StreamName, StreamStart, StreamStatus,
};
pub use time::{Moment, ParseTimestampError, Timestamp};
pub use worker::WorkerId;
