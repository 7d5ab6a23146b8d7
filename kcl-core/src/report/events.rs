//! One worker's way to its log and its observers.

use std::error::Error;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kcl_proto::model::{LeaseKey, ShardId, StreamName, WorkerId};
use kcl_proto::worker::shutdown::EVENTS_TIME;

use crate::report::delivery::Delivery;
use crate::report::event::{Event, Observer};
use crate::report::event_queue::EventQueue;
use crate::report::failures::{FailedCall, Failures};
use crate::report::origin::Origin;

/// The events of one worker. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Events(Arc<Emitter>);

#[derive(Debug)]
struct Emitter {
    origin: Arc<Origin>,
    failures: Arc<Failures>,
    route: Route,
    /// Counts events where they happen.
    counts: OnceLock<Arc<dyn Observer>>,
}

/// Who delivers events.
#[derive(Debug)]
enum Route {
    /// A thread of its own: foreign code never runs on the thread that emits.
    Queue(EventQueue),
    /// The thread that emits, so that a simulation can be replayed.
    Inline(Delivery),
}

impl Events {
    /// Events that a thread of their own delivers.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub(crate) fn queued(origin: Origin, delivery: Delivery) -> io::Result<Self> {
        let (origin, failures) = (Arc::new(origin), Arc::<Failures>::default());
        let queue = EventQueue::start(delivery, Arc::clone(&origin), Arc::clone(&failures))?;
        Ok(Self::new(origin, failures, Route::Queue(queue)))
    }

    /// Events that are delivered before [`emit`](Self::emit) returns, for simulations.
    pub(crate) fn inline(origin: Origin, delivery: Delivery) -> Self {
        let (origin, failures) = (Arc::new(origin), Arc::<Failures>::default());
        Self::new(origin, failures, Route::Inline(delivery))
    }

    fn new(origin: Arc<Origin>, failures: Arc<Failures>, route: Route) -> Self {
        Self(Arc::new(Emitter { origin, failures, route, counts: OnceLock::new() }))
    }

    /// Has `counts` called for each event on the thread that emits it, before the queue. It never
    /// blocks or panics, and is no code of the application.
    pub(crate) fn count_by(&self, counts: Arc<dyn Observer>) {
        self.0.counts.get_or_init(|| counts);
    }

    /// Adds the stream to the context of later events.
    pub(crate) fn set_stream(&self, stream: &StreamName) {
        self.0.origin.set_stream(stream);
    }

    /// Replaces the worker in the context of later events.
    pub(crate) fn set_worker(&self, worker: &WorkerId) {
        self.0.origin.set_worker(worker);
    }

    /// Passes an event to the log and to each observer. Never waits, except in simulations.
    pub(crate) fn emit(&self, event: &Event) {
        self.deliver_due();
        let Emitter { origin, route, counts, .. } = &*self.0;
        let context = origin.context();
        if let Some(counts) = counts.get() {
            counts.on_event(event, &context);
        }
        match route {
            Route::Queue(queue) => queue.push(event.clone(), context),
            Route::Inline(delivery) => delivery.deliver(event, &context),
        }
    }

    /// Delivers the counts of failures that are due, where no thread does it.
    fn deliver_due(&self) {
        let Emitter { origin, failures, route, .. } = &*self.0;
        if let Route::Inline(delivery) = route {
            for event in failures.due(origin.now()) {
                delivery.deliver(&event, &origin.context());
            }
        }
    }

    /// Emits that a call to the table or the stream failed, at once or as part of a count. A call
    /// whose pause depends on what happens before has none.
    pub(crate) fn call_failed(
        &self,
        doing: &'static str,
        error: &dyn Error,
        retry_in: Option<Duration>,
    ) {
        self.failed(FailedCall::new(doing, None, error, retry_in), error);
    }

    /// Emits that a call about one lease failed, like [`call_failed`](Self::call_failed).
    pub(crate) fn lease_call_failed(
        &self,
        key: &LeaseKey,
        doing: &'static str,
        error: &dyn Error,
        retry_in: Option<Duration>,
    ) {
        let shard: Option<ShardId> = Some(key.shard());
        self.failed(FailedCall::new(doing, shard, error, retry_in), error);
    }

    fn failed(&self, call: FailedCall, error: &dyn Error) {
        let Emitter { origin, failures, .. } = &*self.0;
        match failures.failed(call, error.to_string(), origin.now()) {
            Some(event) => self.emit(&event),
            None => self.deliver_due(),
        }
    }

    /// Emits what is not reported yet, and waits until the log and the observers have everything,
    /// for a bounded time.
    pub(crate) async fn finish(&self) {
        for event in self.0.failures.take_all() {
            self.emit(&event);
        }
        match &self.0.route {
            Route::Queue(queue) => queue.drained(EVENTS_TIME).await,
            Route::Inline(_) => {}
        }
    }
}
