//! Why a worker stopped: [`RunError`].

use kcl_proto::model::{Position, ShardId, StreamArn, StreamName};
use kcl_proto::shards::bootstrap::StreamMismatch;
use thiserror::Error;

use crate::BoxError;
use crate::backend::LeaseStoreError;
use crate::backend::SourceError;
use crate::tasks::stopped_shards::FatalFailure;
use crate::tasks::supervisor::TaskPanic;

/// Why a worker stopped without a request. [`kind`](Self::kind) says what to do.
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
    /// The stream was deleted and created again under its name: stored positions mean nothing
    /// there. Start a new application (another lease table), or delete this one's table.
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
        /// The stream this worker is set up to consume.
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
    /// Records used up their attempts, and the [policy](crate::config::FailurePolicy) is to stop
    /// the worker. Correct the processor, or the records.
    #[error("records of shard {shard} from {position} on failed too often: {error}")]
    RecordsFailed {
        /// The shard.
        shard: ShardId,
        /// The first record that failed.
        position: Position,
        /// The processor's last error.
        error: String,
    },
    /// `initialize` or `shard_ended` used up its attempts, and the
    /// [policy](crate::config::FailurePolicy) is to stop the worker. Correct the processor, or what
    /// it calls.
    #[error("{call} of shard {shard} failed too often: {error}")]
    ProcessorFailed {
        /// The shard.
        shard: ShardId,
        /// The call.
        call: &'static str,
        /// The processor's last error.
        error: String,
    },
    /// A part of the lease side panicked. A bug in this library: please report it.
    #[error("task {task} panicked: {message}")]
    TaskPanicked {
        /// The task.
        task: &'static str,
        /// The panic's message.
        message: String,
    },
    /// A thread of the worker could not be started.
    #[error("a thread of the worker could not be started")]
    Thread(#[source] BoxError),
}

/// What to do about a [`RunError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunErrorKind {
    /// Start the worker again: the cause may pass.
    Retry,
    /// Change what the worker is set up with, such as a name, a permission or a table; then start
    /// it. Until then every start fails alike.
    FixSetup,
    /// Correct the processor, what it calls, or the records; then start the worker.
    FixProcessor,
    /// Report a bug in this library. The worker may be started again meanwhile.
    Bug,
}

impl RunError {
    /// Returns what to do about the error.
    #[must_use]
    pub const fn kind(&self) -> RunErrorKind {
        match self {
            Self::Leases(_)
            | Self::Stream(_)
            | Self::StreamDeleted { .. }
            | Self::StreamRecreated { .. }
            | Self::OtherStream { .. }
            | Self::JavaFleetAlive { .. } => RunErrorKind::FixSetup,
            Self::RecordsFailed { .. } | Self::ProcessorFailed { .. } => RunErrorKind::FixProcessor,
            Self::TaskPanicked { .. } => RunErrorKind::Bug,
            Self::Thread(_) => RunErrorKind::Retry,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        use RunErrorKind::{Bug, FixProcessor, FixSetup, Retry};

        let (stream, shard) = (StreamName::from("orders"), ShardId::from("shardId-0"));
        let (stored, found) = ("id a".to_owned(), "id b".to_owned());
        let (arn, error) = (StreamArn::from("arn"), "error".to_owned());
        let position = Position::of(1.into());
        let cause = || -> BoxError { "cause".into() };
        for (error, kind) in [
            (RunError::Leases(LeaseStoreError::TableMissing { table: "orders".into() }), FixSetup),
            (RunError::Stream(SourceError::StreamMissing { stream: "orders".into() }), FixSetup),
            (RunError::StreamDeleted { stream: stream.clone() }, FixSetup),
            (RunError::StreamRecreated { stream, stored, found }, FixSetup),
            (RunError::OtherStream { stored: arn.clone(), found: arn }, FixSetup),
            (RunError::JavaFleetAlive { seen: "LEADER".to_owned() }, FixSetup),
            (
                RunError::RecordsFailed { shard: shard.clone(), position, error: error.clone() },
                FixProcessor,
            ),
            (RunError::ProcessorFailed { shard, call: "initialize", error }, FixProcessor),
            (RunError::TaskPanicked { task: "holder", message: "no".to_owned() }, Bug),
            (RunError::Thread(cause()), Retry),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
