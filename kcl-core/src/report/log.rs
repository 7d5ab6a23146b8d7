//! Span constructors and field names, and the log line of each event.

use std::sync::Arc;

use kcl_proto::model::{ShardId, StreamName, WorkerId};
use tracing::{Span, error, info, info_span, warn};

use crate::report::event::{Event, Observer};

/// The span of everything one worker does.
pub(crate) fn worker_span(application: &str, worker: &WorkerId) -> Span {
    info_span!("worker", application, worker_id = %worker)
}

/// The span of everything done for one ownership of one shard.
pub(crate) fn shard_span(stream: &StreamName, shard: &ShardId) -> Span {
    info_span!("shard", %stream, shard_id = %shard)
}

/// Where events go: to the log, and to the observer if there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    observer: Option<Arc<dyn Observer>>,
}

impl Events {
    pub(crate) const fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self { observer }
    }

    /// Logs an event and passes it on.
    pub(crate) fn emit(&self, event: &Event) {
        log(event);
        if let Some(observer) = &self.observer {
            observer.on_event(event);
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

#[expect(clippy::too_many_lines, reason = "one arm for each event")]
fn log(event: &Event) {
    match event {
        Event::Started { worker } => info!(worker_id = %worker, "worker started"),
        Event::LeaseTaken { key, token, checkpoint, why } => {
            info!(lease_key = %key, counter = %token, %checkpoint, reason = ?why, "lease taken");
        }
        Event::LeaseEnded { key, how, checkpoint } => {
            info!(lease_key = %key, reason = ?how, %checkpoint, "lease ended");
        }
        Event::HandOverBegun { key, owner } => {
            info!(lease_key = %key, %owner, "hand-over begun");
        }
        Event::HandOverAsked { key, next } => {
            info!(lease_key = %key, owner = %next, "hand-over asked for");
        }
        Event::HandOverEnded { key, reason } => {
            info!(lease_key = %key, reason, "hand-over ended without a move");
        }
        Event::BatchFailed { shard, attempt, error, retry_in } => {
            warn!(shard_id = %shard, attempt, error, ?retry_in, "batch failed");
        }
        Event::RecordFailed { .. }
        | Event::DeadLettered { .. }
        | Event::DeadLetterFailed { .. }
        | Event::Skipped { .. }
        | Event::ShardStopped { .. } => log_record(event),
        Event::ProcessorFailed { shard, call, attempt, error, retry_in } => {
            warn!(shard_id = %shard, operation = call, attempt, error, ?retry_in, "processor failed");
        }
        Event::FetchFailed { shard, error, retry_in } => {
            warn!(shard_id = %shard, error, ?retry_in, "records not read");
        }
        Event::DataAtRisk { shard, age, retention } => {
            error!(shard_id = %shard, ?age, ?retention, "records may be trimmed unprocessed");
        }
        Event::DataLost { shard, from, to, caught_up_at } => {
            error!(shard_id = %shard, %from, %to, ?caught_up_at, "records were trimmed unprocessed");
        }
        Event::MalformedAggregates { shard, count, last, reason } => {
            let position = last;
            warn!(shard_id = %shard, records = count, %position, %reason, "malformed aggregates");
        }
        Event::OutOfRangeDropped { shard, count, last } => {
            let position = last;
            warn!(shard_id = %shard, records = count, %position, "user records out of range dropped");
        }
        Event::ShardEnded { shard, children } => {
            info!(shard_id = %shard, ?children, "shard ended");
        }
        Event::LeaseCreated { key } => info!(lease_key = %key, "lease created"),
        Event::LeaseDeleted { key } => info!(lease_key = %key, "lease deleted"),
        Event::HashKeysUncovered { range } => {
            error!(%range, "hash keys have no lease");
        }
        Event::ProcessorSlow { shard, call, taken } => {
            warn!(shard_id = %shard, operation = call, ?taken, "processor is slow");
        }
        Event::Stalled { shard } => {
            error!(shard_id = %shard, "processor hung past its time: shard given up");
        }
        Event::UnreadableRow { key, problem } => {
            error!(lease_key = %key, reason = problem, "row of the lease table is unreadable");
        }
        Event::NameShared { other } => {
            warn!(worker_id = %other, "another live worker has this worker's name");
        }
        Event::CallFailed { doing, error, retry_in } => {
            warn!(operation = doing, error, ?retry_in, "call failed");
        }
        Event::WaitingForJava { seen, at_least } => {
            warn!(reason = seen, retry_in = ?at_least, "waiting for Java workers to be gone");
        }
    }
}

/// The line of an event about a single record.
fn log_record(event: &Event) {
    if let Event::RecordFailed { shard, position, attempt, error, retry_in } = event {
        warn!(shard_id = %shard, %position, attempt, error, ?retry_in, "record failed");
    } else if let Event::DeadLettered { shard, position, attempts, error } = event {
        warn!(shard_id = %shard, %position, attempts, error, "record stored in the dead letter");
    } else if let Event::DeadLetterFailed { shard, position, attempt, error, retry_in } = event {
        error!(shard_id = %shard, %position, attempt, error, ?retry_in, "dead letter failed");
    } else if let Event::Skipped { shard, position, attempts, error, skipped } = event {
        error!(shard_id = %shard, %position, attempts, error, skipped, "record skipped");
    } else if let Event::ShardStopped { shard, call, position, error, stops_worker } = event {
        let position = position.map(tracing::field::display);
        error!(shard_id = %shard, operation = call, position, error, stops_worker, "shard stopped");
    }
}
