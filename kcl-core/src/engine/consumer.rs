//! One shard's consumer: reads ahead, delivers, and ends in good order.
//!
//! What an event means is decided by [`decide::lifecycle`](crate::decide::lifecycle); this task feeds
//! it and carries its actions out.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::checkpointer::Checkpointer;
use crate::clock::Clock;
use crate::config::{LostDataPolicy, WorkerConfig};
use crate::context::{ShardContext, ShardInfo};
use crate::decide::coverage::covers;
use crate::decide::lifecycle::{Action, Event as Happened, State};
use crate::decide::{resume, retry};
use crate::engine::delivery::{Delivery, Interrupt};
use crate::engine::erase::ErasedFactory;
use crate::engine::fetch::{Fetch, FetchParts, Hopeless};
use crate::engine::guard::{Guard, Stop};
use crate::engine::link::{FromConsumer, Grant};
use crate::engine::side::Chance;
use crate::event::Event;
use crate::model::{Checkpoint, ChildShard, HashKeyRange, Lease, RecordBatch};
use crate::record_source::{Fetched, RecordSource, ShardClosed, ShardFilter};
use crate::telemetry::{Events, chain};

/// How long the processor may take to hear that the lease is lost.
const LOSS_TIME_MAX: Duration = Duration::from_secs(10);

/// The shortest and longest pause between attempts to list a shard's children.
const LIST_PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What every consumer of a worker needs.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerParts {
    pub(crate) source: Arc<dyn RecordSource>,
    pub(crate) factory: Arc<dyn ErasedFactory>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    pub(crate) chance: Arc<Chance>,
}

type NextFetch = BoxFuture<'static, (Box<Fetch>, Result<Fetched, Hopeless>)>;

/// Consumes a shard for as long as its lease is held.
pub(crate) async fn run(grant: Grant, parts: ConsumerParts) {
    let Some(mut consumer) = Consumer::new(grant, parts) else { return };
    let happened = consumer.work().await;
    consumer.finish(happened).await;
}

struct Consumer {
    parts: ConsumerParts,
    lease: Lease,
    retention: Duration,
    state: State,
    delivery: Delivery,
    holder: mpsc::Sender<FromConsumer>,
    children: Vec<ChildShard>,
    /// Tells the holder, by being dropped, that this consumer is gone.
    _alive: oneshot::Sender<()>,
}

impl Consumer {
    fn new(grant: Grant, parts: ConsumerParts) -> Option<Self> {
        let Grant { stream, retention, lease, token, deadline, order, progress, holder, alive } =
            grant;
        if lease.is_ended() {
            return None;
        }
        let (delivered, delivered_seen) = watch::channel(None);
        let cancelled = CancellationToken::new();
        let info = ShardInfo { stream, shard_id: lease.key.shard(), token: token.into() };
        let context = ShardContext {
            info,
            resume: lease.checkpoint,
            pending: lease.pending.clone(),
            cancelled: cancelled.clone(),
            checkpointer: Checkpointer::new(delivered_seen, holder.clone()),
        };
        let guard = Guard {
            clock: Arc::clone(&parts.clock),
            deadline,
            order,
            cancelled,
            grace: parts.config.delivery.cancel_grace,
        };
        let delivery = Delivery {
            guard,
            context,
            config: parts.config.delivery.clone(),
            factory: Arc::clone(&parts.factory),
            events: parts.events.clone(),
            chance: Arc::clone(&parts.chance),
            progress,
            delivered,
            processor: None,
        };
        let state = State::Initializing;
        let children = Vec::new();
        Some(Self { parts, lease, retention, state, delivery, holder, children, _alive: alive })
    }

    /// Initializes, processes and ends the shard. Returns what ended that.
    async fn work(&mut self) -> Happened {
        if let Err(interrupt) = self.delivery.initialize().await {
            return happened(interrupt);
        }
        self.on(Happened::Initialized);
        let closed = match self.process().await {
            Ok(closed) => closed,
            Err(end) => return end,
        };
        self.on(Happened::EndReached);
        match self.end_shard(closed).await {
            Ok(()) => Happened::EndAgreed,
            Err(interrupt) => happened(interrupt),
        }
    }

