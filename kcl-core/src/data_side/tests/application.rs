//! The application under test: processors and a dead letter that follow a script.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use kcl_proto::model::{Checkpoint, Position, ShardInfo};

use crate::backend::{DeadLetter, FailedRecord};
use crate::data_side::tests::stream::at;
use crate::processor::{RecordProcessor, ShardContext};
use crate::{Ack, BoxError, Checkpointer, PartialFailure, RecordBatch};

/// A scripted application. Clones share the same script.
#[derive(Clone, Debug, Default)]
pub(super) struct Application(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    plan: VecDeque<Act>,
    poison: Vec<(u128, Act)>,
    dead_letter_plan: VecDeque<Act>,
    detaches: bool,
    acks: Vec<Ack>,
    checkpointer: Option<Checkpointer>,
}

/// What a call of the application does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Ok,
    /// Fails to initialize. Stays in the plan until a processor is initialized.
    FailToInitialize,
    Fail,
    Panic,
    /// Checkpoints this record, then fails.
    CheckpointAndFail(u128),
    /// Checkpoints the first record of the batch, then fails.
    CheckpointFirstAndFail,
    /// Checkpoints this record, then panics.
    CheckpointAndPanic(u128),
    /// Succeeds after this time.
    Sleep(Duration),
    /// Never returns.
    Hang,
    /// Succeeds once it is cancelled.
    UntilCancelled,
    /// Fails with this record as the failed one.
    FailAt(u128),
    /// Blocks its thread for this time, then succeeds.
    Block(Duration),
}

/// A call of the application, or what the application sees of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// The factory creates a processor, which resumes from this checkpoint.
    New(Checkpoint),
    Initialize,
    /// `process_records`
    Batch {
        first: Position,
        last: Position,
        attempt: u32,
    },
    ShardEnded,
    ShutdownRequested,
    LeaseLost,
    /// [`Act::UntilCancelled`] sees its cancellation.
    Cancelled,
    /// The dead letter gets a record.
    DeadLetter {
        position: Position,
        attempts: u32,
        error: String,
    },
}

/// The first delivery of these records.
pub(super) fn batch(numbers: RangeInclusive<u128>) -> Call {
    attempt(1, numbers)
}

/// A delivery of these records.
pub(super) fn attempt(attempt: u32, numbers: RangeInclusive<u128>) -> Call {
    Call::Batch { first: at(*numbers.start()), last: at(*numbers.end()), attempt }
}

pub(super) fn dead_letter(number: u128, attempts: u32, error: &str) -> Call {
    Call::DeadLetter { position: at(number), attempts, error: error.to_owned() }
}

impl Call {
    pub(super) const fn is_batch(&self) -> bool {
        matches!(self, Self::Batch { .. })
    }

    pub(super) const fn is_dead_letter(&self) -> bool {
        matches!(self, Self::DeadLetter { .. })
    }

    /// The records of a batch.
    pub(super) fn numbers(&self) -> Option<RangeInclusive<u128>> {
        let Self::Batch { first, last, .. } = self else { return None };
        Some(number(*first)..=number(*last))
    }
}

/// The number of the record at a position.
pub(super) fn number(position: Position) -> u128 {
    position.sequence.to_string().parse().unwrap()
}

impl Application {
    /// Plans the processor's next calls. Calls without a plan succeed.
    pub(super) fn plan(&self, acts: impl IntoIterator<Item = Act>) {
        self.state().plan.extend(acts);
    }

    /// Plans every batch that contains this record.
    pub(super) fn poison(&self, number: u128, act: Act) {
        self.state().poison.push((number, act));
    }

    /// Plans the dead letter's next calls. Calls without a plan succeed.
    pub(super) fn plan_dead_letter(&self, acts: impl IntoIterator<Item = Act>) {
        self.state().dead_letter_plan.extend(acts);
    }

    /// Detaches all acknowledgements, for the test to [take](Self::ack).
    pub(super) fn detach(&self) {
        self.state().detaches = true;
    }

    /// Takes the newest acknowledgement of a record.
    pub(super) fn ack(&self, number: u128) -> Ack {
        let mut state = self.state();
        let index = state.acks.iter().rposition(|ack| ack.position() == at(number)).unwrap();
        state.acks.swap_remove(index)
    }

