//! The records of a shard as a stream: [`for_stream`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;
use kcl_proto::model::Record;
use tokio::sync::mpsc;

use crate::BoxError;
use crate::config::{DeliveryConfig, InvalidSetting};
use crate::processor::ack::Ack;
use crate::processor::batch::RecordBatch;
use crate::processor::context::ShardContext;
use crate::processor::stream_feed::Feed;
use crate::processor::{ProcessorFactory, RecordProcessor};

/// Processes the records of each shard as a [`Stream`] of records and their acknowledgements, with
/// one future for each shard.
///
/// The stream ends at the end of the shard, or before the shard goes to another worker. The future
/// must then return. If it returns sooner, with `Ok` or an error, a new future receives all records
/// that are not acknowledged, by the [policy](crate::config::FailurePolicy).
///
/// The combinators decide about order: `then` keeps it, `for_each_concurrent` does not. To keep it
/// within each partition key, use [`for_each`](crate::processor::for_each()).
///
/// There is no checkpointer: `delivery.checkpoints` must not be
/// [`Manual`](kcl_proto::model::CheckpointPolicy::Manual).
///
/// # Cancel safety
/// The future may be dropped at any of its await points.
///
/// # Examples
/// ```
/// use futures::StreamExt;
/// use kcl_core::{BoxError, Record, for_stream};
///
/// # async fn store(_: &Record) -> Result<(), BoxError> { Ok(()) }
/// let processor = for_stream(|records| async move {
///     records
///         .for_each_concurrent(16, |(record, ack)| async move {
///             match store(&record).await {
///                 Ok(()) => ack.done(),
///                 Err(error) => ack.fail(error),
///             }
///         })
///         .await;
///     Ok(())
/// });
/// // Worker::builder("orders").processor_factory(processor)…
/// ```
pub fn for_stream<F, Fut>(work: F) -> ForStream
where
    F: Fn(RecordStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    ForStream { work: Arc::new(move |records| Box::pin(work(records))) }
}

type Work = Arc<dyn Fn(RecordStream) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// The records of one ownership of a shard, with their acknowledgements.
#[derive(Debug)]
pub struct RecordStream {
    records: mpsc::Receiver<(Record, Ack)>,
}

impl Stream for RecordStream {
    type Item = (Record, Ack);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_recv(cx)
    }
}

/// A factory of processors that drive one future for each shard. See [`for_stream`].
#[derive(Clone)]
#[must_use = "pass it to `WorkerBuilder::processor`"]
pub struct ForStream {
    work: Work,
}

impl fmt::Debug for ForStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForStream")
    }
}

impl ProcessorFactory for ForStream {
    type Processor = Streamed;

    fn create(&self, _shard: &ShardContext) -> Streamed {
        Streamed { feed: Feed::new(|records| (self.work)(RecordStream { records })) }
    }

    fn validate(&self, delivery: &DeliveryConfig) -> Vec<InvalidSetting> {
        delivery.validate_without_checkpointer()
    }
}

/// The processor of [`for_stream`].
pub struct Streamed {
    feed: Feed,
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streamed")
    }
}

impl RecordProcessor for Streamed {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        self.feed.push(batch.into_acks()).await
    }

    async fn background(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.feed.run().await
    }

    async fn shard_ended(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.feed.finish().await
    }

    async fn shutdown_requested(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.feed.finish().await
    }
}
