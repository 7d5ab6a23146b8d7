//! How urgent an event is.

use crate::report::event::Event;

/// How urgent an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "the levels of a log that events have")]
pub enum Severity {
    /// A change that is part of normal work.
    Info,
    /// Something failed and is retried, or needs a look if it lasts.
    Warn,
    /// Records are lost or not processed, or a shard has stopped.
    Error,
}

impl Event {
    /// Returns how urgent the event is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Started { .. }
            | Self::LeaseTaken { .. }
            | Self::LeaseEnded { .. }
            | Self::HandoverBegun { .. }
            | Self::HandoverAsked { .. }
            | Self::HandoverEnded { .. }
            | Self::ShardEnded { .. }
            | Self::LeaseCreated { .. }
            | Self::CreatingLeases { .. }
            | Self::LeaseDeleted { .. } => Severity::Info,
            Self::BatchFailed { .. }
            | Self::RecordFailed { .. }
            | Self::DeadLettered { .. }
            | Self::ProcessorFailed { .. }
            | Self::FetchFailed { .. }
            | Self::MalformedAggregates { .. }
            | Self::OutOfRangeDropped { .. }
            | Self::ShardEndOverdue { .. }
            | Self::ProcessorSlow { .. }
            | Self::SessionLost { .. }
            | Self::WorkerCondemned { .. }
            | Self::WorkerOutdated { .. }
            | Self::NameShared { .. }
            | Self::ScansRare { .. }
            | Self::CallFailed { .. }
            | Self::WaitingForJava { .. }
            | Self::EventsDropped { .. } => Severity::Warn,
            Self::DeadLetterFailed { .. }
            | Self::HolderStuck { .. }
            | Self::Skipped { .. }
            | Self::ShardStopped { .. }
            | Self::DataAtRisk { .. }
            | Self::DataLost { .. }
            | Self::HashKeysUncovered { .. }
            | Self::Stalled { .. }
            | Self::UnreadableRow { .. }
            | Self::ConsumerPanicked { .. }
            | Self::ConsumersBlocked { .. }
            | Self::ObserverPanicked { .. } => Severity::Error,
        }
    }
}
