//! A bounded queue of events, and the thread that delivers them.
//!
//! Log lines and observers are foreign code: they may block, be slow or panic. The threads of the
//! engine only push; the thread `kcl-events` delivers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::report::delivery::Delivery;
use crate::report::event::{Event, EventContext};
use crate::report::failures::Failures;
use crate::report::origin::Origin;

/// How many events wait for delivery at most.
pub(super) const QUEUE_MAX: usize = 4_096;

/// An event, with when and where it happened.
#[derive(Debug)]
struct Occurrence {
    event: Event,
    context: EventContext,
}

/// The end of the queue that the engine's threads have.
#[derive(Debug)]
pub(super) struct EventQueue {
    queue: SyncSender<Box<Occurrence>>,
    /// How many events found room.
    pushed: AtomicU64,
    dropped: Arc<AtomicU64>,
    /// How many events had been delivered when the queue was last empty.
    delivered: watch::Receiver<u64>,
}

impl EventQueue {
    /// Starts the thread. It ends once the queue is dropped and empty.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub(super) fn start(
        delivery: Delivery,
        origin: Arc<Origin>,
        failures: Arc<Failures>,
    ) -> io::Result<Self> {
        let (queue, events) = sync_channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let (publish, delivered) = watch::channel(0);
        let drain = Drain { events, delivery, origin, failures, dropped: Arc::clone(&dropped) };
        thread::Builder::new().name("kcl-events".to_owned()).spawn(move || drain.run(&publish))?;
        Ok(Self { queue, pushed: AtomicU64::new(0), dropped, delivered })
    }

    /// Adds an event, or counts it as dropped if the queue is full. Never waits.
    pub(super) fn push(&self, event: Event, context: EventContext) {
        let is_queued = self.queue.try_send(Box::new(Occurrence { event, context })).is_ok();
        let count = if is_queued { &self.pushed } else { &*self.dropped };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until all events that were pushed so far are delivered, or `limit` has passed.
    pub(super) async fn drained(&self, limit: Duration) {
        let pushed = self.pushed.load(Ordering::Relaxed);
        let mut delivered = self.delivered.clone();
        // An error means that the time is up.
        drop(timeout(limit, delivered.wait_for(|delivered| *delivered >= pushed)).await);
    }
}

/// The thread's end of the queue.
#[derive(Debug)]
struct Drain {
    events: Receiver<Box<Occurrence>>,
    delivery: Delivery,
    origin: Arc<Origin>,
    failures: Arc<Failures>,
    dropped: Arc<AtomicU64>,
}

impl Drain {
    fn run(self, publish: &watch::Sender<u64>) {
        let (mut delivered, mut unreported) = (0_u64, 0_usize);
        loop {
            let next = match self.events.try_recv() {
                Ok(next) => Some(next),
                Err(TryRecvError::Empty) => {
                    self.report_dropped();
                    unreported = 0;
                    publish.send_replace(delivered);
                    match self.wait() {
                        Ok(next) => Some(next),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
                Err(TryRecvError::Disconnected) => return self.report_dropped(),
            };
            if let Some(next) = next {
                self.delivery.deliver(&next.event, &next.context);
                delivered += 1;
                unreported += 1;
            }
            for event in self.failures.due(self.origin.now()) {
                self.deliver(&event);
            }
            // A queue that never empties reports its drops as well.
            if unreported >= QUEUE_MAX {
                self.report_dropped();
                unreported = 0;
            }
        }
    }

    /// Waits for the next event, or until a report of failures is due.
    fn wait(&self) -> Result<Box<Occurrence>, RecvTimeoutError> {
        match self.failures.next_due() {
            Some(due) => self.events.recv_timeout(due.since(self.origin.now())),
            None => self.events.recv().map_err(RecvTimeoutError::from),
        }
    }

    fn report_dropped(&self) {
        let count = self.dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.deliver(&Event::EventsDropped { count });
        }
    }

    fn deliver(&self, event: &Event) {
        self.delivery.deliver(event, &self.origin.context());
    }
}
