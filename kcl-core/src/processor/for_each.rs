//! One closure for each record: [`for_each`].

use std::fmt;
use std::sync::Arc;

use kcl_proto::model::Record;

use crate::BoxError;
use crate::config::{DeliveryConfig, InvalidSetting};
use crate::processor::batch::RecordBatch;
use crate::processor::context::ShardContext;
use crate::processor::key_queues::{Handler, Lanes};
use crate::processor::{ProcessorFactory, RecordProcessor};

/// How many records of a shard are processed at once, unless you say otherwise.
const CONCURRENCY: usize = 64;

/// Processes the records of each shard concurrently, in order within each partition key, with one
/// call of `handler` for each.
///
/// A record that fails is tried again by the [policy](crate::config::FailurePolicy), while records of
/// other keys go on and those of its own key wait. Checkpoints follow the oldest record that is not
/// done, so after a crash those after it come again, up to
/// [`in_flight_max`](crate::config::DeliveryConfig::in_flight_max) and a batch, in order. On a clean
/// stop records under way are finished, while there is time; keys that wait before they try again are
/// left to the next owner.
///
/// The library stores progress, for there is no checkpointer here: `delivery.checkpoints` must not be
/// [`Manual`](kcl_proto::model::CheckpointPolicy::Manual).
///
/// All calls for one shard run in one task. A handler that keeps a processor busy for long belongs on
/// threads of its own.
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

/// Makes processors that call one closure for each record. See [`for_each`].
#[derive(Clone)]
#[must_use = "give it to the builder of a worker"]
pub struct ForEach {
    handler: Handler,
    concurrency: usize,
}

impl ForEach {
    /// How many records of one shard are processed at once at most. The default is 64.
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
        PerKey { lanes: Lanes::new(Arc::clone(&self.handler), shard, self.concurrency) }
    }

    fn validate(&self, delivery: &DeliveryConfig) -> Vec<InvalidSetting> {
        delivery.validate_without_checkpointer()
    }
}

/// Processes one shard's records concurrently, in order within each partition key. See [`for_each`].
#[derive(Debug)]
pub struct PerKey {
    lanes: Lanes,
}

impl RecordProcessor for PerKey {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        for (record, ack) in batch.into_acks() {
            self.lanes.push(record, ack);
        }
        Ok(())
    }

    async fn background(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.lanes.run().await;
        Ok(())
    }

    async fn shutdown_requested(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.lanes.finish().await;
        Ok(())
    }
}
