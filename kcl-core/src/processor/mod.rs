//! The application's code: [`RecordProcessor`] and [`ProcessorFactory`].

pub(crate) mod ack;
mod batch;
pub(crate) mod checkpointer;
mod context;
mod for_each;
mod for_stream;
pub(crate) mod key_queues;
pub(crate) mod partial_failure;
pub(crate) mod record_failures;
pub(crate) mod stream_feed;

use crate::BoxError;
use crate::config::{DeliveryConfig, InvalidSetting};

pub use crate::processor::ack::Ack;
pub use crate::processor::batch::RecordBatch;
pub use crate::processor::checkpointer::{Checkpointer, Prepared, STATE_MAX};
pub use crate::processor::context::ShardContext;
pub use crate::processor::for_each::{ForEach, PerKey, for_each};
pub use crate::processor::for_stream::{ForStream, RecordStream, Streamed, for_stream};
pub use crate::processor::partial_failure::PartialFailure;
pub use kcl_proto::model::ShardInfo;

/// Processes the records of one shard.
///
/// The worker creates a processor for each ownership of a shard. Calls never overlap.
///
/// # Cancel safety
/// The future of a call is dropped at an await point once the lease is lost or the time of a drain
/// is up; `lease_lost` still follows. It is also dropped when an [acknowledgement](crate::Ack)
/// fails: then the processor is dropped without another call, and a new one receives the records
/// again.
///
/// # Examples
/// ```
/// use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext};
///
/// struct Printer;
///
/// impl RecordProcessor for Printer {
///     async fn process_records(
///         &mut self,
///         batch: RecordBatch,
///         shard: &ShardContext,
///     ) -> Result<(), BoxError> {
///         for record in &batch {
///             println!("{} {:?}", shard.shard_id(), record.data);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait RecordProcessor: Send + 'static {
    /// Called once, before any other method. After an error a new processor is created and
    /// initialized, with the same pauses as after an error of
    /// [`process_records`](Self::process_records).
    fn initialize(
        &mut self,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = shard;
        async { Ok(()) }
    }

    /// Processes a batch of records.
    ///
    /// `Ok` marks all of them as done; with automatic checkpoints the library stores that. To mark
    /// records as done one by one, also after this call, take them out with
    /// [`RecordBatch::into_acks`].
    ///
    /// After an error or a panic, the records that are not checkpointed are delivered again, with a
    /// higher [attempt](RecordBatch::attempt) and after a growing pause, until they succeed or the
    /// [policy](crate::config::FailurePolicy) abandons them. [`PartialFailure`] names the records
    /// that failed. After a panic, a new processor receives them. With manual checkpoints it
    /// receives all records after the last stored checkpoint, because the state of the old
    /// processor is lost.
    fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Drives the work on [detached](RecordBatch::into_acks) records between other calls.
    ///
    /// The worker polls it while such records are in flight and no other method runs. An error
    /// fails all records in flight. After `Ok` it is called again after the next batch.
    ///
    /// Spawned tasks need no `background`, but the worker does not cancel them: they should select
    /// on
    /// [`ShardContext::cancelled`].
    ///
    /// # Cancel safety
    /// The future is dropped whenever another method is called, and `background` is called again
    /// afterwards. Keep the work itself in `self`, for example in a `FuturesUnordered`.
    fn background(
        &mut self,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = shard;
        std::future::pending()
    }

    /// Called after the last record of a shard that was closed by a split or merge.
    ///
    /// After `Ok` the worker waits for outstanding acknowledgements, stores the shard's end, and
    /// its children start. An error is retried. With manual checkpoints, finish all pending work
    /// here.
    ///
    /// Another call follows if a record in flight fails, or if the shard goes to another worker
    /// first.
    fn shard_ended(
        &mut self,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = shard;
        async { Ok(()) }
    }

    /// Called before the worker releases the shard, on shutdown or to balance load. The lease is
    /// still held: this is the last chance to checkpoint.
    ///
    /// An error is reported and not retried. The worker then waits for outstanding acknowledgements
    /// until the time of the drain is up.
    fn shutdown_requested(
        &mut self,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = shard;
        async { Ok(()) }
    }

    /// Called when the lease is lost. Another worker may already process the shard: checkpoints are
    /// refused. Free resources here.
    fn lease_lost(&mut self, shard: &ShardInfo) -> impl Future<Output = ()> + Send {
        let _ = shard;
        async {}
    }
}

/// Creates a processor for each shard that the worker acquires. Closures implement it.
pub trait ProcessorFactory: Send + Sync + 'static {
    /// The type of the processors.
    type Processor: RecordProcessor;

    /// Creates the processor of one ownership of one shard.
    fn create(&self, shard: &ShardContext) -> Self::Processor;

    /// Returns the settings that cannot work with these processors. [`WorkerBuilder::build`]
    /// reports them with all other invalid settings.
    ///
    /// [`WorkerBuilder::build`]: crate::WorkerBuilder::build
    fn validate(&self, delivery: &DeliveryConfig) -> Vec<InvalidSetting> {
        let _ = delivery;
        Vec::new()
    }
}

impl<F, P> ProcessorFactory for F
where
    F: Fn(&ShardContext) -> P + Send + Sync + 'static,
    P: RecordProcessor,
{
    type Processor = P;

    fn create(&self, shard: &ShardContext) -> P {
        self(shard)
    }
}
