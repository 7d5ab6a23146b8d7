//! Why a worker stopped: [`RunError`].

use kcl_proto::model::{Position, ShardId, StreamArn, StreamName};
use kcl_proto::shards::bootstrap::StreamMismatch;
use thiserror::Error;

use crate::BoxError;
use crate::backend::LeaseStoreError;
use crate::backend::SourceError;
use crate::tasks::stopped_shards::FatalFailure;
use crate::tasks::supervisor::TaskPanic;

/// Why a worker stopped without being asked to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The lease table cannot be used. The source says what is wrong with it and what to do.
    #[error("lease table cannot be used")]
    Leases(#[source] LeaseStoreError),
    /// The stream cannot be read. The source says what is wrong with it and what to do.
    #[error("stream cannot be read")]
    Stream(#[source] SourceError),
    /// The stream was deleted. If that was meant, stop the fleet.
    #[error("stream {stream} is being deleted: stop the fleet if that was meant")]
    StreamDeleted {
        /// The stream.
        stream: StreamName,
    },
    /// The stream was deleted and created again under its name: stored positions mean nothing there.
    /// Start a new application (another lease table), or delete this one's table.
    #[error(
        "stream {stream} was created again after this application began to consume it ({stored}, \
         now {found}): its leases belong to the former stream; use another application name or \
         delete the lease table"
    )]
    StreamRecreated {
        /// The stream.
        stream: StreamName,
        /// What the application began with.
        stored: String,
        /// What there is now.
        found: String,
    },
    /// The table's leases are for another stream. Use one application name for each stream.
    #[error(
        "lease table is in use for stream {stored}, not {found}: use another application name for \
         each stream"
    )]
    OtherStream {
        /// What the table is used for.
        stored: StreamArn,
        /// What this worker was told to consume.
        found: StreamArn,
    },
    /// Java workers are using the table. Stop them first, or use another table.
    #[error(
        "Java KCL workers are using this lease table ({seen}): stop them before this worker starts"
    )]
    JavaFleetAlive {
        /// What changed while it was watched.
        seen: String,
    },
    /// Records used up their attempts, and the [policy](crate::config::FailurePolicy) is to stop the
    /// worker. Mend the processor, or the records.
    #[error("records of shard {shard} from {position} on failed too often: {error}")]
    RecordsFailed {
        /// The shard.
        shard: ShardId,
        /// The first record that failed.
        position: Position,
        /// What the processor said last.
        error: String,
    },
    /// `initialize` or `shard_ended` used up its attempts, and the
    /// [policy](crate::config::FailurePolicy) is to stop the worker. Mend the processor, or what it calls.
    #[error("{call} of shard {shard} failed too often: {error}")]
    ProcessorFailed {
        /// The shard.
        shard: ShardId,
        /// The call.
        call: &'static str,
        /// What the processor said last.
        error: String,
    },
    /// A part of the lease side panicked. A bug in this library: please report it.
    #[error("task {task} panicked: {message}")]
    TaskPanicked {
        /// The task.
        task: &'static str,
        /// What it said.
        message: String,
    },
    /// The lease side's thread could not be started.
    #[error("lease thread could not be started")]
    Thread(#[source] BoxError),
}

impl From<StreamMismatch> for RunError {
    fn from(mismatch: StreamMismatch) -> Self {
        match mismatch {
            StreamMismatch::Other { stored, found } => Self::OtherStream { stored, found },
            StreamMismatch::Recreated { stream, stored, found } => {
                Self::StreamRecreated { stream, stored, found }
            }
        }
    }
}

impl From<FatalFailure> for RunError {
    fn from(FatalFailure { shard, call, position, error }: FatalFailure) -> Self {
        match position {
            Some(position) => Self::RecordsFailed { shard, position, error },
            None => Self::ProcessorFailed { shard, call, error },
        }
    }
}

impl From<TaskPanic> for RunError {
    fn from(TaskPanic { task, message }: TaskPanic) -> Self {
        Self::TaskPanicked { task, message }
    }
}
