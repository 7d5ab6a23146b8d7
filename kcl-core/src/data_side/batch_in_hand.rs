//! What a consumer does with the batch in hand: deliver it in portions, try again, set aside.

use std::time::Duration;

use kcl_proto::consumer::failure_policy::{Condemned, Failed, Portion, Trouble, Verdict};
use kcl_proto::consumer::lifecycle::Event as Happened;
use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::model::{Moment, OnExhausted, Position, Record, Timestamp};

use crate::backend::FailedRecord;
use crate::data_side::attend::{Attended, Patience};
use crate::data_side::consumer::{Call, Consumer, Failure};
use crate::data_side::processor_call::{Mishap, Outcome};
use crate::data_side::reader::{Batch, Fetch, Hopeless, Next};
use crate::messages::Order;
use crate::processor::RecordBatch;
use crate::report::event::Event;
use crate::tasks::stopped_shards::FatalFailure;

/// What was read and is not done.
#[derive(Debug, Default)]
pub(super) struct Hand {
    batch: Option<Batch>,
    trouble: Trouble,
    /// Whether something in hand failed, and the pause after that is over.
    is_again: bool,
}

impl Hand {
    /// Forgets the batch: it is read anew. What failed in it is remembered.
    pub(super) fn clear(&mut self) {
        self.batch = None;
    }

    /// Notes that the pause after a failure is over.
    pub(super) const fn try_again(&mut self) {
        self.is_again = true;
    }

    /// What to do first with what is in hand, less what is done up to `done`; none if nothing is left.
    fn portion(&mut self, done: Option<Position>) -> Option<Portion> {
        if let Some(done) = done {
            self.trouble.done_up_to(done);
        }
        self.drop_up_to(done);
        self.trouble.portion(&self.batch.as_ref()?.records)
    }

    fn drop_up_to(&mut self, done: Option<Position>) {
        self.batch =
            self.batch.take().map(|batch| Batch { records: batch.records.after(done), ..batch });
    }

    fn first(&self) -> Option<Record> {
        self.batch.as_ref()?.records.first().cloned()
    }

    /// Puts the batch away if all of it is done; returns when these were the last records, if so.
    fn finish(&mut self) -> Option<Timestamp> {
        self.batch.take_if(|batch| batch.records.is_empty())?.caught_up_at
    }
}

impl Consumer {
    /// Delivers the first portion of what is in hand, or of the next batch.
    pub(super) async fn deliver(&mut self) -> Happened {
        let is_again = std::mem::take(&mut self.hand.is_again);
        if self.hand.batch.is_none() {
            match self.next().await {
                Ok(batch) => self.hand.batch = Some(batch),
                Err(happened) => return happened,
            }
        } else if !is_again {
            // No portion is begun either once the holder asks to let go.
            match self.guard.standing() {
                Ok(Order::Drain { .. }) => return Happened::DrainAsked,
                Ok(Order::Run | Order::Lost { .. }) => {}
                Err(stop) => return stop.into(),
            }
        }
        let in_flight_max = self.parts.config.delivery.in_flight_max;
        if self.delivery.reached().in_flight >= in_flight_max {
            self.calls(Call::Acknowledgements);
            let (guard, room) = (&mut self.guard, self.delivery.room(in_flight_max));
            let attended = self.delivery.attend(guard, Patience::UntilAsked, room).await;
            self.call_is_over();
            if let Err(happened) = self.attended(attended) {
                return happened;
            }
        }
        match self.hand.portion(self.delivery.reached().done.position()) {
            Some(Portion::Deliver { count, attempt }) => self.deliver_portion(count, attempt).await,
            Some(Portion::SetAside(condemned)) => self.set_aside(condemned).await,
            Some(Portion::Pass) => self.pass(),
            // The application may have checkpointed all of it before it failed.
            None => self.portion_done(None),
        }
    }

