//! The consumer of one shard: one task for each held lease.
//!
//! [`lifecycle`](kcl_proto::consumer::lifecycle) decides what to do next. The consumer carries out
//! one action after the other, and each ends with the next event.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kcl_proto::consumer::failure_policy::{self, Exhausted, Portion, Verdict};
use kcl_proto::consumer::lifecycle::{Action, ConsumerEnd, Event as Happened, State};
use kcl_proto::model::{Checkpoint, ChildShard, OnExhausted, Position, Record, ShardInfo};
use kcl_proto::shards::start_position::resume;
use tokio::sync::{mpsc, oneshot};

use crate::data_side::batch_in_hand::BatchInHand;
use crate::data_side::call_outcome::{Call, CallFailure, Interrupt, Outcome};
use crate::data_side::deadline_guard::Guard;
use crate::data_side::parts::{ConsumerParts, ReadParts};
use crate::data_side::processor_call::{ProcessorCall, Until};
use crate::data_side::reader::{Batch, Next, Passed, Reader, Unrecoverable};
use crate::data_side::retries::Retries;
use crate::data_side::shard_end;
use crate::messages::{FromConsumer, Grant, Order, Reports};
use crate::processor::RecordBatch;
use crate::processor::checkpointer::Checkpointer;
use crate::processor::record_failures::RecordFailures;
use crate::report::event::Event;
use crate::tasks::stopped_shards::FatalFailure;

/// Consumes a shard while its lease is held.
///
/// # Cancel safety
/// Dropping the future ends the consumer like a crash: records that are not stored as done are
/// delivered again.
pub(crate) async fn run(grant: Grant, parts: ConsumerParts) {
    Box::new(Consumer::new(grant, parts)).run().await;
}

struct Consumer {
    parts: ReadParts,
    calls: ProcessorCall,
    records: Arc<RecordFailures>,
    /// `None` for a shard that has ended.
    reader: Option<Reader>,
    hand: BatchInHand,
    retries: Retries,
    /// The shards that cover the shard's hash keys, once they are known.
    children: Option<Vec<ChildShard>>,
    holder: mpsc::Sender<Box<FromConsumer>>,
    /// Dropped with the consumer, which tells the holder that it is gone.
    _alive: oneshot::Sender<()>,
}

impl Consumer {
    fn new(grant: Grant, parts: ConsumerParts) -> Self {
        let Grant { stream, start, retention, lease, token, deadline, order, .. } = grant;
        let Grant { progress, vitals, series, holder, alive, .. } = grant;
        let reading = parts.reading(&lease, start, retention, &series);
        let ConsumerParts { factory, dead_letter, config, clock, .. } = parts;
        let ConsumerParts { events, chance, stopped, .. } = parts;
        let delivery = &config.delivery;
        let records = Arc::new(RecordFailures {
            info: ShardInfo::new(stream, lease.key.shard(), token.into()),
            config: Arc::clone(&config),
            clock: Arc::clone(&clock),
            events,
            chance,
            dead_letter,
            stopped,
            skipped: AtomicU64::new(0),
        });
        let guard = Guard::new(clock, deadline, order, delivery.cancel_grace);
        let checkpointer = Checkpointer::new(delivery.checkpoints, &lease, holder.downgrade());
        let reports = Reports { progress, vitals, series };
        let calls = ProcessorCall::new(factory, Arc::clone(&records), guard, reports, checkpointer);
        let checkpoint = reading.lease.checkpoint;
        let mut consumer = Self {
            parts: reading,
            calls,
            records,
            reader: None,
            hand: BatchInHand::default(),
            retries: Retries::default(),
            children: None,
            holder,
            _alive: alive,
        };
        consumer.read_after(checkpoint);
        consumer
    }

    /// Boxed, because the future has room for its arguments twice.
    async fn run(mut self: Box<Self>) {
        let (mut state, mut action) = (State::Initializing, Action::Initialize);
        while action != Action::Stop {
            let happened = self.carry_out(action, state).await;
            if happened == Happened::TimeUp {
                let shard = self.parts.lease.key.shard();
                self.parts.events.emit(&Event::Stalled { shard });
            }
            (state, action) = state.on(happened);
        }
    }

    async fn carry_out(&mut self, action: Action, state: State) -> Happened {
        match action {
            Action::Initialize => self.initialize().await,
            Action::Deliver => self.deliver().await,
            Action::Pause => self.pause().await,
            Action::EndShard => self.end_shard().await,
            Action::RequestShutdown => self.request_shutdown(state).await,
            Action::Leave(end) => {
                self.calls.report(None);
                self.calls.close();
                self.report_end(end).await;
                self.lease_settled().await
            }
            Action::Abandon(end) => {
                self.calls.report(None);
                self.calls.close();
                self.report_end(end).await;
                self.calls.lease_lost().await;
                Happened::Succeeded
            }
            Action::AnnounceLoss => {
                self.calls.lease_lost().await;
                Happened::Succeeded
            }
            Action::Stop => Happened::Succeeded,
        }
    }

