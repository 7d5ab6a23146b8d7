//! The processor of one shard: made, called under the [guard](super::deadline_guard), replaced after a panic.

use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kcl_proto::consumer::checkpointing::{Marks, Reached};
use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::consumer::under_way::Delivered;
use kcl_proto::model::{CheckpointPolicy, Lease, Moment, Position};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::BoxError;
use crate::backend::FailedRecord;
use crate::data_side::attend::{Attended, Patience, watch_acks};
use crate::data_side::deadline_guard::{Call, Guard, Stop};
use crate::data_side::erased::{ErasedFactory, ErasedProcessor};
use crate::memory::Reserved;
use crate::messages::{FromConsumer, Reports};
use crate::processor::RecordBatch;
use crate::processor::ShardContext;
use crate::processor::ack::Ledger;
use crate::processor::checkpointer::{Checkpointer, Pending};
use crate::processor::partial_failure;
use crate::processor::record_failures::Desk;
use crate::report::log::chain;
use crate::tasks::supervisor::panic_message;

/// How long the processor may take to hear that the lease is lost.
pub(super) const LOSS_TIME_MAX: Duration = Duration::from_secs(10);

/// How a call of the processor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Well.
    Succeeded,
    /// With an error.
    Failed(Mishap),
    /// With a panic, or with records that will not be acknowledged. There is no processor any more.
    Broken(Mishap),
    /// It may not run any more.
    Stopped(Stop),
}

/// What an error said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mishap {
    /// All of it, as one line.
    pub(super) error: String,
    /// The records that it names.
    pub(super) named: Vec<Position>,
    /// The records at fault, if they were under way since an earlier call.
    pub(super) in_flight: Option<Vec<Position>>,
    /// Whether their attempts are used up.
    pub(super) is_final: bool,
}

impl From<String> for Mishap {
    fn from(error: String) -> Self {
        Self { error, named: Vec::new(), in_flight: None, is_final: false }
    }
}

/// Makes processors for one ownership of one shard, and calls them.
pub(super) struct Delivery {
    factory: Arc<dyn ErasedFactory>,
    policy: CheckpointPolicy,
    /// What is prepared, for each processor to be told. Shared with its checkpointer.
    pending: watch::Sender<Option<Pending>>,
    holder: mpsc::WeakSender<FromConsumer>,
    desk: Arc<Desk>,
    pub(super) reports: Reports,
    /// How far the last processor had come when it was dropped.
    last: Reached,
    pub(super) current: Option<Current>,
}

pub(super) struct Current {
    pub(super) processor: Box<dyn ErasedProcessor>,
    pub(super) context: ShardContext,
    /// Whoever waits for the end of this ownership hears of it, even if the task is dropped.
    _over: DropGuard,
}

impl Delivery {
    /// Goes on from what the lease says.
    pub(super) fn new(
        factory: Arc<dyn ErasedFactory>,
        policy: CheckpointPolicy,
        desk: Desk,
        lease: &Lease,
        (holder, reports): (mpsc::WeakSender<FromConsumer>, Reports),
    ) -> Self {
        let last = Marks::new(policy, lease.checkpoint).reached();
        let pending =
            lease.pending.clone().map(|pending| Pending::inherited(pending, lease.checkpoint));
        let (pending, desk) = (watch::Sender::new(pending), Arc::new(desk));
        Self { factory, policy, pending, holder, desk, reports, last, current: None }
    }

    /// Makes a processor and initializes it.
    pub(super) async fn initialize(&mut self, guard: &mut Guard) -> Outcome {
        self.retire();
        // Not even the factory is called by a worker that does not hold the lease.
        if let Err(stop) = guard.standing() {
            return Outcome::Stopped(stop);
        }
        let context = self.context();
        let over = context.cancelled.clone().drop_guard();
        let made = catch_unwind(AssertUnwindSafe(|| self.factory.create(&context)));
        let processor = match made {
            Ok(processor) => processor,
            Err(panic) => return Outcome::Broken(panic_message(&*panic).into()),
        };
        let current = self.current.insert(Current { processor, context, _over: over });
        let Current { processor, context, .. } = current;
        let work = async { processor.initialize(context).await };
        let call = guard.call(&context.cancelled, None, work).await;
        let outcome = self.outcome(call);
        if matches!(outcome, Outcome::Failed(_)) {
            self.retire();
        }
        outcome
    }

