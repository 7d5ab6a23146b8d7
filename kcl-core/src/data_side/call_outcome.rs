//! The calls of the application's code, how they end, and why a wait is interrupted.

use kcl_proto::consumer::lifecycle::Event as Happened;
use kcl_proto::model::Position;

use crate::BoxError;
use crate::processor::partial_failure;
use crate::report::log::chain;

/// A call of the application's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Initialize,
    ProcessRecords,
    ShardEnded,
    ShutdownRequested,
    /// The dead letter, with the record at this position.
    DeadLetter(Position),
}

impl Call {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::ProcessRecords => "process_records",
            Self::ShardEnded => "shard_ended",
            Self::ShutdownRequested => "shutdown_requested",
            Self::DeadLetter(_) => "dead letter",
        }
    }
}

/// Why the application's code may not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The lease is lost.
    Lost,
    /// The lease's deadline passed without a renewal.
    DeadlinePassed,
    /// The time of the drain is up.
    TimeUp,
}

impl From<Stop> for Happened {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Lost => Self::LeaseLost,
            Stop::DeadlinePassed => Self::DeadlinePassed,
            Stop::TimeUp => Self::TimeUp,
        }
    }
}

/// How a call of the processor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It returned `Ok`.
    Succeeded,
    /// It returned an error.
    Failed(CallFailure),
    /// It panicked, or an acknowledgement failed: the processor is dropped.
    Broken(CallFailure),
    /// It was cancelled, or never began.
    Stopped(Stop),
}

/// Why a wait ended before the event that it waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The holder asks for a drain.
    DrainAsked,
    /// An acknowledgement or the background work failed: the processor is dropped.
    Broken(CallFailure),
    /// The application's code may not run.
    Stopped(Stop),
}

/// The error of a call, and the records at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallFailure {
    /// The error with its causes, as one line.
    pub(super) error: String,
    /// The records that the error names.
    pub(super) named: Vec<Position>,
    /// The records at fault, if they are in flight from an earlier call.
    pub(super) in_flight: Option<Vec<Position>>,
    /// Whether the records have used up their attempts.
    pub(super) is_final: bool,
}

impl From<String> for CallFailure {
    fn from(error: String) -> Self {
        Self { error, named: Vec::new(), in_flight: None, is_final: false }
    }
}

impl From<&BoxError> for CallFailure {
    fn from(error: &BoxError) -> Self {
        Self { named: partial_failure::named(&**error).to_vec(), ..chain(&**error).into() }
    }
}