    /// Waits for the next batch.
    async fn next(&mut self) -> Result<Batch, Happened> {
        loop {
            // No batch is begun once the holder asks to let go.
            if let Order::Drain { .. } = self.guard.standing()? {
                return Err(Happened::DrainAsked);
            }
            let Some(fetch) = &mut self.fetch else { return Err(Happened::EndReached) };
            match fetch.take() {
                Some(Next::Batch(batch)) => {
                    self.lags(batch.records.behind_latest(), batch.read_at);
                    return Ok(batch);
                }
                Some(Next::CaughtUp(at)) => {
                    self.lags(Some(Duration::ZERO), self.parts.clock.now());
                    self.delivery.publish(Some(at));
                }
                Some(Next::End(_)) => return Err(Happened::EndReached),
                Some(Next::Hopeless(why)) => {
                    if why == Hopeless::LostData {
                        self.stopped.insert(self.parts.lease.key.clone());
                    }
                    return Err(Happened::Hopeless);
                }
                None if self.delivery.reached().in_flight == 0 => {
                    self.delivery.publish(None); // The last acknowledgements came a moment ago.
                    self.guard.wait(fetch.step()).await?;
                }
                None => {
                    let (guard, patience) = (&mut self.guard, Patience::UntilAsked);
                    let attended = self.delivery.attend(guard, patience, fetch.step()).await;
                    self.attended(attended)?;
                }
            }
        }
    }

    /// Notes how far the shard's reader was behind its end.
    fn lags(&self, behind: Option<Duration>, seen: Moment) {
        let lag = behind.map(|behind| Lag { behind, seen });
        self.vitals.send_modify(|vitals| vitals.lag = lag);
    }

    async fn deliver_portion(&mut self, count: usize, attempt: u32) -> Happened {
        let Some(Batch { records, memory, read_at, .. }) = &self.hand.batch else {
            return Happened::Succeeded;
        };
        let behind = records.behind_latest().unwrap_or_default();
        let lag = Lag { behind, seen: *read_at };
        let portion = records.portion(count, attempt);
        self.calls(Call::ProcessRecords);
        let ahead = async {
            if let Some(fetch) = &mut self.fetch {
                Fetch::fill(fetch).await;
            }
        };
        let outcome =
            self.delivery.process(&mut self.guard, (portion.clone(), lag, memory), ahead).await;
        self.call_is_over();
        match outcome {
            Outcome::Succeeded => self.portion_done(portion.last_position()),
            Outcome::Stopped(stop) => stop.into(),
            Outcome::Failed(mishap) => self.portion_failed(&portion, mishap, Happened::Failed),
            Outcome::Broken(mishap) => {
                let happened = self.portion_failed(&portion, mishap, Happened::Panicked);
                self.start_over();
                happened
            }
        }
    }

    /// Waits until nothing is under way any more.
    pub(super) async fn acknowledged(&mut self, patience: Patience) -> Happened {
        if self.delivery.reached().in_flight == 0 {
            return Happened::Succeeded;
        }
        self.calls(Call::Acknowledgements);
        let acknowledged = self.delivery.room(1);
        let attended = self.delivery.attend(&mut self.guard, patience, acknowledged).await;
        self.call_is_over();
        self.attended(attended).map_or_else(|happened| happened, |()| Happened::Succeeded)
    }

    pub(super) fn attended<T>(&mut self, attended: Attended<T>) -> Result<T, Happened> {
        match attended {
            Attended::Done(value) => Ok(value),
            Attended::DrainAsked => Err(Happened::DrainAsked),
            Attended::Stopped(stop) => Err(stop.into()),
            Attended::Broken(mishap) => Err(self.broken(mishap)),
        }
    }

    /// Judges what failed although no call of the processor did.
    fn broken(&mut self, mishap: Mishap) -> Happened {
        let positions = mishap.in_flight.clone().unwrap_or_default();
        let happened = self.failed(&positions, mishap, Happened::Panicked);
        self.start_over();
        happened
    }

    fn portion_done(&mut self, last: Option<Position>) -> Happened {
        self.failures = 0;
        self.hand.drop_up_to(last);
        let caught_up_at = self.hand.finish();
        self.delivery.publish(caught_up_at);
        Happened::Succeeded
    }

    fn portion_failed(
        &mut self,
        portion: &RecordBatch,
        mishap: Mishap,
        happened: Happened,
    ) -> Happened {
        if let Some(positions) = mishap.in_flight.clone() {
            return self.failed(&positions, mishap, happened);
        }
        let position = |record: &Record| record.position;
        let blamed = portion.iter().map(position).find(|it| mishap.named.contains(it));
        // What comes before the record that is named is done.
        let before = portion.iter().map(position).take_while(|it| Some(*it) < blamed).last();
        if let Some(before) = before {
            self.delivery.acknowledge(before);
            self.hand.drop_up_to(Some(before));
            self.delivery.publish(None);
        }
        let done = self.delivery.reached().done.position().max(before);
        let left = portion.iter().map(position).filter(|position| Some(*position) > done);
        let named = blamed.into_iter().collect();
        let mishap = Mishap { named, ..mishap };
        self.failed(&left.collect::<Vec<_>>(), mishap, happened)
    }