    async fn initialize(&mut self) -> Happened {
        let outcome = self.calls.initialize().await;
        self.retried(outcome, Call::Initialize)
    }

    /// Delivers the first records in hand, or of the next batch.
    async fn deliver(&mut self) -> Happened {
        let is_retry = self.hand.take_retry();
        if self.hand.is_empty() {
            match self.next_batch().await {
                Ok(batch) => self.hand.put(batch),
                Err(happened) => return happened,
            }
        } else if !is_retry {
            // A drain ends the batch in hand between two portions.
            match self.calls.guard.standing() {
                Ok(Order::Drain { .. }) => return Happened::DrainAsked,
                Ok(Order::Run | Order::Lost { .. }) => {}
                Err(stop) => return stop.into(),
            }
        }
        let in_flight_max = self.parts.config.delivery.in_flight_max;
        if self.calls.in_flight() >= in_flight_max {
            let acknowledged = self.calls.acknowledged(Until::Drain, in_flight_max).await;
            if let Err(interrupt) = acknowledged {
                return self.interrupted(interrupt);
            }
        }
        match self.hand.portion(self.calls.done().position()) {
            Some(Portion::Deliver { count, attempt }) => self.deliver_portion(count, attempt).await,
            Some(Portion::Abandon(exhausted)) => self.abandon_first(exhausted).await,
            Some(Portion::Pass) => self.pass_first(),
            // The application checkpointed all of it before it failed.
            None => self.portion_done(None),
        }
    }

    async fn next_batch(&mut self) -> Result<Batch, Happened> {
        loop {
            // A drain ends the wait between two batches.
            if let Order::Drain { .. } = self.calls.guard.standing()? {
                return Err(Happened::DrainAsked);
            }
            let Some(reader) = &mut self.reader else { return Err(Happened::EndReached) };
            match reader.take() {
                Some(Next::Batch(batch)) => {
                    self.calls.report_lag(batch.records.behind_latest(), batch.read_at);
                    return Ok(batch);
                }
                Some(Next::Passed(Passed { through, behind_latest, read_at, caught_up_at })) => {
                    self.calls.report_lag(behind_latest, read_at);
                    if let Some(through) = through {
                        self.calls.pass(through);
                    }
                    self.calls.report(caught_up_at);
                }
                Some(Next::End(_)) => return Err(Happened::EndReached),
                Some(Next::Unrecoverable(reason)) => {
                    if reason == Unrecoverable::LostData {
                        self.records.stopped.insert(self.parts.lease.key.clone());
                    }
                    return Err(Happened::Unrecoverable);
                }
                None => {
                    if self.calls.in_flight() == 0 {
                        // The last acknowledgements may not be reported yet.
                        self.calls.report(None);
                    }
                    let read = self.calls.wait(pin!(reader.step())).await;
                    read.map_err(|interrupt| self.interrupted(interrupt))?;
                }
            }
        }
    }

    async fn deliver_portion(&mut self, count: usize, attempt: u32) -> Happened {
        let Some(delivery) = self.hand.delivery(count, attempt) else { return Happened::Succeeded };
        let portion = delivery.records.clone();
        let read_ahead = async {
            if let Some(reader) = &mut self.reader {
                reader.read_ahead().await;
            }
        };
        let outcome = self.calls.process(delivery, pin!(read_ahead)).await;
        match outcome {
            Outcome::Succeeded => self.portion_done(portion.last_position()),
            Outcome::Stopped(stop) => stop.into(),
            Outcome::Failed(failure) => self.portion_failed(&portion, failure, Happened::Failed),
            Outcome::Broken(failure) => {
                let happened = self.portion_failed(&portion, failure, Happened::Panicked);
                self.start_over();
                happened
            }
        }
    }

    fn portion_done(&mut self, last: Option<Position>) -> Happened {
        self.retries.deliveries = 0;
        self.hand.finish(last);
        let finished = self.hand.take_finished();
        if let Some(batch) = &finished {
            self.calls.pass(batch.through);
        }
        self.calls.report(finished.and_then(|batch| batch.caught_up_at));
        Happened::Succeeded
    }