    /// Delivers a batch, which is so old and takes this memory. `beside` runs as long as the processor does.
    pub(super) async fn process(
        &mut self,
        guard: &mut Guard,
        (batch, lag, memory): (RecordBatch, Lag, &Arc<Reserved>),
        beside: impl Future<Output = ()> + Send,
    ) -> Outcome {
        let reports = self.reports.clone();
        let Some(Current { processor, context, .. }) = &mut self.current else {
            return Outcome::Failed("there is no processor".to_owned().into());
        };
        let Some(last) = batch.last_position() else { return Outcome::Succeeded };
        let (marks, count) = (context.checkpointer.marks.clone(), batch.len());
        marks.send_modify(|marks| marks.deliver(last));
        let delivered = Delivered { last, lag, at: Some(self.desk.clock.now()) };
        let ledger = Ledger::new(marks.clone(), Arc::downgrade(memory), delivered);
        let batch = batch.recorded_in(Arc::new(ledger));
        let work = async {
            let beside = async {
                beside.await;
                pending::<Infallible>().await
            };
            tokio::select! {
                biased;
                done = processor.process_records(batch, context) => Ok(done),
                failure = watch_acks(marks.clone(), reports) => Err(failure),
                never = beside => match never {},
            }
        };
        match guard.call(&context.cancelled, None, work).await {
            Call::Done(Err(failure)) => Outcome::Broken(self.unacknowledged(failure)),
            Call::Done(Ok(Err(error))) if marks.borrow().is_detached(last) => {
                self.retire(); // Nobody knows what becomes of the acknowledgements that it gave away.
                Outcome::Broken(mishap(&error))
            }
            Call::Done(Ok(done)) => {
                if done.is_ok() {
                    marks.send_modify(|marks| marks.process(last, count));
                }
                self.outcome(Call::Done(done))
            }
            Call::Panicked(said) => self.outcome(Call::Panicked(said)),
            Call::Stopped(stop) => Outcome::Stopped(stop),
        }
    }

    /// Stores a record in the dead letter, while what is under way goes on.
    pub(super) async fn set_aside(&mut self, guard: &mut Guard, failed: &FailedRecord) -> Outcome {
        let Some(dead_letter) = self.desk.dead_letter.clone() else {
            return Outcome::Failed("there is no dead letter".to_owned().into());
        };
        // Its panics are not the processor's.
        let store = AssertUnwindSafe(async { dead_letter.store(failed).await }).catch_unwind();
        match self.attend(guard, Patience::UntilTimeUp(None), store).await {
            Attended::Done(Ok(Ok(()))) => Outcome::Succeeded,
            Attended::Done(Ok(Err(error))) => Outcome::Failed(chain(&*error).into()),
            Attended::Done(Err(panic)) => {
                Outcome::Failed(format!("panicked: {}", panic_message(&*panic)).into())
            }
            Attended::Broken(mishap) => Outcome::Broken(mishap),
            Attended::Stopped(stop) => Outcome::Stopped(stop),
            Attended::DrainAsked => Outcome::Stopped(Stop::TimeUp), // Nobody listens for that here.
        }
    }

    /// Tells the processor that the shard ended.
    pub(super) async fn end_shard(&mut self, guard: &mut Guard) -> Outcome {
        self.call(guard, None, |processor, context| processor.shard_ended(context)).await
    }

    /// Tells the processor that the shard goes to another worker; it gets time up to `until`.
    pub(super) async fn request_shutdown(
        &mut self,
        guard: &mut Guard,
        until: Option<Moment>,
    ) -> Outcome {
        self.call(guard, until, |processor, context| processor.shutdown_requested(context)).await
    }

