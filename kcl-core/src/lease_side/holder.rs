//! Runs [`decide::holding`](kcl_proto::lease::holding) for one lease, on the lease side.
//!
//! One task for each held lease: it carries out the effects, and feeds what came of them, what the
//! consumer says and what the scanner knows back in. It ends when the lease is no longer held *and*
//! the consumer is gone, so that nobody here takes a lease whose former consumer still exists.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kcl_proto::consumer::progress::Done;
use kcl_proto::lease::holding::{Holding, HoldingEffect, HoldingInput};
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::lease::write_numbers::WriteNumbers;
use kcl_proto::model::{
    Checkpoint, ChildShard, Conditional, Lease, LeaseEnd, LeaseKey, Moment, NewLease, StreamName,
    StreamStart, WorkerId,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::Clock;
use crate::backend::{LeaseStore, LeaseStoreError};
use crate::messages::{FROM_CONSUMER_MAX, FromConsumer, Grant, Order, Vitals};
use crate::report::error::CheckpointError;
use crate::report::event::Event;
use crate::report::log::{Events, chain};
use crate::tasks::sleep::sleep_until;

/// How many messages the scanner leaves for a holder before it waits.
pub(super) const TO_HOLDER_MAX: usize = 16;

/// What the scanner tells a holder.
#[derive(Debug)]
pub(super) enum ToHolder {
    /// A scan shows that somebody asks for the lease.
    HandOverHinted,
    /// When the next owner's presence last moved.
    NextOwnerMoved(Option<Moment>),
    /// The worker shuts down.
    Stop {
        /// When batches in hand are cancelled.
        until: Moment,
    },
}

/// What a holder tells the scanner.
#[derive(Debug)]
pub(super) enum FromHolder {
    /// Somebody asks for the lease.
    Asked { key: LeaseKey, next: WorkerId },
    /// The lease is held no longer. Its consumer may still be there.
    Ended { key: LeaseKey, how: LeaseEnd, row: Box<Lease> },
    /// The consumer is gone too.
    Gone { key: LeaseKey },
    /// A row was read while asking for it.
    Saw { row: Box<Lease> },
}

/// What every holder of a worker needs.
#[derive(Clone, Debug)]
pub(super) struct HolderParts {
    pub(super) me: WorkerId,
    pub(super) store: Arc<dyn LeaseStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Events,
    pub(super) scanner: mpsc::Sender<FromHolder>,
    pub(super) stream: StreamName,
    pub(super) start: Arc<StreamStart>,
    pub(super) retention: Duration,
}

/// The task of one held lease.
pub(super) struct Holder {
    parts: HolderParts,
    holding: Holding,
    child_numbers: WriteNumbers,
    inbox: mpsc::Receiver<ToHolder>,
    from_consumer: mpsc::Receiver<FromConsumer>,
    progress: watch::Receiver<Done>,
    deadline: watch::Sender<Moment>,
    order: watch::Sender<Order>,
    consumer_gone: oneshot::Receiver<()>,
    waiting: Vec<(Checkpoint, oneshot::Sender<Result<(), CheckpointError>>)>,
    preparing: Vec<oneshot::Sender<()>>,
    calls: FuturesUnordered<BoxFuture<'static, HoldingInput>>,
    ended: bool,
    /// Whether the consumer said its last word, or is known to be gone.
    is_quiet: bool,
}

impl Holder {
    /// The holder of a lease that was just taken, and what its consumer needs.
    pub(super) fn new(
        parts: HolderParts,
        holding: Holding,
        child_numbers: WriteNumbers,
        inbox: mpsc::Receiver<ToHolder>,
    ) -> (Self, Grant) {
        let (to_holder, from_consumer) = mpsc::channel(FROM_CONSUMER_MAX);
        let (progress, done) = watch::channel(Done::default());
        let (deadline, deadline_seen) = watch::channel(holding.deadline());
        let (order, orders) = watch::channel(Order::Run);
        let (alive, consumer_gone) = oneshot::channel();
        let grant = Grant {
            stream: parts.stream.clone(),
            start: Arc::clone(&parts.start),
            retention: parts.retention,
            lease: holding.row().clone(),
            token: holding.row().counter,
            deadline: deadline_seen,
            order: orders,
            progress,
            vitals: watch::Sender::new(Vitals::default()),
            holder: to_holder,
            alive,
        };
        let holder = Self {
            parts,
            holding,
            child_numbers,
            inbox,
            from_consumer,
            progress: done,
            deadline,
            order,
            consumer_gone,
            waiting: Vec::new(),
            preparing: Vec::new(),
            calls: FuturesUnordered::new(),
            ended: false,
            is_quiet: false,
        };
        (holder, grant)
    }

    /// Holds the lease until it ends, then waits for the consumer to be gone.
    pub(super) async fn run(mut self) {
        while !self.ended {
            let input = self.next_input().await;
            self.take_in(input).await;
        }
        self.waiting.clear();
        self.preparing.clear();
        self.from_consumer.close();
        if !self.is_quiet {
            drop((&mut self.consumer_gone).await); // An error says the same: it is gone.
        }
        let key = self.holding.row().key.clone();
        drop(self.parts.scanner.send(FromHolder::Gone { key }).await);
    }

    async fn next_input(&mut self) -> HoldingInput {
        let wake = sleep_until(&*self.parts.clock, self.holding.wake_at());
        tokio::select! {
            biased;
            Some(input) = self.calls.next(), if !self.calls.is_empty() => input,
            Some(message) = self.inbox.recv() => match message {
                ToHolder::HandOverHinted => HoldingInput::HandOverHinted,
                ToHolder::NextOwnerMoved(moved_at) => HoldingInput::NextOwnerMoved(moved_at),
                ToHolder::Stop { until } => HoldingInput::Stop { until },
            },
            Some(message) = self.from_consumer.recv() => self.heard(message),
            Ok(()) = self.progress.changed() => self.newest_progress(),
            _ = &mut self.consumer_gone, if !self.is_quiet => {
                self.is_quiet = true;
                HoldingInput::GaveUp
            }
            () = wake => HoldingInput::Tick,
        }
    }

    fn heard(&mut self, message: FromConsumer) -> HoldingInput {
        match message {
            FromConsumer::Checkpoint { checkpoint, reply } => {
                self.waiting.push((checkpoint, reply));
                HoldingInput::Checkpoint(checkpoint)
            }
            FromConsumer::Prepare { pending, reply } => {
                self.preparing.push(reply);
                HoldingInput::Prepare(pending)
            }
            FromConsumer::ShardEnded { children } => HoldingInput::ShardEnded(children),
            FromConsumer::Drained => HoldingInput::Drained,
            FromConsumer::Failed => HoldingInput::GaveUp,
        }
    }

    fn newest_progress(&mut self) -> HoldingInput {
        let done = *self.progress.borrow_and_update();
        HoldingInput::Progress(done)
    }

    async fn take_in(&mut self, input: HoldingInput) {
        let now = self.parts.clock.now();
        let mut effects = Vec::new();
        let says_it_is_done = matches!(
            input,
            HoldingInput::Drained | HoldingInput::GaveUp | HoldingInput::ShardEnded(_)
        );
        if says_it_is_done {
            // What it did last stands in the watch, and may not have been looked at yet.
            let progress = self.newest_progress();
            effects.extend(self.holding.on(progress, now));
        }
        effects.extend(self.holding.on(input, now));
        for effect in effects {
            self.carry_out(effect).await;
        }
    }

    async fn carry_out(&mut self, effect: HoldingEffect) {
        let key = || self.holding.row().key.clone();
        match effect {
            HoldingEffect::Write(write) => self.write(write),
            HoldingEffect::Read => self.read(),
            HoldingEffect::Deadline(deadline) => {
                self.deadline.send_replace(deadline);
            }
            HoldingEffect::Drain { until } => {
                self.order.send_if_modified(|order| lower(order, Order::Drain { until }));
            }
            HoldingEffect::Cancel => {
                self.order.send_modify(|order| *order = order.lost());
            }
            HoldingEffect::Stored(stored) => self.answer_up_to(stored),
            HoldingEffect::Prepared => {
                for reply in self.preparing.drain(..) {
                    _ = reply.send(()); // Who asked may not wait any longer.
                }
            }
            HoldingEffect::Refused(refused) => self.refuse(refused),
            HoldingEffect::CreateChildren(children) => self.create_children(&children),
            HoldingEffect::HandOverAsked(next) => {
                let key = key();
                self.parts
                    .events
                    .emit(&Event::HandOverAsked { key: key.clone(), next: next.clone() });
                drop(self.parts.scanner.send(FromHolder::Asked { key, next }).await);
            }
            HoldingEffect::HandOverEnded(reason) => {
                self.parts.events.emit(&Event::HandOverEnded { key: key(), reason });
            }
            HoldingEffect::Ended(how) => self.end(how).await,
        }
    }

    async fn end(&mut self, how: LeaseEnd) {
        self.ended = true;
        let row = self.holding.row().clone();
        let (key, checkpoint) = (row.key.clone(), row.checkpoint);
        self.parts.events.emit(&Event::LeaseEnded { key: key.clone(), how, checkpoint });
        let news = FromHolder::Ended { key, how, row: Box::new(row) };
        drop(self.parts.scanner.send(news).await);
    }

    fn write(&self, write: LeaseWrite) {
        let (store, events) = (Arc::clone(&self.parts.store), self.parts.events.clone());
        self.calls.push(Box::pin(async move {
            match store.write(&write).await {
                Ok(outcome) => HoldingInput::Answered(outcome),
                Err(error) => {
                    report(&events, "write a lease", &error);
                    HoldingInput::Unanswered
                }
            }
        }));
    }

    fn read(&self) {
        let (store, events) = (Arc::clone(&self.parts.store), self.parts.events.clone());
        let key = self.holding.row().key.clone();
        self.calls.push(Box::pin(async move {
            match store.get(&key).await {
                Ok(row) => HoldingInput::Read(row),
                Err(error) => {
                    report(&events, "read a lease", &error);
                    HoldingInput::Tick // The machine asks again when it is time.
                }
            }
        }));
    }

    /// Creates the children's leases, again and again until all exist or the lease has ended.
    fn create_children(&mut self, children: &[ChildShard]) {
        let (store, events) = (Arc::clone(&self.parts.store), self.parts.events.clone());
        let writes: Vec<_> = children
            .iter()
            .map(|child| LeaseWrite {
                key: LeaseKey::from(&child.id),
                worker: self.parts.me.clone(),
                number: self.child_numbers.draw(),
                kind: WriteKind::Create(NewLease::of(child)),
            })
            .collect();
        self.calls.push(Box::pin(async move {
            for write in &writes {
                create(&*store, &events, write).await;
            }
            HoldingInput::ChildrenCreated
        }));
    }

    fn answer_up_to(&mut self, stored: Checkpoint) {
        let (answered, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(asked, _)| *asked <= stored);
        self.waiting = waiting;
        let answered: Vec<(_, oneshot::Sender<_>)> = answered;
        for (_, reply) in answered {
            drop(reply.send(Ok(())));
        }
    }

    fn refuse(&mut self, refused: Checkpoint) {
        let Some(index) = self.waiting.iter().rposition(|(asked, _)| *asked == refused) else {
            return;
        };
        let (_, reply) = self.waiting.swap_remove(index);
        drop(reply.send(Err(match refused.position() {
            Some(position) => CheckpointError::OutOfRange { position },
            None => CheckpointError::LeaseLost,
        })));
    }
}

/// Lowers an order; says whether it changed.
fn lower(order: &mut Order, to: Order) -> bool {
    let is_lower = to > *order
        || matches!((&*order, to), (Order::Drain { until }, Order::Drain { until: sooner }) if sooner < *until);
    if is_lower {
        *order = to;
    }
    is_lower
}

async fn create(store: &dyn LeaseStore, events: &Events, write: &LeaseWrite) {
    loop {
        match store.write(write).await {
            Ok(Conditional::Applied(lease)) => {
                events.emit(&Event::LeaseCreated { key: lease.key });
                return;
            }
            Ok(Conditional::Lost { .. }) => return, // It exists: that is all that matters.
            Err(error) => {
                report(events, "create a child's lease", &error);
                tokio::time::sleep(CREATE_AGAIN_AFTER).await;
            }
        }
    }
}

/// The pause before a failed create is sent again. A stop or a hand-over ends the attempts.
const CREATE_AGAIN_AFTER: Duration = Duration::from_millis(500);

fn report(events: &Events, doing: &'static str, error: &LeaseStoreError) {
    let retry_in = Duration::ZERO;
    events.emit(&Event::CallFailed { doing, error: chain(error), retry_in });
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder").field("holding", &self.holding).finish_non_exhaustive()
    }
}
