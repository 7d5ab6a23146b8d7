//! One call of a closure for each record: [`for_each`].

use std::fmt;
use std::sync::Arc;

use kcl_proto::model::Record;

use crate::BoxError;
use crate::config::{DeliveryConfig, InvalidSetting};
use crate::processor::batch::RecordBatch;
use crate::processor::context::ShardContext;
use crate::processor::key_queues::{Handler, KeyQueues};
use crate::processor::{ProcessorFactory, RecordProcessor};

/// The default number of records of a shard that are processed at once.
const CONCURRENCY: usize = 64;

/// Processes the records of each shard concurrently, in order within each partition key, with one
/// call of `handler` for each record.
///
/// A failed record is retried by the [policy](crate::config::FailurePolicy). Later records of its
/// key wait, and records of other keys continue. Checkpoints follow the oldest record that is not
/// done: after a crash, at most [`in_flight_max`](crate::config::DeliveryConfig::in_flight_max)
/// records and a batch are delivered again, in order. On shutdown the records in flight are
/// finished within the time of the drain; keys that pause before a retry are left to the next
/// owner.
///
/// There is no checkpointer: `delivery.checkpoints` must not be
/// [`Manual`](kcl_proto::model::CheckpointPolicy::Manual).
///
/// All calls for one shard run in one task. Run CPU-bound handlers on other threads.
///
/// # Examples
/// ```
/// use kcl_core::{BoxError, Record, for_each};
///
/// # async fn store(_: &Record) -> Result<(), BoxError> { Ok(()) }
/// let processor = for_each(|record| async move {
///     store(&record).await?;
///     Ok(())
/// });
/// // Worker::builder("orders").processor_factory(processor.concurrency(16))…
/// ```
pub fn for_each<F, Fut>(handler: F) -> ForEach
where
    F: Fn(Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let handler: Handler = Arc::new(move |record| Box::pin(handler(record)));
    ForEach { handler, concurrency: CONCURRENCY }
}

/// A factory of processors that call a closure for each record. See [`for_each`].
#[derive(Clone)]
#[must_use = "pass it to `WorkerBuilder::processor`"]
pub struct ForEach {
    handler: Handler,
    concurrency: usize,
}

impl ForEach {
    /// Limits the records of one shard that are processed at once. Defaults to 64.
    pub const fn concurrency(mut self, records: usize) -> Self {
        self.concurrency = records;
        self
    }
}

impl fmt::Debug for ForEach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForEach").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}

impl ProcessorFactory for ForEach {
    type Processor = PerKey;

    fn create(&self, shard: &ShardContext) -> PerKey {
        PerKey { queues: KeyQueues::new(Arc::clone(&self.handler), shard, self.concurrency) }
    }

    fn validate(&self, delivery: &DeliveryConfig) -> Vec<InvalidSetting> {
        delivery.validate_without_checkpointer()
    }
}

/// The processor of [`for_each`].
#[derive(Debug)]
pub struct PerKey {
    queues: KeyQueues,
}

impl RecordProcessor for PerKey {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        for (record, ack) in batch.into_acks() {
            self.queues.push(record, ack);
        }
        Ok(())
    }

    async fn background(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.queues.run().await;
        Ok(())
    }

    async fn shutdown_requested(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.queues.finish().await;
        Ok(())
    }
}
