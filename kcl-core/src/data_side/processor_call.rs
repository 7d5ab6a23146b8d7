//! The processor of one shard: creates it, calls it under the [guard](super::deadline_guard), and
//! replaces it after a panic.

use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kcl_proto::consumer::backoff;
use kcl_proto::consumer::progress::{AckFailure, Progress, UnfinishedBatch};
use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::model::{Checkpoint, Moment, Position, Timestamp};
use kcl_proto::worker::shutdown::LEASE_LOST_TIME;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::BoxError;
use crate::backend::Clock;
use crate::data_side::call_outcome::{Call, CallFailure, Interrupt, Outcome};
use crate::data_side::deadline_guard::{CallEnd, Guard};
use crate::data_side::erased::{ErasedFactory, ErasedProcessor};
use crate::data_side::progress_reports::ProgressReports;
use crate::memory::Reserved;
use crate::messages::{ACKNOWLEDGEMENTS, Calling, Order, Reports};
use crate::metrics::shard_series::BatchOutcome;
use crate::processor::ack::DeliveredBatch;
use crate::processor::checkpointer::Checkpointer;
use crate::processor::record_failures::RecordFailures;
use crate::processor::{RecordBatch, ShardContext};
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;
use crate::tasks::supervisor::panic_message;

/// Creates the processors of one ownership of one shard, and calls them.
///
/// It takes futures pinned: by value, each of the functions that they pass through would have room
/// for them twice, and every shard pays for that.
pub(super) struct ProcessorCall {
    factory: Arc<dyn ErasedFactory>,
    failures: Arc<RecordFailures>,
    pub(super) guard: Guard,
    reports: Reports,
    /// The checkpointer and the progress of the current processor, or of the next one.
    checkpointer: Checkpointer,
    current: Option<Current>,
    /// Where to read again for the next processor, if its predecessor left anything undone.
    restart: Option<Checkpoint>,
}

struct Current {
    processor: Box<dyn ErasedProcessor>,
    context: ShardContext,
    /// Cancels the context even if the consumer's task is dropped.
    _ended: DropGuard,
}

/// A batch for the processor.
pub(super) struct Delivery {
    /// The records.
    pub(super) records: RecordBatch,
    /// How far the records are behind.
    pub(super) lag: Lag,
    /// The memory that they hold.
    pub(super) memory: Arc<Reserved>,
}

/// What ends a wait early.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// The holder asks for a drain.
    Drain,
    /// The holder asks for a drain that leaves no time for an attempt at this moment.
    DrainBefore(Moment),
    /// The time of the drain is up, at this moment at the latest.
    TimeUp(Option<Moment>),
}

/// What happened first while records were in flight.
enum First<T> {
    Value(T),
    DrainAsked,
    AckFailed(AckFailure),
    Background(Result<(), BoxError>),
}

impl ProcessorCall {
    /// Starts with the progress of `checkpointer`, and without a processor.
    pub(super) const fn new(
        factory: Arc<dyn ErasedFactory>,
        failures: Arc<RecordFailures>,
        guard: Guard,
        reports: Reports,
        checkpointer: Checkpointer,
    ) -> Self {
        Self { factory, failures, guard, reports, checkpointer, current: None, restart: None }
    }

    /// Creates a processor and calls `initialize`.
    pub(super) async fn initialize(&mut self) -> Outcome {
        self.retire();
        // A worker without the lease does not even call the factory.
        if let Err(stop) = self.guard.standing() {
            return Outcome::Stopped(stop);
        }
        let _call = self.begin(Call::Initialize.name());
        let context = self.context();
        let ended = context.cancelled.clone().drop_guard();
        let created = catch_unwind(AssertUnwindSafe(|| self.factory.create(&context)));
        let processor = match created {
            Ok(processor) => processor,
            Err(panic) => return Outcome::Broken(panic_message(&*panic).into()),
        };
        let current = self.current.insert(Current { processor, context, _ended: ended });
        let Current { processor, context, .. } = current;
        let work = async { processor.initialize(context).await };
        let end = self.guard.call(&context.cancelled, None, pin!(work)).await;
        let outcome = self.outcome(end);
        if matches!(outcome, Outcome::Failed(_)) {
            self.retire();
        }
        outcome
    }