    fn on(&mut self, event: Happened) -> Action {
        let (state, action) = self.state.on(event);
        self.state = state;
        action
    }

    /// Reads and delivers up to the shard's end.
    async fn process(&mut self) -> Result<ShardClosed, Happened> {
        let Some(start) = resume::resume(&self.lease, self.parts.config.retrieval.initial_position)
        else {
            return Err(Happened::Unreadable);
        };
        let parts = FetchParts {
            source: Arc::clone(&self.parts.source),
            clock: Arc::clone(&self.parts.clock),
            events: self.parts.events.clone(),
            chance: Arc::clone(&self.parts.chance),
        };
        let retrieval = &self.parts.config.retrieval;
        let pace = (retrieval.poll_every, retrieval.records_max);
        let fetch = Fetch::new(parts, self.lease.key.shard(), start, pace);
        let mut next: NextFetch = Box::pin(Box::new(fetch).next());
        let mut is_first = true;
        loop {
            let (fetch, outcome) = tokio::select! {
                biased;
                () = self.delivery.guard.interrupted() => {
                    return Err(happened(self.delivery.interrupt()));
                }
                fetched = &mut next => fetched,
            };
            let Ok(fetched) = outcome else { return Err(Happened::Unreadable) };
            if is_first {
                is_first = !self.looks_complete(&fetch, &fetched)?;
            }
            let is_caught_up = fetched.is_caught_up();
            let batch = RecordBatch::new(fetched.records, fetched.behind_latest);
            if batch.is_empty() && is_caught_up {
                self.delivery.caught_up();
            }
            if let Some(closed) = fetched.end {
                if !batch.is_empty() {
                    self.delivery.deliver(batch, is_caught_up).await.map_err(happened)?;
                }
                return Ok(closed);
            }
            next =
                self.deliver_while_reading(batch, is_caught_up, fetch).await.map_err(happened)?;
        }
    }

    /// Delivers a batch while the next read is on its way: one batch ahead, no more.
    async fn deliver_while_reading(
        &mut self,
        batch: RecordBatch,
        is_caught_up: bool,
        fetch: Box<Fetch>,
    ) -> Result<NextFetch, Interrupt> {
        let mut ahead = Box::pin(maybe_done(fetch.next()));
        if !batch.is_empty() {
            let mut deliver = pin!(self.delivery.deliver(batch, is_caught_up));
            loop {
                let is_reading = matches!(*ahead, MaybeDone::Future(_));
                tokio::select! {
                    biased;
                    delivered = &mut deliver => break delivered?,
                    () = &mut ahead, if is_reading => {}
                }
            }
        }
        Ok(Box::pin(async move {
            ahead.as_mut().await;
            match ahead.as_mut().take_output() {
                Some(output) => output,
                None => std::future::pending().await, // Taken once only.
            }
        }))
    }

    /// Looks at the first records for a gap. True once there were some.
    fn looks_complete(&self, fetch: &Fetch, fetched: &Fetched) -> Result<bool, Happened> {
        let Some(first) = fetch.first() else { return Ok(fetched.end.is_some()) };
        let now = self.parts.clock.time_of_day();
        if resume::is_data_lost(&self.lease, first, self.retention, now) {
            self.parts.events.emit(&Event::DataLost {
                shard: self.lease.key.shard(),
                from: self.lease.checkpoint,
                to: Checkpoint::After(crate::model::Position::of(first)),
                caught_up_at: self.lease.caught_up_at,
            });
            if self.parts.config.delivery.lost_data == LostDataPolicy::Stop {
                return Err(Happened::Unreadable);
            }
        }
        Ok(true)
    }