    async fn call(
        &mut self,
        guard: &mut Guard,
        until: Option<Moment>,
        ask: impl for<'a> FnOnce(
            &'a mut dyn ErasedProcessor,
            &'a ShardContext,
        ) -> BoxFuture<'a, Result<(), BoxError>>
        + Send,
    ) -> Outcome {
        let Some(Current { processor, context, .. }) = &mut self.current else {
            return Outcome::Succeeded; // It panicked, and hears nothing any more.
        };
        let (marks, reports) = (context.checkpointer.marks.clone(), self.reports.clone());
        let work = async {
            // What is acknowledged meanwhile is published; a failure is told by what comes next.
            let beside = async {
                watch_acks(marks, reports).await;
                pending::<Infallible>().await
            };
            tokio::select! {
                biased;
                done = ask(&mut **processor, context) => done,
                never = beside => match never {},
            }
        };
        let call = guard.call(&context.cancelled, until, work).await;
        self.outcome(call)
    }

    /// Tells the processor that the lease is lost: the one call that no deadline bounds.
    pub(super) async fn announce_loss(&mut self) {
        self.close();
        if let Some(Current { processor, context, .. }) = &mut self.current {
            let told = AssertUnwindSafe(async { processor.lease_lost(&context.info).await });
            // A panic or a hang here concerns nobody any more.
            drop(timeout(LOSS_TIME_MAX, told.catch_unwind()).await);
        }
    }

    /// Ends this ownership for the application: nothing can be checkpointed any more.
    pub(super) fn close(&self) {
        if let Some(current) = &self.current {
            current.context.cancelled.cancel();
            current.context.checkpointer.marks.send_modify(Marks::end);
        }
    }

    /// Notes that records up to `position` are done, whoever says so.
    pub(super) fn acknowledge(&self, position: Position) {
        if let Some(current) = &self.current {
            current.context.checkpointer.marks.send_modify(|marks| {
                marks.deliver(position);
                marks.process(position, 1);
            });
        }
    }

    /// What becomes of records that fail.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// How far the current processor has come, or the last one had.
    pub(super) fn reached(&self) -> Reached {
        match &self.current {
            Some(current) => current.context.checkpointer.marks.borrow().reached(),
            None => self.last,
        }
    }

    /// Drops the processor, and remembers after what another one goes on.
    pub(super) fn retire(&mut self) {
        let reached = self.reached();
        // It is not done, but nobody works on it.
        let under_way = reached.under_way.map(|left| Delivered { at: None, ..left });
        self.last = Reached { in_flight: 0, under_way, ..reached };
        self.reports.vitals.send_modify(|vitals| vitals.under_way = under_way);
        self.close();
        if let Some(current) = self.current.take() {
            // What its destructor says adds nothing to the panic before.
            drop(catch_unwind(AssertUnwindSafe(|| drop(current))));
        }
    }

    fn context(&self) -> ShardContext {
        let marks = Marks::new(self.policy, self.last.done);
        let mut marks = marks.with_records(self.last.records);
        if let Some(left) = self.last.under_way {
            marks.inherit(left);
        }
        let pending = self.pending.borrow().clone().and_then(|it| it.unsettled(self.last.done));
        // It was delivered before, if not to this processor: it may be committed.
        if let Some(position) = pending.as_ref().and_then(|pending| pending.checkpoint.position()) {
            marks.deliver(position);
        }
        let marks = watch::Sender::new(marks);
        ShardContext {
            info: self.desk.info.clone(),
            desk: Arc::clone(&self.desk),
            resume: self.last.done,
            pending,
            cancelled: CancellationToken::new(),
            checkpointer: Checkpointer {
                marks,
                pending: self.pending.clone(),
                holder: self.holder.clone(),
            },
        }
    }

    fn outcome(&mut self, call: Call<Result<(), BoxError>>) -> Outcome {
        match call {
            Call::Done(Ok(())) => Outcome::Succeeded,
            Call::Done(Err(error)) => Outcome::Failed(mishap(&error)),
            Call::Panicked(said) => {
                self.retire(); // What it was doing may be half done.
                Outcome::Broken(format!("panicked: {said}").into())
            }
            Call::Stopped(stop) => Outcome::Stopped(stop),
        }
    }
}

fn mishap(error: &BoxError) -> Mishap {
    let named = partial_failure::named(&**error).to_vec();
    Mishap { named, ..chain(&**error).into() }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("shard", &self.desk.info)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