    /// The checkpointer of the newest processor.
    pub(super) fn checkpointer(&self) -> Checkpointer {
        self.state().checkpointer.clone().unwrap()
    }

    /// All calls, in order.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How often this call was made.
    pub(super) fn count(&self, call: &Call) -> usize {
        self.state().calls.iter().filter(|made| *made == call).count()
    }

    pub(super) fn new_processor(&self, shard: &ShardContext) -> Processor {
        let mut state = self.state();
        state.checkpointer = Some(shard.checkpointer().clone());
        state.calls.push(Call::New(shard.resumed_from()));
        Processor(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn record(&self, call: Call) {
        self.state().calls.push(call);
    }

    async fn act_as_planned(
        &self,
        shard: &ShardContext,
        first: Option<Position>,
    ) -> Result<(), BoxError> {
        let planned = self.state().plan.pop_front();
        self.act(planned.unwrap_or(Act::Ok), shard, first).await
    }

    async fn act(
        &self,
        act: Act,
        shard: &ShardContext,
        first: Option<Position>,
    ) -> Result<(), BoxError> {
        match act {
            Act::Ok | Act::FailToInitialize => {}
            Act::Fail => return Err("no".into()),
            Act::Panic => panic!("ouch"),
            Act::CheckpointAndFail(number) => {
                shard.checkpointer().checkpoint(at(number)).await?;
                return Err("no".into());
            }
            Act::CheckpointFirstAndFail => {
                if let Some(first) = first {
                    shard.checkpointer().checkpoint(first).await?;
                }
                return Err("no".into());
            }
            Act::CheckpointAndPanic(number) => {
                shard.checkpointer().checkpoint(at(number)).await?;
                panic!("ouch")
            }
            Act::Sleep(time) => tokio::time::sleep(time).await,
            Act::Hang => std::future::pending().await,
            Act::FailAt(number) => return Err(PartialFailure::new([at(number)], "no").into()),
            Act::UntilCancelled => {
                shard.cancelled().await;
                self.record(Call::Cancelled);
            }
            Act::Block(time) => tokio::time::advance(time).await,
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Processor(Application);

impl RecordProcessor for Processor {
    async fn initialize(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.0.record(Call::Initialize);
        let failure = self.0.state().plan.pop_front_if(|act| matches!(act, Act::FailToInitialize));
        if failure.is_some() { Err("not yet".into()) } else { Ok(()) }
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let (first, last) = (batch.first().unwrap().position, batch.last().unwrap().position);
        self.0.record(Call::Batch { first, last, attempt: batch.attempt() });
        let poison = {
            let mut poison = self.0.state().poison.clone().into_iter();
            poison.find(|(number, _)| batch.iter().any(|record| record.position == at(*number)))
        };
        if self.0.state().detaches {
            let acks: Vec<_> = batch.into_acks().into_iter().map(|(_, ack)| ack).collect();
            self.0.state().acks.extend(acks);
        }
        match poison {
            Some((_, act)) => self.0.act(act, shard, Some(first)).await,
            None => self.0.act_as_planned(shard, Some(first)).await,
        }
    }

    async fn shard_ended(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.0.record(Call::ShardEnded);
        self.0.act_as_planned(shard, None).await
    }

    async fn shutdown_requested(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.0.record(Call::ShutdownRequested);
        self.0.act_as_planned(shard, None).await
    }

    async fn lease_lost(&mut self, _shard: &ShardInfo) {
        self.0.record(Call::LeaseLost);
    }
}

#[async_trait]
impl DeadLetter for Application {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        let FailedRecord { record, error, attempts, .. } = failed;
        let (position, attempts, error) = (record.position, *attempts, error.clone());
        self.record(Call::DeadLetter { position, attempts, error });
        let planned = self.state().dead_letter_plan.pop_front();
        match planned {
            Some(Act::Fail) => Err("full".into()),
            Some(Act::Panic) => panic!("out of paper"),
            Some(Act::Hang) => std::future::pending().await,
            _ => Ok(()),
        }
    }
}
