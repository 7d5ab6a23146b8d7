//! Span constructors and field names, and the log line of each event.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kcl_proto::model::{ShardId, StreamName, WorkerId};
use tracing::field::{debug, display};
use tracing::{Span, error, info, info_span, warn};

use crate::backend::Clock;
use crate::report::event::{Event, EventContext, Observer, Severity};

/// The span of everything one worker does.
pub(crate) fn worker_span(application: &str, worker: &WorkerId) -> Span {
    info_span!("worker", application, worker_id = %worker)
}

/// The span of everything done for one ownership of one shard.
pub(crate) fn shard_span(stream: &StreamName, shard: &ShardId) -> Span {
    info_span!("shard", %stream, shard_id = %shard)
}

/// One worker's way to the log and to its observers. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Events(Arc<Emitter>);

#[derive(Debug)]
struct Emitter {
    application: String,
    worker: WorkerId,
    /// Set once, when the worker has looked at the stream.
    stream: OnceLock<StreamName>,
    clock: Arc<dyn Clock>,
    observers: Vec<Arc<dyn Observer>>,
}

impl Events {
    pub(crate) fn new(
        application: String,
        worker: WorkerId,
        clock: Arc<dyn Clock>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Self {
        let stream = OnceLock::new();
        Self(Arc::new(Emitter { application, worker, stream, clock, observers }))
    }

    /// Adds the stream to the context of later events.
    pub(crate) fn set_stream(&self, stream: &StreamName) {
        self.0.stream.get_or_init(|| stream.clone());
    }

    /// Logs an event and passes it to each observer.
    pub(crate) fn emit(&self, event: &Event) {
        log(event);
        if self.0.observers.is_empty() {
            return;
        }
        let context = EventContext {
            time: self.0.clock.time_of_day(),
            application: self.0.application.clone(),
            worker: self.0.worker.clone(),
            stream: self.0.stream.get().cloned(),
        };
        for observer in &self.0.observers {
            observer.on_event(event, &context);
        }
    }

    /// Emits that a call to the table or the stream failed.
    pub(crate) fn call_failed(
        &self,
        doing: &'static str,
        error: &dyn std::error::Error,
        retry_in: Option<Duration>,
    ) {
        self.emit(&Event::CallFailed { doing, error: chain(error), retry_in });
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
fn log(event: &Event) {
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
        Event::CallFailed { doing, error, retry_in } => {
            let retry_in = retry_in.map(debug);
            line!(event, operation = doing, error, retry_in, "call failed");
        }
        Event::WaitingForJava { seen, at_least } => {
            line!(event, reason = seen, retry_in = ?at_least, "waiting for Java workers to be gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::backend::SystemClock;

    #[derive(Clone, Debug, Default)]
    struct Seen(Arc<Mutex<Vec<(Event, EventContext)>>>);

    impl Observer for Seen {
        fn on_event(&self, event: &Event, context: &EventContext) {
            self.0.lock().unwrap().push((event.clone(), context.clone()));
        }
    }

    #[test]
    fn every_observer_gets_the_event_with_its_context() {
        let (one, other) = (Seen::default(), Seen::default());
        let observers: Vec<Arc<dyn Observer>> =
            vec![Arc::new(one.clone()), Arc::new(other.clone())];
        let worker = WorkerId::new("ann:1");
        let clock = Arc::new(SystemClock);
        let events = Events::new("orders".to_owned(), worker.clone(), clock, observers);
        let (event, before) =
            (Event::Started { worker: worker.clone() }, SystemClock.time_of_day());
        events.emit(&event);
        events.set_stream(&StreamName::new("clicks"));
        events.emit(&event);
        let seen = one.0.lock().unwrap().clone();
        assert_eq!(seen, *other.0.lock().unwrap());
        let stream = |nth: usize| seen[nth].1.stream.as_ref().map(StreamName::as_str);
        assert_eq!((seen.len(), stream(0), stream(1)), (2, None, Some("clicks")));
        for (seen, EventContext { time, application, worker: id, .. }) in &seen {
            assert_eq!((seen, application.as_str(), id), (&event, "orders", &worker));
            assert!((before..=SystemClock.time_of_day()).contains(time), "{time}");
        }
    }
}
