//! Span constructors and field names, and the log line of each event.

use kcl_proto::model::{ShardId, StreamName, WorkerId};
use tracing::field::{debug, display};
use tracing::{Span, error, info, info_span, warn};

use crate::report::event::{Event, EventContext, Observer, Severity};

/// The span of everything one worker does.
pub(crate) fn worker_span(application: &str, worker: &WorkerId) -> Span {
    info_span!("worker", application, worker_id = %worker)
}

/// The span of everything done for one ownership of one shard.
pub(crate) fn shard_span(stream: &StreamName, shard: &ShardId) -> Span {
    info_span!("shard", %stream, shard_id = %shard)
}

/// The log, as an observer: writes the line of each event, at the level of its severity.
#[derive(Debug)]
pub(crate) struct Log {
    worker: Span,
}

impl Log {
    /// Writes its lines within the span of a worker.
    pub(crate) const fn new(worker: Span) -> Self {
        Self { worker }
    }
}

impl Observer for Log {
    fn on_event(&self, event: &Event, context: &EventContext) {
        let _within = self.worker.enter();
        match (&context.stream, event.shard()) {
            (Some(stream), Some(shard)) => shard_span(stream, &shard).in_scope(|| write(event)),
            (None, _) | (_, None) => write(event),
        }
    }
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A log line at the level of the event.
macro_rules! line {
    ($event:ident, $($line:tt)+) => {
        match $event.severity() {
            Severity::Info => info!(event = $event.name(), $($line)+),
            Severity::Warn => warn!(event = $event.name(), $($line)+),
            Severity::Error => error!(event = $event.name(), $($line)+),
        }
    };
}

#[expect(clippy::too_many_lines, reason = "one arm for each event")]
fn write(event: &Event) {
    match event {
        Event::Started { worker } => line!(event, worker_id = %worker, "worker started"),
        Event::LeaseTaken { key, token, checkpoint, why } => {
            line!(event, lease_key = %key, counter = %token, %checkpoint, reason = ?why, "lease taken");
        }
        Event::LeaseEnded { key, how, checkpoint } => {
            line!(event, lease_key = %key, reason = ?how, %checkpoint, "lease ended");
        }
        Event::HandoverBegun { key, owner } => {
            line!(event, lease_key = %key, %owner, "hand-over begun");
        }
        Event::HandoverAsked { key, next } => {
            line!(event, lease_key = %key, owner = %next, "hand-over asked for");
        }
        Event::HandoverEnded { key, reason } => {
            line!(event, lease_key = %key, reason, "hand-over ended without moving the lease");
        }
        Event::BatchFailed { shard, attempt, error, retry_in } => {
            line!(event, shard_id = %shard, attempt, error, ?retry_in, "batch failed");
        }
        Event::RecordFailed { shard, position, attempt, error, retry_in } => {
            line!(event, shard_id = %shard, %position, attempt, error, ?retry_in, "record failed");
        }
        Event::DeadLettered { shard, position, attempts, error } => {
            line!(event, shard_id = %shard, %position, attempts, error, "record stored in the dead letter");
        }
        Event::DeadLetterFailed { shard, position, attempt, error, retry_in } => {
            let retry_in = retry_in.map(debug);
            line!(event, shard_id = %shard, %position, attempt, error, retry_in, "dead letter failed");
        }
        Event::Skipped { shard, position, attempts, error, skipped } => {
            line!(event, shard_id = %shard, %position, attempts, error, skipped, "record skipped");
        }
        Event::ShardStopped { shard, call, position, error, stops_worker } => {
            let position = position.map(display);
            line!(event, shard_id = %shard, operation = call, position, error, stops_worker, "shard stopped");
        }
        Event::ProcessorFailed { shard, call, attempt, error, retry_in } => {
            let retry_in = retry_in.map(debug);
            line!(event, shard_id = %shard, operation = call, attempt, error, retry_in, "processor failed");
        }
        Event::FetchFailed { shard, error, retry_in } => {
            line!(event, shard_id = %shard, error, ?retry_in, "records not read");
        }
        Event::DataAtRisk { shard, age, retention } => {
            line!(event, shard_id = %shard, ?age, ?retention, "records may be trimmed unprocessed");
        }
        Event::DataLost { shard, from, to, caught_up_at } => {
            let caught_up_at = caught_up_at.map(display);
            line!(event, shard_id = %shard, %from, %to, caught_up_at, "records were trimmed unprocessed");
        }
        Event::MalformedAggregates { shard, count, last, reason } => {
            line!(event, shard_id = %shard, records = count, position = %last, %reason, "malformed aggregates");
        }
        Event::OutOfRangeDropped { shard, count, last } => {
            line!(event, shard_id = %shard, records = count, position = %last, "user records out of range dropped");
        }
        Event::ShardEndOverdue { shard, ends_in } => {
            line!(event, shard_id = %shard, ?ends_in, "end of a closed shard is not announced");
        }
        Event::ShardEnded { shard, children } => {
            line!(event, shard_id = %shard, ?children, "shard ended");
        }
        Event::LeaseCreated { key } => line!(event, lease_key = %key, "lease created"),
        Event::CreatingLeases { existing, total } => {
            line!(event, existing, total, "creating the first leases");
        }
        Event::LeaseDeleted { key } => line!(event, lease_key = %key, "lease deleted"),
        Event::SessionLost { worker, reason } => {
            line!(event, worker_id = %worker, reason, "session lost");
        }
        Event::WorkerCondemned { worker } => {
            line!(event, worker_id = %worker, "silent worker declared dead");
        }
        Event::WorkerOutdated { worker } => {
            line!(event, worker_id = %worker, "worker does not know sessions: replace it");
        }
        Event::HolderStuck { key } => line!(event, lease_key = %key, "holder does not answer"),
        Event::HashKeysUncovered { range } => line!(event, %range, "hash keys have no lease"),
        Event::ProcessorSlow { shard, call, taken } => {
            line!(event, shard_id = %shard, operation = call, ?taken, "processor is slow");
        }
        Event::Stalled { shard } => {
            line!(event, shard_id = %shard, "processor ran past its time: lease released");
        }
        Event::UnreadableRow { key, problem } => {
            line!(event, lease_key = %key, reason = problem, "row of the lease table is unreadable");
        }
        Event::NameShared { other } => {
            line!(event, worker_id = %other, "another live worker has this worker's name");
        }
        Event::ScansRare { period, budget, needed } => {
            line!(event, ?period, budget, needed, "scans are rare: raise lease.scan_units");
        }
        Event::CallFailed { doing, shard: _, error, retry_in, count } => {
            let retry_in = retry_in.map(debug);
            line!(event, operation = doing, error, retry_in, count, "call failed");
        }
        Event::WaitingForJava { seen, at_least } => {
            line!(event, reason = seen, retry_in = ?at_least, "waiting for Java workers to be gone");
        }
        Event::ConsumerPanicked { shard, error } => {
            line!(event, shard_id = %shard, error, "consumer panicked");
        }
        Event::ConsumersBlocked { count } => {
            line!(event, count, "processors block their threads until the process exits");
        }
        Event::ObserverPanicked { error } => line!(event, error, "observer panicked"),
        Event::EventsDropped { count } => line!(event, count, "events dropped"),
    }
}
