//! Processes records concurrently, in order within each partition key: one queue for each key.

use std::collections::{BTreeMap, VecDeque};
use std::future::{pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kcl_proto::consumer::failure_policy::{Exhausted, FailureHistory};
use kcl_proto::model::{PartitionKey, Record};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::BoxError;
use crate::processor::ack::Ack;
use crate::processor::context::ShardContext;
use crate::processor::record_failures::{NextStep, RecordFailures};
use crate::report::log::chain;
use crate::tasks::supervisor::panic_message;

/// The application's handler of one record.
pub(crate) type Handler =
    Arc<dyn Fn(Record) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// The records of one shard that are in flight.
///
/// The queues are polled, not spawned: dropping them cancels all work.
pub(crate) struct KeyQueues {
    shared: Arc<Shared>,
    /// The records that wait behind the running one of each key.
    waiting: BTreeMap<PartitionKey, VecDeque<(Record, Ack)>>,
    running: FuturesUnordered<BoxFuture<'static, PartitionKey>>,
}

struct Shared {
    handler: Handler,
    failures: Arc<RecordFailures>,
    /// Cancelled once the ownership has ended.
    cancelled: CancellationToken,
    /// Limits the calls of the handler that run at once.
    permits: Semaphore,
    /// The number of keys that pause before a retry.
    pausing: AtomicUsize,
}

impl KeyQueues {
    pub(crate) fn new(handler: Handler, shard: &ShardContext, concurrency: usize) -> Self {
        let permits = Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS));
        let (failures, cancelled) = (Arc::clone(&shard.failures), shard.cancelled.clone());
        let pausing = AtomicUsize::new(0);
        let shared = Arc::new(Shared { handler, failures, cancelled, permits, pausing });
        Self { shared, waiting: BTreeMap::new(), running: FuturesUnordered::new() }
    }

    /// Appends a record to the queue of its key.
    pub(crate) fn push(&mut self, record: Record, ack: Ack) {
        match self.waiting.get_mut(&record.partition_key) {
            Some(waiting) => waiting.push_back((record, ack)),
            None => {
                self.waiting.insert(record.partition_key.clone(), VecDeque::new());
                self.start(record, ack);
            }
        }
    }

    /// Processes records until all queues are empty.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn run(&mut self) {
        while let Some(key) = self.running.next().await {
            self.start_next(&key);
        }
    }

    /// Processes records until every key that is left pauses before a retry, and drops those.
    pub(crate) async fn finish(&mut self) {
        poll_fn(|context| self.poll_finished(context)).await;
        self.running.clear();
        self.waiting.clear();
    }

    fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(done) = self.running.poll_next_unpin(context) {
            match done {
                Some(key) => self.start_next(&key),
                None => return Poll::Ready(()),
            }
        }
        let pausing = self.shared.pausing.load(Ordering::Relaxed);
        if pausing >= self.running.len() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn start_next(&mut self, key: &PartitionKey) {
        match self.waiting.get_mut(key).and_then(VecDeque::pop_front) {
            Some((record, ack)) => self.start(record, ack),
            None => {
                self.waiting.remove(key);
            }
        }
    }

    fn start(&self, record: Record, ack: Ack) {
        let shared = Arc::clone(&self.shared);
        self.running.push(Box::pin(async move {
            let key = record.partition_key.clone();
            shared.settle(record, ack).await;
            key
        }));
    }
}

impl Shared {
    /// Processes one record until it is done, abandoned, or stops the shard.
    async fn settle(&self, record: Record, ack: Ack) {
        let mut history = FailureHistory::default();
        for attempt in 1.. {
            let Err(error) = self.handle(record.clone()).await else { break };
            match self.failures.failed(&mut history, &record, &error, attempt) {
                NextStep::Retry(pause) => self.pause(pause).await,
                NextStep::Abandon => {
                    self.abandon(record, Exhausted { attempts: attempt, error }).await;
                    break;
                }
                NextStep::Stop => {
                    ack.fail_finally(error);
                    // The records of the key behind this one must not begin.
                    self.pausing.fetch_add(1, Ordering::Relaxed);
                    return pending().await;
                }
            }
        }
        ack.done();
    }

    async fn abandon(&self, record: Record, exhausted: Exhausted) {
        let position = record.position;
        for attempt in 1.. {
            let Err(error) = self.failures.store(record.clone(), &exhausted).await else { break };
            let pause = self.failures.pause(attempt);
            self.failures.dead_letter_failed(position, attempt, error, Some(pause));
            self.pause(pause).await;
        }
        self.failures.abandoned(position, exhausted);
    }

    async fn pause(&self, pause: Duration) {
        self.pausing.fetch_add(1, Ordering::Relaxed);
        let _pausing = Pausing(&self.pausing);
        sleep(pause).await;
    }

    async fn handle(&self, record: Record) -> Result<(), String> {
        let _permit = self.permits.acquire().await; // The semaphore is never closed.
        if self.cancelled.is_cancelled() {
            pending::<()>().await; // The ownership has ended: no call begins.
        }
        // Unwind safe: a panic leaves only the handler's own future behind, which is dropped.
        let call = AssertUnwindSafe(async { (self.handler)(record).await });
        match call.catch_unwind().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(chain(&*error)),
            Err(panic) => Err(format!("panicked: {}", panic_message(&*panic))),
        }
    }
}

/// Counts a key as pausing until it is dropped.
struct Pausing<'a>(&'a AtomicUsize);

impl Drop for Pausing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for KeyQueues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyQueues").field("running", &self.running.len()).finish_non_exhaustive()
    }
}