    fn portion_failed(
        &mut self,
        portion: &RecordBatch,
        failure: CallFailure,
        happened: Happened,
    ) -> Happened {
        if let Some(positions) = failure.in_flight.clone() {
            return self.records_failed(&positions, failure, happened);
        }
        let position = |record: &Record| record.position;
        let blamed = portion.iter().map(position).find(|it| failure.named.contains(it));
        // The records before the first one that the error names are done.
        let before = portion.iter().map(position).take_while(|it| Some(*it) < blamed).last();
        if let Some(before) = before {
            self.calls.acknowledge(before);
            self.hand.finish(Some(before));
            self.calls.report(None);
        }
        let done = self.calls.done().position().max(before);
        let left = portion.iter().map(position).filter(|position| Some(*position) > done);
        let named = blamed.into_iter().collect();
        let failure = CallFailure { named, ..failure };
        self.records_failed(&left.collect::<Vec<_>>(), failure, happened)
    }

    /// Retries, abandons or stops after the records at `positions` failed.
    fn records_failed(
        &mut self,
        positions: &[Position],
        failure: CallFailure,
        happened: Happened,
    ) -> Happened {
        let first = positions.first().copied();
        let attempt = first.map_or(1, |first| self.hand.attempt(first));
        let policy = &self.parts.config.delivery.failure;
        let verdict = self.hand.failed(positions, &failure, policy, self.parts.clock.now());
        let (call, error) = (Call::ProcessRecords, failure.error);
        let is_stopped = matches!(verdict, Verdict::StopShard | Verdict::StopWorker);
        if let Some(first) = first.filter(|_| is_stopped) {
            return self.stop(call, Some(first), error, verdict);
        }
        self.retries.deliveries = 0;
        if let Verdict::Retry { tries } = verdict {
            self.retries.deliveries = tries;
        } else if verdict == Verdict::Abandon && happened == Happened::Failed {
            return Happened::Succeeded; // The next portion follows without a pause.
        }
        self.retries.failed(call, attempt, error);
        happened
    }