    /// Proves the children, and lets the processor agree that the shard ended.
    async fn end_shard(&mut self, closed: ShardClosed) -> Result<(), Interrupt> {
        let range = self.lease.hash_range.unwrap_or(HashKeyRange::FULL);
        let mut attempt = 0;
        self.children = closed.children;
        while !covers(range, self.children.iter().map(|child| child.hash_range)) {
            attempt += 1;
            let pause = retry::pause(attempt, LIST_PAUSES, self.parts.chance.draw());
            let source = Arc::clone(&self.parts.source);
            let listed = tokio::select! {
                biased;
                () = self.delivery.guard.interrupted() => return Err(self.delivery.interrupt()),
                listed = source.list_shards(ShardFilter::All) => listed,
            };
            match listed {
                Ok(shards) => self.children = descendants(&self.lease, &shards),
                Err(error) => self.parts.events.emit(&Event::FetchFailed {
                    shard: self.lease.key.shard(),
                    error: chain(&error),
                    retry_in: pause,
                }),
            }
            if covers(range, self.children.iter().map(|child| child.hash_range)) {
                break;
            }
            tokio::select! {
                biased;
                () = self.delivery.guard.interrupted() => return Err(self.delivery.interrupt()),
                () = sleep(pause) => {}
            }
        }
        self.delivery.end_shard().await
    }

    /// Carries out what the end of the work means.
    async fn finish(&mut self, event: Happened) {
        let mut action = self.on(event);
        if action == Action::RequestShutdown {
            let event = match self.delivery.request_shutdown().await {
                Ok(()) => Happened::Drained,
                Err(stop) => happened(Interrupt::Stop(stop)),
            };
            action = self.on(event);
        }
        let shard = self.lease.key.shard();
        match action {
            Action::ReportEnd => {
                let children = std::mem::take(&mut self.children);
                let ids = children.iter().map(|child| child.id.clone()).collect();
                self.parts.events.emit(&Event::ShardEnded { shard, children: ids });
                self.tell(FromConsumer::ShardEnded { children }).await;
            }
            Action::ReportDrained => self.tell(FromConsumer::Drained).await,
            Action::ReportStalled => {
                self.parts.events.emit(&Event::Stalled { shard });
                self.tell(FromConsumer::Drained).await;
                self.announce_loss().await;
            }
            Action::GiveUp => {
                self.tell(FromConsumer::GaveUp).await;
                self.announce_loss().await;
            }
            Action::AnnounceLoss => self.announce_loss().await,
            Action::Nothing | Action::Deliver | Action::EndShard | Action::RequestShutdown => {}
        }
    }

    async fn tell(&mut self, message: FromConsumer) {
        drop(self.holder.send(message).await); // A holder that is gone knows more than this.
    }

    /// Calls `lease_lost`: the one call that the deadline does not bound.
    async fn announce_loss(&mut self) {
        self.delivery.context.cancelled.cancel();
        if let Some(processor) = &mut self.delivery.processor {
            let told = AssertUnwindSafe(processor.lease_lost(&self.delivery.context.info));
            // A panic or a hang here concerns nobody any more.
            drop(timeout(LOSS_TIME_MAX, told.catch_unwind()).await);
        }
        self.on(Happened::LossTold);
    }
}

const fn happened(interrupt: Interrupt) -> Happened {
    match interrupt {
        Interrupt::Drain => Happened::DrainAsked,
        Interrupt::Stop(Stop::Lost) => Happened::LeaseLost,
        Interrupt::Stop(Stop::Overdue) => Happened::Overdue,
        Interrupt::Stop(Stop::TimeUp) => Happened::TimeUp,
    }
}

/// The children of a lease's shard among the listed ones; where those are trimmed, the nearest
/// descendants that are left.
fn descendants(lease: &Lease, shards: &[crate::model::Shard]) -> Vec<ChildShard> {
    let mut family = BTreeSet::from([lease.key.shard()]);
    let mut found = Vec::new();
    loop {
        let next: Vec<_> = shards
            .iter()
            .filter(|shard| !family.contains(&shard.id))
            .filter(|shard| shard.parents.iter().any(|parent| family.contains(parent)))
            .collect();
        if next.is_empty() {
            return found;
        }
        if found.is_empty() {
            found = next.iter().map(|shard| ChildShard::from(*shard)).collect();
        }
        family.extend(next.iter().map(|shard| shard.id.clone()));
    }
}
