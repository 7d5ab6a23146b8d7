//! A processor that does what the test says.

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::processor::ShardInfo;
use kcl_core::{BoxError, RecordBatch, RecordProcessor};
use tokio::time::sleep;

use super::journal::{Call, Journal, Said};

/// What a processor does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what the tests need")]
pub enum Act {
    /// Succeeds.
    Succeed,
    /// Fails.
    Fail,
    /// Panics.
    Panic,
    /// Succeeds after so long.
    Take(Duration),
    /// Never ends.
    Hang,
    /// Checkpoints this record of the batch, then succeeds.
    Checkpoint(usize),
    /// Checkpoints this record of the batch, then fails.
    CheckpointAndFail(usize),
}

/// Who is called, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Asked {
    /// The worker.
    pub worker: String,
    /// The shard's number.
    pub shard: usize,
    /// The call.
    pub call: Call,
}

impl Asked {
    /// Whether this delivers `record`.
    #[must_use]
    pub fn delivers(&self, record: &str) -> bool {
        match &self.call {
            Call::Process { records, .. } => records.iter().any(|got| got == record),
            Call::Made
            | Call::Initialize
            | Call::Done
            | Call::Dropped
            | Call::ShardEnded
            | Call::ShutdownRequested
            | Call::LeaseLost => false,
        }
    }
}

type Plan = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

/// What all processors of a fleet do. Clones are the same script.
#[derive(Clone)]
pub(super) struct Script {
    // Replaced by the test while processors run: read for one look at a time.
    plan: Arc<Mutex<Plan>>,
}

impl Default for Script {
    fn default() -> Self {
        Self { plan: Arc::new(Mutex::new(Arc::new(|_: &Asked| Act::Succeed))) }
    }
}

impl Script {
    pub(super) fn replace(&self, plan: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    fn act(&self, asked: &Asked) -> Act {
        let plan = Arc::clone(&*self.plan.lock().unwrap_or_else(PoisonError::into_inner));
        plan(asked)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

/// The processor.
#[derive(Debug)]
pub struct Scripted {
    journal: Journal,
    script: Script,
    worker: String,
    shard: usize,
    token: u64,
}

/// Notes a call whose future is dropped before its end.
struct Watched<'a> {
    processor: &'a Scripted,
    is_done: bool,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let call = if self.is_done { Call::Done } else { Call::Dropped };
        self.processor.note(call);
    }
}

impl Scripted {
    pub(super) fn new(
        journal: Journal,
        script: Script,
        worker: String,
        context: &ShardContext,
    ) -> Self {
        let shard = number(context.shard_id().as_str());
        let processor = Self { journal, script, worker, shard, token: context.token().get() };
        processor.note(Call::Made);
        processor
    }

    fn note(&self, call: Call) {
        let said = Said::Call { shard: self.shard, token: self.token, call };
        self.journal.note(&self.worker, said);
    }

    #[expect(clippy::panic, reason = "asked for by the test")]
    async fn act(
        &self,
        call: Call,
        batch: Option<(&RecordBatch, &ShardContext)>,
    ) -> Result<(), BoxError> {
        self.note(call.clone());
        let asked = Asked { worker: self.worker.clone(), shard: self.shard, call };
        let mut watched = Watched { processor: self, is_done: false };
        let end = match self.script.act(&asked) {
            Act::Succeed => Ok(()),
            Act::Fail => Err("as told".into()),
            Act::Panic => panic!("as told"),
            Act::Take(time) => {
                sleep(time).await;
                Ok(())
            }
            Act::Hang => pending().await,
            Act::Checkpoint(index) => checkpoint(batch, index).await,
            Act::CheckpointAndFail(index) => {
                checkpoint(batch, index).await?;
                Err("as told".into())
            }
        };
        watched.is_done = true;
        end
    }
}

async fn checkpoint(
    batch: Option<(&RecordBatch, &ShardContext)>,
    index: usize,
) -> Result<(), BoxError> {
    let (batch, shard) = batch.ok_or("only a batch has positions")?;
    let record = batch.get(index).ok_or("no such record")?;
    Ok(shard.checkpointer().checkpoint(record.position).await?)
}

impl RecordProcessor for Scripted {
    async fn initialize(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.act(Call::Initialize, None).await
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        let records = batch.iter().map(|record| text(&record.data)).collect();
        let call = Call::Process { records, attempt: batch.attempt() };
        self.act(call, Some((&batch, shard))).await
    }

    async fn shard_ended(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.act(Call::ShardEnded, None).await
    }

    async fn shutdown_requested(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.act(Call::ShutdownRequested, None).await
    }

    async fn lease_lost(&mut self, _shard: &ShardInfo) {
        drop(self.act(Call::LeaseLost, None).await);
    }
}

/// The number in a shard's id.
pub(super) fn number(shard: &str) -> usize {
    shard.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(usize::MAX)
}
