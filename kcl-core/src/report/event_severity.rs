//! How urgent each event is.

use crate::report::event::{Event, Severity};

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
