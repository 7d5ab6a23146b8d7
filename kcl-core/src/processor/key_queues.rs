//! Records under way at the same time, in order within each partition key: a lane for each key.

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
use kcl_proto::consumer::failure_policy::Trouble;
use kcl_proto::model::{PartitionKey, Record};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::BoxError;
use crate::processor::ack::Ack;
use crate::processor::context::ShardContext;
use crate::processor::record_failures::{Advice, Desk, GivenUp};
use crate::report::log::chain;
use crate::tasks::supervisor::panic_message;

/// What the application does with one record.
pub(crate) type Handler =
    Arc<dyn Fn(Record) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// The records of one shard that are under way.
///
/// Nothing here is a task: whoever owns the lanes polls them, and dropping them ends all of it.
pub(crate) struct Lanes {
    shared: Arc<Shared>,
    /// What waits behind the record of each key that is at work.
    waiting: BTreeMap<PartitionKey, VecDeque<(Record, Ack)>>,
    at_work: FuturesUnordered<BoxFuture<'static, PartitionKey>>,
}

struct Shared {
    handler: Handler,
    desk: Arc<Desk>,
    /// Set once this ownership is over.
    over: CancellationToken,
    /// How many calls of the handler may run at once.
    permits: Semaphore,
    /// How many lanes wait before they try again.
    resting: AtomicUsize,
}

impl Lanes {
    pub(crate) fn new(handler: Handler, shard: &ShardContext, concurrency: usize) -> Self {
        let permits = Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS));
        let (desk, over) = (Arc::clone(&shard.desk), shard.cancelled.clone());
        let resting = AtomicUsize::new(0);
        let shared = Arc::new(Shared { handler, desk, over, permits, resting });
        Self { shared, waiting: BTreeMap::new(), at_work: FuturesUnordered::new() }
    }

    /// Puts a record behind those of its key.
    pub(crate) fn push(&mut self, record: Record, ack: Ack) {
        match self.waiting.get_mut(&record.partition_key) {
            Some(waiting) => waiting.push_back((record, ack)),
            None => {
                self.waiting.insert(record.partition_key.clone(), VecDeque::new());
                self.begin(record, ack);
            }
        }
    }

    /// Works until nothing is left.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn run(&mut self) {
        while let Some(key) = self.at_work.next().await {
            self.go_on(&key);
        }
    }

    /// Works until nothing is left but keys that wait before they try again, and drops those.
    pub(crate) async fn finish(&mut self) {
        poll_fn(|context| self.poll_finished(context)).await;
        self.at_work.clear();
        self.waiting.clear();
    }

    fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(done) = self.at_work.poll_next_unpin(context) {
            match done {
                Some(key) => self.go_on(&key),
                None => return Poll::Ready(()),
            }
        }
        let resting = self.shared.resting.load(Ordering::Relaxed);
        if resting >= self.at_work.len() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn go_on(&mut self, key: &PartitionKey) {
        match self.waiting.get_mut(key).and_then(VecDeque::pop_front) {
            Some((record, ack)) => self.begin(record, ack),
            None => {
                self.waiting.remove(key);
            }
        }
    }

    fn begin(&self, record: Record, ack: Ack) {
        let shared = Arc::clone(&self.shared);
        self.at_work.push(Box::pin(async move {
            let key = record.partition_key.clone();
            shared.settle(record, ack).await;
            key
        }));
    }
}

impl Shared {
    /// Works on one record until it is done, set aside, or stops the shard.
    async fn settle(&self, record: Record, ack: Ack) {
        let mut trouble = Trouble::default();
        for attempt in 1.. {
            let Err(error) = self.handle(record.clone()).await else { break };
            match self.desk.failed(&mut trouble, &record, &error, attempt) {
                Advice::Again(pause) => self.rest(pause).await,
                Advice::SetAside => {
                    let given_up = GivenUp { record: &record, error: &error, attempts: attempt };
                    self.set_aside(given_up).await;
                    break;
                }
                Advice::Stop => return ack.give_up(error),
            }
        }
        ack.done();
    }

    async fn set_aside(&self, given_up: GivenUp<'_>) {
        for attempt in 1.. {
            let Some(pause) = self.desk.set_aside(&given_up, attempt).await else { return };
            self.rest(pause).await;
        }
    }

    async fn rest(&self, pause: Duration) {
        self.resting.fetch_add(1, Ordering::Relaxed);
        let _over = Over(&self.resting);
        sleep(pause).await;
    }

    async fn handle(&self, record: Record) -> Result<(), String> {
        // A semaphore that is never closed always gives a permit in the end.
        let _permit = self.permits.acquire().await;
        if self.over.is_cancelled() {
            pending::<()>().await; // The lease is lost: nothing is begun any more.
        }
        // What a handler panics in is its own future, which is gone afterwards.
        let call = AssertUnwindSafe(async { (self.handler)(record).await });
        match call.catch_unwind().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(chain(&*error)),
            Err(panic) => Err(format!("panicked: {}", panic_message(&*panic))),
        }
    }
}

/// One lane less that rests, even if its future is dropped.
struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("at_work", &self.at_work.len()).finish_non_exhaustive()
    }
}
