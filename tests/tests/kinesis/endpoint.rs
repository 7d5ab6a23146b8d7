//! A Kinesis server in this process, and streams on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::StreamStatus;
use ferrokinesis::create_app;
use ferrokinesis::store::StoreOptions;
use kcl_core::model::{SequenceNumber, ShardId};
use kcl_core::record_source::RecordSource;
use kcl_core::testing::record_source::{Feature, SourceUnderTest};
use kcl_kinesis::KinesisSource;
use tokio::net::TcpListener;

use crate::wire::sdk_for;

/// Where Kinesis is, and what it cannot do. The server lives as long as the test's runtime.
pub(crate) struct Endpoint {
    pub(crate) sdk: SdkConfig,
    lacks: &'static [Feature],
    streams: AtomicU32,
}

/// Starts a server.
#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the server")]
pub(crate) async fn endpoint() -> Endpoint {
    let options = StoreOptions {
        create_stream_ms: 0,
        update_stream_ms: 0,
        shard_limit: 1_000,
        ..StoreOptions::default()
    };
    let (app, _) = create_app(options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let lacks = &[
        Feature::ChildShards,
        Feature::BehindLatest,
        Feature::ShardFilters,
        Feature::TimesAfterTheLast,
    ];
    Endpoint { sdk: sdk_for(address), lacks, streams: AtomicU32::new(0) }
}

/// A stream of its own on a server.
pub(crate) struct ServerStream {
    client: Client,
    sdk: SdkConfig,
    name: String,
    lacks: &'static [Feature],
}

impl ServerStream {
    /// Creates a stream of two shards.
    pub(crate) async fn create(endpoint: &Endpoint) -> Self {
        let number = endpoint.streams.fetch_add(1, Ordering::Relaxed);
        let stream = Self {
            client: Client::new(&endpoint.sdk),
            sdk: endpoint.sdk.clone(),
            name: format!("stream-{number}"),
            lacks: endpoint.lacks,
        };
        let create = stream.client.create_stream().stream_name(&stream.name).shard_count(2);
        create.send().await.unwrap();
        stream.settle().await;
        stream
    }

    /// Waits until the stream is not being changed any more.
    async fn settle(&self) {
        for _ in 0..100 {
            let describe = self.client.describe_stream_summary().stream_name(&self.name);
            let summary = describe.send().await.unwrap().stream_description_summary.unwrap();
            if summary.stream_status == StreamStatus::Active {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("stream {} is being changed for too long", self.name);
    }
}

#[async_trait]
impl SourceUnderTest for ServerStream {
    fn source(&self) -> Arc<dyn RecordSource> {
        Arc::new(KinesisSource::new(&self.sdk, self.name.as_str()))
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

    fn supports(&self, feature: Feature) -> bool {
        !self.lacks.contains(&feature)
    }
}