    /// Calls `process_records`. `beside` runs as long as the processor does.
    pub(super) async fn process(
        &mut self,
        delivery: Delivery,
        beside: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Outcome {
        let bytes = delivery.records.iter().map(|record| record.data.len()).sum();
        let outcome = self.process_batch(delivery, beside).await;
        self.reports.series.batch_ended(match &outcome {
            Outcome::Succeeded => BatchOutcome::Ok { bytes },
            Outcome::Failed(_) => BatchOutcome::Error,
            Outcome::Broken(_) => BatchOutcome::Panic,
            Outcome::Stopped(_) => BatchOutcome::Cancelled,
        });
        outcome
    }

    async fn process_batch(
        &mut self,
        delivery: Delivery,
        beside: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Outcome {
        let Delivery { records, lag, memory } = delivery;
        let _call = self.begin(Call::ProcessRecords.name());
        let reports = self.progress_reports();
        let Some(Current { processor, context, .. }) = &mut self.current else {
            return Outcome::Failed("there is no processor".to_owned().into());
        };
        let Some(last) = records.last_position() else { return Outcome::Succeeded };
        let (progress, count) = (&reports.progress, records.len());
        progress.send_modify(|progress| progress.deliver(last));
        let batch = UnfinishedBatch { last, lag, since: Some(self.failures.clock.now()) };
        let delivered = DeliveredBatch::new(progress.clone(), Arc::downgrade(&memory), batch);
        let records = records.delivered_as(Arc::new(delivered));
        let work = async {
            let beside = async {
                beside.await;
                pending::<Infallible>().await
            };
            tokio::select! {
                biased;
                done = processor.process_records(records, context) => Ok(done),
                failure = reports.report_acks() => Err(failure),
                never = beside => match never {},
            }
        };
        let end = self.guard.call(&context.cancelled, None, pin!(work)).await;
        match end {
            CallEnd::Returned(Err(failure)) => Outcome::Broken(self.ack_failed(failure)),
            CallEnd::Returned(Ok(Err(error))) if progress.borrow().is_detached(last) => {
                self.retire(); // Its acknowledgements are somewhere, and may never be given.
                Outcome::Broken((&error).into())
            }
            CallEnd::Returned(Ok(done)) => {
                if done.is_ok() {
                    progress.send_modify(|progress| progress.process(last, count));
                }
                self.outcome(CallEnd::Returned(done))
            }
            CallEnd::Panicked(message) => self.outcome(CallEnd::Panicked(message)),
            CallEnd::Stopped(stop) => Outcome::Stopped(stop),
        }
    }

    /// Calls `shard_ended`.
    pub(super) async fn end_shard(&mut self) -> Outcome {
        let _call = self.begin(Call::ShardEnded.name());
        self.call(None, |processor, context| processor.shard_ended(context)).await
    }

    /// Calls `shutdown_requested`, which may run until `until`.
    pub(super) async fn request_shutdown(&mut self, until: Option<Moment>) -> Outcome {
        let _call = self.begin(Call::ShutdownRequested.name());
        self.call(until, |processor, context| processor.shutdown_requested(context)).await
    }

    async fn call(
        &mut self,
        until: Option<Moment>,
        method: impl for<'a> FnOnce(
            &'a mut dyn ErasedProcessor,
            &'a ShardContext,
        ) -> BoxFuture<'a, Result<(), BoxError>>
        + Send,
    ) -> Outcome {
        let reports = self.progress_reports();
        let Some(Current { processor, context, .. }) = &mut self.current else {
            return Outcome::Succeeded; // It panicked before, and receives no further call.
        };
        let work = async {
            // The next wait reports a failed acknowledgement.
            let beside = async {
                reports.report_acks().await;
                pending::<Infallible>().await
            };
            tokio::select! {
                biased;
                done = method(&mut **processor, context) => done,
                never = beside => match never {},
            }
        };
        let end = self.guard.call(&context.cancelled, until, pin!(work)).await;
        self.outcome(end)
    }

    /// Calls `lease_lost`, which no deadline bounds.
    pub(super) async fn lease_lost(&mut self) {
        self.close();
        if let Some(Current { processor, context, .. }) = &mut self.current {
            let call = AssertUnwindSafe(async { processor.lease_lost(&context.info).await });
            // The ownership has ended: a panic or a hang changes nothing.
            drop(timeout(LEASE_LOST_TIME, call.catch_unwind()).await);
        }
    }

    /// Waits for `work`, or until the holder asks for a drain.
    pub(super) async fn wait<T: Send>(
        &mut self,
        work: Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> Result<T, Interrupt> {
        if self.in_flight() == 0 {
            return self.guard.wait(work).await;
        }
        self.attend(Until::Drain, work).await
    }

    /// Waits before the next attempt. During a drain, only if it leaves time for that attempt.
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<(), Interrupt> {
        if self.in_flight() == 0 {
            return self.guard.pause(pause).await;
        }
        let clock = Arc::clone(&self.failures.clock);
        let end = clock.now() + pause;
        self.attend(Until::DrainBefore(end), pin!(sleep_until(&*clock, end))).await
    }

    /// Waits until fewer than `records` records are in flight.
    pub(super) async fn acknowledged(
        &mut self,
        until: Until,
        records: usize,
    ) -> Result<(), Interrupt> {
        let _call = self.begin(ACKNOWLEDGEMENTS);
        let reports = self.progress_reports();
        self.attend(until, pin!(reports.room(records))).await
    }

    /// Waits for the dead letter to store the record at `position`.
    pub(super) async fn dead_letter<T: Send>(
        &mut self,
        position: Position,
        store: Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> Result<T, Interrupt> {
        let _call = self.begin(Call::DeadLetter(position).name());
        self.attend(Until::TimeUp(None), store).await
    }

    /// Waits for `work` while acknowledgements are reported and the processor's `background` runs.
    async fn attend<T: Send>(
        &mut self,
        until: Until,
        mut work: Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> Result<T, Interrupt> {
        let mut is_idle = self.in_flight() == 0;
        let clock = Arc::clone(&self.failures.clock);
        let limit = match until {
            Until::Drain | Until::DrainBefore(_) => None,
            Until::TimeUp(limit) => limit,
        };
        loop {
            let (reports, orders) = (self.progress_reports(), self.guard.orders());
            let Some(Current { processor, context, .. }) = &mut self.current else {
                return Ok(work.await);
            };
            let first = async {
                tokio::select! {
                    biased;
                    failure = reports.report_acks() => First::AckFailed(failure),
                    () = drain_asked(orders, until, &*clock) => First::DrainAsked,
                    value = &mut work => First::Value(value),
                    end = processor.background(context), if !is_idle => First::Background(end),
                }
            };
            let end = self.guard.call(&context.cancelled, limit, pin!(first)).await;
            return Err(match end {
                CallEnd::Returned(First::Value(value)) => return Ok(value),
                CallEnd::Returned(First::DrainAsked) => Interrupt::DrainAsked,
                CallEnd::Returned(First::Background(Ok(()))) => {
                    is_idle = true;
                    continue;
                }
                CallEnd::Returned(First::Background(Err(error))) => {
                    Interrupt::Broken(self.background_failed(chain(&*error)))
                }
                CallEnd::Returned(First::AckFailed(failure)) => {
                    Interrupt::Broken(self.ack_failed(failure))
                }
                CallEnd::Panicked(message) => {
                    Interrupt::Broken(self.background_failed(format!("panicked: {message}")))
                }
                CallEnd::Stopped(stop) => Interrupt::Stopped(stop),
            });
        }
    }

    /// Drops the processor after an acknowledgement failed.
    fn ack_failed(&mut self, failure: AckFailure) -> CallFailure {
        self.retire();
        let AckFailure { position, error, is_final } = failure;
        CallFailure { error, named: vec![position], in_flight: Some(vec![position]), is_final }
    }

    /// Drops the processor after its background work failed: any record in flight may be at fault.
    fn background_failed(&mut self, error: String) -> CallFailure {
        let outstanding = self.current.as_ref().map(|_| {
            let progress = self.checkpointer.progress.borrow();
            progress.outstanding().collect()
        });
        self.retire();
        CallFailure { in_flight: outstanding, ..error.into() }
    }

    /// Ends this ownership for the application: refuses every checkpoint and acknowledgement.
    pub(super) fn close(&self) {
        if let Some(current) = &self.current {
            current.context.cancelled.cancel();
            self.checkpointer.progress.send_modify(Progress::close);
        }
    }

    /// Drops the processor, and prepares the progress of the next one.
    fn retire(&mut self) {
        self.close();
        let Some(current) = self.current.take() else { return };
        self.restart = self.checkpointer.progress.borrow().restart();
        self.checkpointer = self.checkpointer.successor();
        let unfinished = self.checkpointer.progress.borrow().oldest_unfinished();
        self.reports.vitals.send_modify(|vitals| vitals.unfinished = unfinished);
        // A panic of the destructor adds nothing to the failure before it.
        drop(catch_unwind(AssertUnwindSafe(|| drop(current))));
    }

    /// Where to read again for the next processor, or `None` if everything that is not done is in
    /// hand.
    pub(super) const fn take_restart(&mut self) -> Option<Checkpoint> {
        self.restart.take()
    }

    /// Marks the records up to `position` as done.
    pub(super) fn acknowledge(&self, position: Position) {
        if self.current.is_some() {
            self.checkpointer.progress.send_modify(|progress| {
                progress.deliver(position);
                progress.process(position, 1);
            });
        }
    }

    /// Records that nothing up to `through` needs processing but what was delivered.
    pub(super) fn pass(&self, through: Position) {
        self.checkpointer.progress.send_modify(|progress| progress.pass(through));
    }

    /// The end of what is done.
    pub(super) fn done(&self) -> Checkpoint {
        self.checkpointer.progress.borrow().done()
    }

    /// The number of records in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.checkpointer.progress.borrow().in_flight()
    }

    /// Reports to the holder what may be stored.
    pub(super) fn report(&self, caught_up_at: Option<Timestamp>) {
        self.progress_reports().report(caught_up_at);
    }

    /// Reports to the holder how far the reader was behind the end of the shard at `seen`.
    pub(super) fn report_lag(&self, behind: Option<Duration>, seen: Moment) {
        let lag = behind.map(|behind| Lag { behind, seen });
        self.reports.vitals.send_modify(|vitals| vitals.lag = lag);
    }

    /// When the consumer was last at the end of its shard.
    pub(super) fn caught_up_at(&self) -> Option<Timestamp> {
        self.reports.progress.borrow().caught_up_at
    }

    fn progress_reports(&self) -> ProgressReports {
        let progress = self.checkpointer.progress.clone();
        ProgressReports { progress, reports: self.reports.clone() }
    }

    fn context(&self) -> ShardContext {
        let progress = &self.checkpointer.progress;
        let resume = self.done();
        let pending = self.checkpointer.unsettled(resume);
        // A predecessor received it, so the application may commit it.
        if let Some(position) = pending.as_ref().and_then(|pending| pending.checkpoint.position()) {
            progress.send_modify(|progress| progress.deliver(position));
        }
        ShardContext {
            info: self.failures.info.clone(),
            failures: Arc::clone(&self.failures),
            resume,
            pending,
            cancelled: CancellationToken::new(),
            checkpointer: self.checkpointer.clone(),
        }
    }

    fn outcome(&mut self, end: CallEnd<Result<(), BoxError>>) -> Outcome {
        match end {
            CallEnd::Returned(Ok(())) => Outcome::Succeeded,
            CallEnd::Returned(Err(error)) => Outcome::Failed((&error).into()),
            CallEnd::Panicked(message) => {
                self.retire(); // Its state may be inconsistent.
                Outcome::Broken(format!("panicked: {message}").into())
            }
            CallEnd::Stopped(stop) => Outcome::Stopped(stop),
        }
    }

    /// Reports a call as running until the result is dropped.
    fn begin(&self, name: &'static str) -> RunningCall {
        let calling = Calling { name, since: self.failures.clock.now() };
        self.reports.vitals.send_modify(|vitals| vitals.call = Some(calling));
        let clock = Arc::clone(&self.failures.clock);
        RunningCall { reports: self.reports.clone(), calling, clock }
    }
}

/// A call that is reported as running.
struct RunningCall {
    reports: Reports,
    calling: Calling,
    clock: Arc<dyn Clock>,
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let Self { reports, calling: Calling { name, since }, clock } = self;
        reports.vitals.send_modify(|vitals| vitals.call = None);
        reports.series.call_ended(name, clock.now().since(*since));
    }
}

/// Returns once the holder's order ends a wait.
async fn drain_asked(mut orders: watch::Receiver<Order>, until: Until, clock: &dyn Clock) {
    let ends = |order: &Order| match (*order, until) {
        (Order::Drain { .. }, Until::Drain) => true,
        (Order::Drain { until }, Until::DrainBefore(end)) => {
            let now = clock.now();
            !backoff::fits(end - now, until - now)
        }
        (Order::Drain { .. }, Until::TimeUp(_)) | (Order::Run | Order::Lost { .. }, _) => false,
    };
    if orders.wait_for(ends).await.is_err() {
        pending::<()>().await; // The guard handles a holder that is gone.
    }
}

impl std::fmt::Debug for ProcessorCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessorCall").field("shard", &self.failures.info).finish_non_exhaustive()
    }
}
