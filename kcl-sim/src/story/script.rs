//! Processors that do what the story says.

use std::fmt;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcl_core::processor::ShardInfo;
use kcl_core::{BoxError, ProcessorFactory, RecordBatch, RecordProcessor, ShardContext};
use tokio::time::sleep;

use crate::journal::Journal;
use crate::story::journal::shard_number;

/// What a processor does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Succeeds.
    Succeed,
    /// Fails.
    Fail,
    /// Panics.
    Panic,
    /// Succeeds after this time.
    Take(Duration),
    /// Never returns.
    Hang,
    /// Checkpoints this record of the batch, then succeeds.
    Checkpoint(usize),
    /// Checkpoints this record of the batch, then fails.
    CheckpointAndFail(usize),
}

/// A call of a processor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The worker's name.
    pub worker: String,
    /// The shard's number.
    pub shard: usize,
    /// Which method is called.
    pub kind: CallKind,
}

/// Which method of a processor is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallKind {
    /// `initialize`.
    Initialize,
    /// `process_records`.
    Process {
        /// The data of the records.
        records: Vec<String>,
        /// The attempt: 1 for the first.
        attempt: u32,
    },
    /// `shard_ended`.
    ShardEnded,
    /// `shutdown_requested`.
    ShutdownRequested,
    /// `lease_lost`.
    LeaseLost,
}

impl Call {
    /// Whether it delivers records.
    #[must_use]
    pub const fn is_batch(&self) -> bool {
        matches!(self.kind, CallKind::Process { .. })
    }

    /// Whether it delivers `record`.
    #[must_use]
    pub fn delivers(&self, record: &str) -> bool {
        match &self.kind {
            CallKind::Process { records, .. } => records.iter().any(|got| got == record),
            CallKind::Initialize
            | CallKind::ShardEnded
            | CallKind::ShutdownRequested
            | CallKind::LeaseLost => false,
        }
    }

    /// The attempt of a batch; `None` for other calls.
    #[must_use]
    pub const fn attempt(&self) -> Option<u32> {
        match &self.kind {
            CallKind::Process { attempt, .. } => Some(*attempt),
            CallKind::Initialize
            | CallKind::ShardEnded
            | CallKind::ShutdownRequested
            | CallKind::LeaseLost => None,
        }
    }
}

/// A line of a script: what processors do for which calls.
struct Line {
    calls: Box<dyn Fn(&Call) -> bool + Send + Sync>,
    act: Act,
}

/// What all scripted processors of a story do. Clones are the same script.
#[derive(Clone, Default)]
pub(super) struct Script {
    /// Changed by the test between two steps of the world.
    lines: Arc<Mutex<Vec<Line>>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Script {
    pub(super) fn on(&self, calls: impl Fn(&Call) -> bool + Send + Sync + 'static, act: Act) {
        let line = Line { calls: Box::new(calls), act };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn clear(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The last line that includes the call decides.
    fn act(&self, call: &Call) -> Act {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.iter().rev().find(|line| (line.calls)(call));
        line.map_or(Act::Succeed, |line| line.act)
    }
}

/// Makes scripted processors of one worker.
#[derive(Debug)]
pub(super) struct ScriptedFactory {
    pub(super) worker: String,
    pub(super) script: Script,
    pub(super) journal: Journal,
}

impl ProcessorFactory for ScriptedFactory {
    type Processor = Scripted;

    fn create(&self, shard: &ShardContext) -> Scripted {
        Scripted {
            worker: self.worker.clone(),
            shard: shard_number(shard.shard_id().as_str()),
            script: self.script.clone(),
            journal: self.journal.clone(),
        }
    }
}

/// A processor that does what the script says.
#[derive(Debug)]
pub(super) struct Scripted {
    worker: String,
    shard: usize,
    script: Script,
    journal: Journal,
}

impl Scripted {
    fn act(&self, kind: CallKind) -> Act {
        self.script.act(&Call { worker: self.worker.clone(), shard: self.shard, kind })
    }

    async fn call(&self, kind: CallKind) -> Result<(), BoxError> {
        match self.act(kind) {
            Act::Succeed => Ok(()),
            Act::Fail => Err(scripted()),
            Act::Panic => resume_unwind(Box::new("scripted")),
            Act::Take(time) => {
                sleep(time).await;
                Ok(())
            }
            Act::Hang => pending().await,
            Act::Checkpoint(_) | Act::CheckpointAndFail(_) => {
                Err("only a batch has records".into())
            }
        }
    }

    async fn checkpoint(
        &self,
        batch: &RecordBatch,
        shard: &ShardContext,
        place: usize,
    ) -> Result<(), BoxError> {
        let record = batch.get(place).ok_or("the batch has no such record")?;
        self.journal.asked(shard.info(), record.position);
        Ok(shard.checkpointer().checkpoint(record.position).await?)
    }
}

fn scripted() -> BoxError {
    "scripted".into()
}

impl RecordProcessor for Scripted {
    async fn initialize(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.call(CallKind::Initialize).await
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        let records = batch.iter().map(|record| text(&record.data)).collect();
        let kind = CallKind::Process { records, attempt: batch.attempt() };
        match self.act(kind.clone()) {
            Act::Checkpoint(place) => self.checkpoint(&batch, shard, place).await,
            Act::CheckpointAndFail(place) => {
                self.checkpoint(&batch, shard, place).await?;
                Err(scripted())
            }
            Act::Succeed | Act::Fail | Act::Panic | Act::Take(_) | Act::Hang => {
                self.call(kind).await
            }
        }
    }

    async fn shard_ended(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.call(CallKind::ShardEnded).await
    }

    async fn shutdown_requested(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.call(CallKind::ShutdownRequested).await
    }

    async fn lease_lost(&mut self, _shard: &ShardInfo) {
        drop(self.call(CallKind::LeaseLost).await);
    }
}