    /// Stores the first record in the dead letter, or skips it.
    async fn abandon_first(&mut self, exhausted: Exhausted) -> Happened {
        let Some(record) = self.hand.first() else { return Happened::Succeeded };
        let position = record.position;
        if self.parts.config.delivery.failure.then == OnExhausted::DeadLetter {
            let store = self.records.store(record, &exhausted);
            let stored = self.calls.dead_letter(position, pin!(store)).await;
            match stored {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let attempt = self.retries.deliveries.saturating_add(1);
                    self.retries.deliveries = attempt;
                    return self.retries.failed(Call::DeadLetter(position), attempt, error);
                }
                Err(interrupt) => return self.interrupted(interrupt),
            }
        }
        self.records.abandoned(position, exhausted);
        self.hand.abandoned(position);
        self.pass_first()
    }

    /// Continues after the first record.
    fn pass_first(&mut self) -> Happened {
        let position = self.hand.first().map(|record| record.position);
        if let Some(position) = position {
            self.calls.acknowledge(position);
        }
        self.portion_done(position)
    }

    /// Reports the last failure, and waits before the retry.
    async fn pause(&mut self) -> Happened {
        let pause = self.records.pause(self.retries.count());
        self.retries.report(&self.records, Some(pause));
        match self.calls.pause(pause).await {
            Ok(()) => {
                self.hand.retry();
                Happened::PauseOver
            }
            Err(interrupt) => self.interrupted(interrupt),
        }
    }

    async fn end_shard(&mut self) -> Happened {
        if let Err(happened) = self.find_children().await {
            return happened;
        }
        let outcome = self.calls.end_shard().await;
        let happened = self.retried(outcome, Call::ShardEnded);
        if happened != Happened::Succeeded {
            return happened;
        }
        self.all_acknowledged(Until::Drain).await
    }

    /// Finds the shards that cover this one's hash keys, which proves that it has ended.
    async fn find_children(&mut self) -> Result<(), Happened> {
        if self.children.is_some() {
            return Ok(());
        }
        let reported = match self.reader.as_mut().and_then(Reader::take) {
            Some(Next::End(children)) => children,
            Some(Next::Batch(_) | Next::Passed(_) | Next::Unrecoverable(_)) | None => Vec::new(),
        };
        let find = shard_end::children(&self.parts, &reported, self.calls.done());
        let found = self.calls.wait(pin!(find)).await;
        let children = found.map_err(|interrupt| self.interrupted(interrupt))?;
        self.children = Some(children.ok_or(Happened::Unrecoverable)?);
        Ok(())
    }

    async fn request_shutdown(&mut self, state: State) -> Happened {
        // A drain has a time limit of its own.
        let time = self.parts.config.shutdown.drain;
        let until = (state == State::Failing).then(|| self.parts.clock.now() + time);
        let outcome = self.calls.request_shutdown(until).await;
        let mut happened = self.happened(outcome, Call::ShutdownRequested, 1);
        self.retries.report(&self.records, None);
        if matches!(happened, Happened::Succeeded | Happened::Failed) {
            happened = self.all_acknowledged(Until::TimeUp(until)).await;
            self.retries.report(&self.records, None);
        }
        happened
    }

    /// Waits until no record is in flight.
    async fn all_acknowledged(&mut self, until: Until) -> Happened {
        if self.calls.in_flight() == 0 {
            return Happened::Succeeded;
        }
        match self.calls.acknowledged(until, 1).await {
            Ok(()) => Happened::Succeeded,
            Err(interrupt) => self.interrupted(interrupt),
        }
    }

    /// Reports how the consumer ends, unless the holder is gone.
    async fn report_end(&mut self, end: ConsumerEnd) {
        let message = match end {
            ConsumerEnd::ShardEnded => {
                let children = self.children.take().unwrap_or_default();
                let shard = self.parts.lease.key.shard();
                let ids = children.iter().map(|child| child.id.clone()).collect();
                self.parts.events.emit(&Event::ShardEnded { shard, children: ids });
                FromConsumer::ShardEnded { children }
            }
            ConsumerEnd::Drained => FromConsumer::Drained,
            ConsumerEnd::Failed => FromConsumer::Failed,
        };
        tokio::select! {
            biased;
            _ = self.holder.send(Box::new(message)) => {} // An error means that the holder is gone.
            () = self.calls.guard.lease_gone() => {}
        }
    }

    /// Waits until the holder is done with the lease.
    async fn lease_settled(&mut self) -> Happened {
        tokio::select! {
            biased;
            () = self.holder.closed() => {}
            () = self.calls.guard.lease_gone() => {}
        }
        Happened::Succeeded
    }

    /// The event after `initialize` or `shard_ended`, which is retried as often as the policy
    /// allows.
    fn retried(&mut self, outcome: Outcome, call: Call) -> Happened {
        let (Outcome::Failed(CallFailure { error, .. })
        | Outcome::Broken(CallFailure { error, .. })) = &outcome
        else {
            self.retries.reset(call);
            return self.happened(outcome, call, 0);
        };
        let (tries, failing_for) = self.retries.count_failure(call, self.parts.clock.now());
        let policy = &self.parts.config.delivery.failure;
        let verdict = failure_policy::call_failed(tries, failing_for, policy);
        if matches!(verdict, Verdict::StopShard | Verdict::StopWorker) {
            return self.stop(call, None, error.clone(), verdict);
        }
        self.happened(outcome, call, tries)
    }

    fn happened(&mut self, outcome: Outcome, call: Call, attempt: u32) -> Happened {
        match outcome {
            Outcome::Succeeded => Happened::Succeeded,
            Outcome::Stopped(stop) => stop.into(),
            Outcome::Failed(CallFailure { error, .. }) => self.retries.failed(call, attempt, error),
            Outcome::Broken(CallFailure { error, .. }) => {
                self.retries.failed(call, attempt, error);
                self.start_over();
                Happened::Panicked
            }
        }
    }

    fn interrupted(&mut self, interrupt: Interrupt) -> Happened {
        match interrupt {
            Interrupt::DrainAsked => Happened::DrainAsked,
            Interrupt::Stopped(stop) => stop.into(),
            Interrupt::Broken(failure) => {
                let positions = failure.in_flight.clone().unwrap_or_default();
                let happened = self.records_failed(&positions, failure, Happened::Panicked);
                self.start_over();
                happened
            }
        }
    }

    fn stop(
        &self,
        call: Call,
        position: Option<Position>,
        error: String,
        verdict: Verdict,
    ) -> Happened {
        let (shard, call) = (self.parts.lease.key.shard(), call.name());
        let failure = FatalFailure { shard, call, position, error };
        self.records.stop(failure, verdict == Verdict::StopWorker);
        Happened::Unrecoverable
    }

    /// Reads again what the dropped processor had not done, if it is not in hand.
    fn start_over(&mut self) {
        if let Some(checkpoint) = self.calls.take_restart() {
            self.hand.discard();
            // The dropped processor's acknowledgements may hold memory without end.
            self.parts.memory = self.parts.memory.another();
            self.read_after(checkpoint);
        }
    }

    fn read_after(&mut self, checkpoint: Checkpoint) {
        let initial = self.parts.config.retrieval.initial_position;
        let caught_up_at = self.calls.caught_up_at();
        self.reader = resume(&self.parts.lease, checkpoint, initial).map(|mut resume| {
            if let Some(seam) = &mut resume.seam {
                seam.caught_up_at = seam.caught_up_at.max(caught_up_at);
            }
            match &mut self.reader {
                Some(former) => former.restarted(self.parts.clone(), resume),
                None => Reader::new(self.parts.clone(), resume),
            }
        });
    }
}
