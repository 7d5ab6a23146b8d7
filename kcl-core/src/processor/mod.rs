//! The application's code: [`RecordProcessor`], and who makes one.

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

/// What a service does with the records of one shard.
///
/// One processor is made for each ownership of a shard. Its methods never overlap. A future that one
/// of them returned may be dropped at any of its await points once the lease is lost or the worker's
/// time is up; `lease_lost` still runs then. It may also be dropped when an
/// [acknowledgement](crate::Ack) fails: then the processor is dropped as well, without another call,
/// and a new one gets the records again.
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
    /// Called once, first. An error is retried with a new processor, like one of
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
    /// `Ok` says that all of them are done: with automatic checkpoints the library stores that. An
    /// error, or a panic, brings the records again that are not checkpointed, as the same batch
    /// with a higher [attempt](RecordBatch::attempt), after a growing pause, until it works or the
    /// [policy](crate::config::FailurePolicy) gives them up. [`PartialFailure`]
    /// names the records that failed. [`RecordBatch::into_acks`] acknowledges records one by one,
    /// after this has returned. After a panic a new processor gets them; with manual checkpoints it
    /// gets all records after the last stored checkpoint, since the memory of the former processor
    /// is gone.
    fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Goes on with records whose acknowledgements were [detached](RecordBatch::into_acks).
    ///
    /// Polled while such records are under way and no other method runs, and bounded by the lease
    /// as all of them are. It is dropped at any of its await points when there is something else to
    /// do, and called again afterwards: keep the work itself in `self`, for example in a
    /// `FuturesUnordered`. After `Ok` it is called again after the next batch; an error is a failure
    /// of all records under way. Tasks that you spawn yourself need none of this, but nothing ends
    /// them in time: have them look at [`ShardContext::cancelled`].
    fn background(
        &mut self,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = shard;
        std::future::pending()
    }

    /// Called after the last record of a shard that was closed by a split or merge.
    ///
    /// After `Ok` the library waits for the acknowledgements that are outstanding. Then it stores the
    /// shard's end itself, and its children start. An error is retried. With manual checkpoints,
    /// finish what is pending here. If a record under way fails after all, or the worker is asked
    /// for the shard meanwhile, this is not the last call.
    fn shard_ended(
        &mut self,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = shard;
        async { Ok(()) }
    }

    /// Called before the shard goes to another worker, on shutdown or to balance load, while the
    /// lease is still held: the last chance to checkpoint. An error is reported, not retried. The
    /// library then waits for the acknowledgements that are outstanding, as long as there is time.
    fn shutdown_requested(
        &mut self,
        shard: &ShardContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = shard;
        async { Ok(()) }
    }

    /// Called when the lease is gone: another worker may be processing the shard already. Nothing
    /// can be checkpointed; free what you hold.
    fn lease_lost(&mut self, shard: &ShardInfo) -> impl Future<Output = ()> + Send {
        let _ = shard;
        async {}
    }
}

/// Makes a processor for each shard that this worker comes to hold. A closure is one.
pub trait ProcessorFactory: Send + Sync + 'static {
    /// What it makes.
    type Processor: RecordProcessor;

    /// Makes the processor of one ownership of one shard.
    fn create(&self, shard: &ShardContext) -> Self::Processor;

    /// Returns the settings that cannot work with its processors. [`WorkerBuilder::build`] reports them
    /// with all others.
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
