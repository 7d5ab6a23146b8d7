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

/// Gives the records of each shard, with their acknowledgements, to a future as a [`Stream`], for
/// those who like combinators.
///
/// The stream ends when the shard does, or when it goes to another worker; the future shall then end
/// as well. If it ends sooner, with an error or without, all records that are not acknowledged come
/// again to a new future, by the [policy](crate::config::FailurePolicy). It may be dropped at any of
/// its await points. Order is your combinators' business: use `then` for one at a time,
/// `for_each_concurrent` for none at all, and [`for_each`](crate::processor::for_each()) for one within each key.
///
/// The library stores progress, for there is no checkpointer here: `delivery.checkpoints` must not be
/// [`Manual`](kcl_proto::model::CheckpointPolicy::Manual).
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

/// The records of one ownership of a shard, each with its acknowledgement.
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

/// Makes processors that feed one future for each shard. See [`for_stream`].
#[derive(Clone)]
#[must_use = "give it to the builder of a worker"]
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

/// Feeds one shard's records to a future. See [`for_stream`].
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
