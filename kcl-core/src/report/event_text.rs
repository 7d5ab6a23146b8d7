//! Events as one line of text.

use std::fmt;

use crate::report::event::Event;

impl fmt::Display for Event {
    #[expect(clippy::too_many_lines, reason = "one arm for each event")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { worker } => write!(f, "worker {worker} started"),
            Self::SessionLost { worker, reason } => {
                write!(f, "session lost, continuing as {worker}: {reason}")
            }
            Self::WorkerCondemned { worker } => {
                write!(f, "silent worker {worker} declared dead: its leases are free")
            }
            Self::HolderStuck { key } => {
                write!(f, "the holder of lease {key} does not answer: it is given up")
            }
            Self::WorkerOutdated { worker } => write!(
                f,
                "worker {worker} does not know sessions, and this fleet uses them: replace it"
            ),
            Self::LeaseTaken { key, checkpoint, why, .. } => {
                write!(f, "lease {key} taken at {checkpoint}: {why}")
            }
            Self::LeaseEnded { key, how, checkpoint } => {
                write!(f, "lease {key} ended at {checkpoint}: {how}")
            }
            Self::HandoverBegun { key, owner } => {
                write!(f, "asked {owner} to hand over lease {key}")
            }
            Self::HandoverAsked { key, next } => {
                write!(f, "{next} asked for lease {key}: its consumer drains")
            }
            Self::HandoverEnded { key, reason } => {
                write!(f, "hand-over of lease {key} ended without moving it: {reason}")
            }
            Self::BatchFailed { shard, attempt, error, retry_in } => {
                let text = format_args!("batch of {shard} failed, attempt {attempt}");
                write!(f, "{text}, again in {retry_in:?}: {error}")
            }
            Self::RecordFailed { shard, position, attempt, error, retry_in } => {
                let text = format_args!("record {position} of {shard} failed, attempt {attempt}");
                write!(f, "{text}, again in {retry_in:?}: {error}")
            }
            Self::DeadLettered { shard, position, attempts, error } => {
                let text = format_args!("record {position} of {shard} stored in the dead letter");
                write!(f, "{text} after {attempts} attempts: {error}")
            }
            Self::DeadLetterFailed { shard, position, attempt, error, .. } => {
                let text = format_args!("dead letter did not store record {position} of {shard}");
                write!(f, "{text}, attempt {attempt}: {error}")
            }
            Self::Skipped { shard, position, attempts, error, .. } => {
                let text = format_args!("record {position} of {shard} skipped and lost");
                write!(f, "{text} after {attempts} attempts: {error}")
            }
            Self::ShardStopped { shard, call, position: Some(position), error, .. } => {
                write!(f, "{shard} stopped at record {position}: {call} failed: {error}")
            }
            Self::ShardStopped { shard, call, position: None, error, .. } => {
                write!(f, "{shard} stopped: {call} failed: {error}")
            }
            Self::ProcessorFailed { shard, call, attempt, error, .. } => {
                write!(f, "{call} of {shard} failed, attempt {attempt}: {error}")
            }
            Self::FetchFailed { shard, error, retry_in } => {
                write!(f, "read of {shard} failed, again in {retry_in:?}: {error}")
            }
            Self::DataAtRisk { shard, age, retention } => {
                let text = format_args!("unprocessed records of {shard} may be {age:?} old");
                write!(f, "{text}, and are trimmed after {retention:?}")
            }
            Self::DataLost { shard, from, to, .. } => {
                write!(f, "records of {shard} were trimmed unprocessed, from {from} to {to}")
            }
            Self::MalformedAggregates { shard, count, last, reason } => {
                write!(f, "{count} malformed aggregates in {shard}, the last at {last}: {reason}")
            }
            Self::OutOfRangeDropped { shard, count, last } => {
                let text = format_args!("{count} user records out of the range of {shard} dropped");
                write!(f, "{text}, the last in {last}")
            }
            Self::ShardEndOverdue { shard, ends_in } => {
                let text =
                    format_args!("{shard} is listed as closed, but its end is not announced");
                write!(f, "{text}: it ends after {ends_in:?} without records")
            }
            Self::ShardEnded { shard, children } => {
                write!(f, "{shard} ended, followed by")?;
                let mut separator = " ";
                for child in children {
                    write!(f, "{separator}{child}")?;
                    separator = ", ";
                }
                if children.is_empty() { f.write_str(" no shard") } else { Ok(()) }
            }
            Self::LeaseCreated { key } => write!(f, "lease {key} created"),
            Self::CreatingLeases { existing, total } => {
                write!(f, "creating the first leases: {existing} of {total} exist")
            }
            Self::LeaseDeleted { key } => write!(f, "lease {key} deleted"),
            Self::HashKeysUncovered { range } => write!(f, "hash keys {range} have no lease"),
            Self::ProcessorSlow { shard, call, taken } => {
                write!(f, "{call} of {shard} has run for {taken:?}")
            }
            Self::Stalled { shard } => {
                write!(f, "processor of {shard} ran past its time: lease released")
            }
            Self::UnreadableRow { key, problem } => {
                write!(f, "row {key} of the lease table is unreadable: {problem}")
            }
            Self::NameShared { other } => {
                write!(f, "another live worker has this worker's name: {other}")
            }
            Self::ScansRare { period, budget, needed } => write!(
                f,
                "scans of the lease table are {period:?} apart with lease.scan_units = {budget}, \
                 so that crashes are noticed late: raise it to {needed}"
            ),
            Self::CallFailed { doing, error, count: 0 | 1, .. } => {
                write!(f, "failed to {doing}: {error}")
            }
            Self::CallFailed { doing, error, count, .. } => {
                write!(f, "failed {count} times to {doing}: {error}")
            }
            Self::WaitingForJava { seen, at_least } => {
                write!(f, "waiting {at_least:?} for Java workers to be gone: {seen}")
            }
            Self::ConsumerPanicked { shard, error } => {
                write!(f, "consumer of {shard} panicked: {error}")
            }
            Self::ConsumersBlocked { count } => {
                write!(f, "{count} processors block their threads until the process exits")
            }
            Self::ObserverPanicked { error } => write!(f, "observer panicked: {error}"),
            Self::EventsDropped { count } => write!(f, "{count} events dropped"),
        }
    }
}
