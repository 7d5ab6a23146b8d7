//! The embedded Kinesis, and streams on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::StreamStatus;
use kcl_core::backend::RecordSource;
use kcl_core::model::{SequenceNumber, ShardId};
use kcl_core::testing::record_source::SourceUnderTest;
use kcl_kinesis::{Encoding, KinesisSource, KinesisSourceConfig, StreamId};
use kcl_local::LocalStack;

/// A running Kinesis.
pub(crate) struct Endpoint {
    pub(crate) sdk: SdkConfig,
    streams: AtomicU32,
    _stack: LocalStack,
}

/// Starts a server.
pub(crate) fn endpoint() -> Endpoint {
    let stack = LocalStack::start().unwrap();
    Endpoint { sdk: stack.sdk_config(), streams: AtomicU32::new(0), _stack: stack }
}

/// A stream on a server.
pub(crate) struct ServerStream {
    client: Client,
    sdk: SdkConfig,
    name: String,
    encoding: Encoding,
}

impl ServerStream {
    /// Creates a stream of two shards, to be read in `encoding`.
    pub(crate) async fn create(endpoint: &Endpoint, encoding: Encoding) -> Self {
        let number = endpoint.streams.fetch_add(1, Ordering::Relaxed);
        let stream = Self {
            client: Client::new(&endpoint.sdk),
            sdk: endpoint.sdk.clone(),
            name: format!("stream-{number}"),
            encoding,
        };
        let create = stream.client.create_stream().stream_name(&stream.name).shard_count(2);
        create.send().await.unwrap();
        stream.settle().await;
        stream
    }

    /// Waits until no change of the stream is in progress.
    async fn settle(&self) {
        for _ in 0..100 {
            let describe = self.client.describe_stream_summary().stream_name(&self.name);
            let summary = describe.send().await.unwrap().stream_description_summary.unwrap();
            if summary.stream_status == StreamStatus::Active {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("changes of stream {} take too long", self.name);
    }
}

#[async_trait]
impl SourceUnderTest for ServerStream {
    fn source(&self) -> Arc<dyn RecordSource> {
        let config = KinesisSourceConfig::new(StreamId::Name(self.name.as_str().into()));
        Arc::new(KinesisSource::with_config(&self.sdk, config.with_encoding(self.encoding)))
    }

    fn missing(&self) -> Arc<dyn RecordSource> {
        Arc::new(KinesisSource::new(&self.sdk, "nowhere"))
    }

    async fn put(&self, hash_key: u128, data: &str) -> (ShardId, SequenceNumber) {
        let put = self
            .client
            .put_record()
            .stream_name(&self.name)
            .partition_key("key")
            .explicit_hash_key(hash_key.to_string())
            .data(Blob::new(data));
        let reply = put.send().await.unwrap();
        (ShardId::from(reply.shard_id), reply.sequence_number.parse().unwrap())
    }

    async fn split(&self, shard: &ShardId, at: u128) {
        let split = self
            .client
            .split_shard()
            .stream_name(&self.name)
            .shard_to_split(shard.as_str())
            .new_starting_hash_key(at.to_string());
        split.send().await.unwrap();
        self.settle().await;
    }

    async fn merge(&self, one: &ShardId, other: &ShardId) {
        let merge = self
            .client
            .merge_shards()
            .stream_name(&self.name)
            .shard_to_merge(one.as_str())
            .adjacent_shard_to_merge(other.as_str());
        merge.send().await.unwrap();
        self.settle().await;
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