    /// Judges the failure of records.
    fn failed(&mut self, positions: &[Position], mishap: Mishap, happened: Happened) -> Happened {
        let first = positions.first();
        let attempt = first.map_or(1, |first| self.hand.trouble.attempt(*first));
        let Mishap { error, named, is_final, .. } = mishap;
        let is_first_blamed = first.is_some_and(|first| named.contains(first));
        let failed = Failed { positions, is_first_blamed, error: &error };
        let policy = &self.parts.config.delivery.failure;
        let now = self.parts.clock.now();
        let verdict = match policy.then {
            OnExhausted::StopWorker if is_final => Verdict::StopWorker,
            OnExhausted::StopShard if is_final => Verdict::StopShard,
            OnExhausted::StopShard
            | OnExhausted::StopWorker
            | OnExhausted::DeadLetter
            | OnExhausted::Skip => self.hand.trouble.failed(failed, policy, now),
        };
        match (verdict, first) {
            (Verdict::StopShard, Some(first)) => return self.stop_at(*first, error, false),
            (Verdict::StopWorker, Some(first)) => return self.stop_at(*first, error, true),
            (Verdict::SetAside, _) if happened == Happened::Failed => {
                self.failures = 0;
                return Happened::Succeeded; // What to do next is known, and needs no pause.
            }
            (Verdict::Again { tries }, _) => self.failures = tries,
            (Verdict::SetAside | Verdict::StopShard | Verdict::StopWorker, _) => self.failures = 0,
        }
        let call = Call::ProcessRecords;
        self.failure = Some(Failure { call, attempt, error });
        happened
    }

    /// Stores the first record in the dead letter, or passes it over.
    async fn set_aside(&mut self, condemned: Condemned) -> Happened {
        let Some(record) = self.hand.first() else { return Happened::Succeeded };
        let Condemned { attempts, error } = condemned;
        let (shard, position) = (self.parts.lease.key.shard(), record.position);
        let told = match self.parts.config.delivery.failure.then {
            OnExhausted::StopShard => return self.stop_at(position, error, false),
            OnExhausted::StopWorker => return self.stop_at(position, error, true),
            OnExhausted::Skip => {
                let skipped = self.delivery.desk().skip();
                Event::Skipped { shard, position, attempts, error, skipped }
            }
            OnExhausted::DeadLetter => {
                let (stream, from) = (self.delivery.desk().info.stream.clone(), shard.clone());
                let failed = FailedRecord::new(stream, from, record, error.clone(), attempts);
                self.calls(Call::DeadLetter(position));
                let outcome = self.delivery.set_aside(&mut self.guard, &failed).await;
                self.call_is_over();
                match outcome {
                    Outcome::Succeeded => Event::DeadLettered { shard, position, attempts, error },
                    Outcome::Stopped(stop) => return stop.into(),
                    Outcome::Broken(mishap) => return self.broken(mishap),
                    Outcome::Failed(Mishap { error, .. }) => {
                        self.failures = self.failures.saturating_add(1);
                        let (call, attempt) = (Call::DeadLetter(position), self.failures);
                        self.failure = Some(Failure { call, attempt, error });
                        return Happened::Failed;
                    }
                }
            }
        };
        self.parts.events.emit(&told);
        self.hand.trouble.set_aside(position);
        self.pass()
    }

    /// Goes on after the first record, which was set aside.
    fn pass(&mut self) -> Happened {
        let position = self.hand.first().map(|record| record.position);
        if let Some(position) = position {
            self.delivery.acknowledge(position);
        }
        self.portion_done(position)
    }

    fn stop_at(&self, position: Position, error: String, stops_worker: bool) -> Happened {
        self.stop(Call::ProcessRecords, Some(position), error, stops_worker)
    }

    /// Gives the shard up for good, or has the worker stop.
    pub(super) fn stop(
        &self,
        call: Call,
        position: Option<Position>,
        error: String,
        stops_worker: bool,
    ) -> Happened {
        let key = self.parts.lease.key.clone();
        let (shard, call) = (key.shard(), call.name());
        self.stopped.insert(key);
        let told = Event::ShardStopped {
            shard: shard.clone(),
            call,
            position,
            error: error.clone(),
            stops_worker,
        };
        self.parts.events.emit(&told);
        if stops_worker {
            self.stopped.stop_worker(FatalFailure { shard, call, position, error });
        }
        Happened::Hopeless
    }
}
