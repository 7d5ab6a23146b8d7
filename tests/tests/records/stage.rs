//! A stream of one shard on an embedded stack, and a worker on it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::ShardIteratorType;
use kcl_core::WorkerBuilder;
use kcl_core::config::{FailurePolicy, WorkerConfig};
use kcl_core::model::InitialPosition;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig};
use kcl_kinesis::KinesisSource;
use kcl_local::LocalStack;

/// How long a condition may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) struct Stage {
    pub(crate) aws: SdkConfig,
    pub(crate) client: Client,
    _stack: LocalStack,
}

impl Stage {
    /// Creates the streams `orders` and `dead`, and puts `records` into the first.
    pub(crate) async fn with(records: &[&str]) -> Self {
        let stack = LocalStack::start().unwrap();
        let aws = stack.sdk_config();
        let client = Client::new(&aws);
        let stage = Self { aws, client, _stack: stack };
        for stream in ["orders", "dead"] {
            stage.client.create_stream().stream_name(stream).shard_count(1).send().await.unwrap();
        }
        for record in records {
            stage.put(record).await;
        }
        stage
    }

    pub(crate) async fn put(&self, record: &str) {
        let put = self.client.put_record().stream_name("orders").partition_key("key");
        put.data(Blob::new(record)).send().await.unwrap();
    }

    /// Returns a worker that processes the stream from its beginning.
    pub(crate) fn worker(&self, failure: FailurePolicy) -> WorkerBuilder {
        let mut config = WorkerConfig::default();
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        config.lease.expiry = Duration::from_secs(2);
        config.retrieval.poll_every = Duration::from_millis(200);
        config.delivery.retry_min = Duration::from_millis(10);
        config.delivery.failure = failure;
        let table = DynamoLeaseStoreConfig::new("leases");
        let table = table.with_operation_timeout(config.lease.expiry / 3);
        Worker::builder("leases")
            .worker_name("worker")
            .records(KinesisSource::new(&self.aws, "orders"))
            .leases(DynamoLeaseStore::new(&self.aws, table).create_if_missing())
            .config(config)
    }

    /// Returns the data of the records of `stream`.
    pub(crate) async fn records_of(&self, stream: &str) -> Vec<Vec<u8>> {
        let shards = self.client.list_shards().stream_name(stream).send().await.unwrap();
        let shard = shards.shards()[0].shard_id().to_owned();
        let iterator = self.client.get_shard_iterator().stream_name(stream).shard_id(shard);
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await;
        let iterator = iterator.unwrap().shard_iterator.unwrap();
        let reply = self.client.get_records().shard_iterator(iterator).send().await.unwrap();
        reply.records.into_iter().map(|record| record.data.into_inner()).collect()
    }
}

/// The processed records, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done(Arc<Mutex<Vec<String>>>);

impl Done {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn note(&self, record: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8_lossy(record).into_owned());
    }
}

/// How a processor fails at the record `poison`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    Fail,
    Panic,
}

/// Notes records, but fails batches that hold the record `poison`.
pub(crate) struct FailsOnPoison {
    pub(crate) done: Done,
    pub(crate) poison: Poison,
}

impl RecordProcessor for FailsOnPoison {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        if batch.iter().any(|record| &record.data[..] == b"poison") {
            match self.poison {
                Poison::Fail => return Err("cannot be processed".into()),
                Poison::Panic => panic!("cannot be processed"),
            }
        }
        for record in &batch {
            self.done.note(&record.data);
        }
        Ok(())
    }
}

/// Runs a worker until `condition` holds and its progress is stored, then drops it like a crash.
pub(crate) async fn crash_once(worker: Worker, mut condition: impl FnMut() -> bool + Send) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await; // Several renewals.
    };
    tokio::select! {
        end = worker.run_until(std::future::pending()) => panic!("the worker ended by itself: {end:?}"),
        met = tokio::time::timeout(LIMIT, met) => met.expect("in time"),
    }
}

/// Runs a worker until `condition` holds, then stops it.
pub(crate) async fn run_until(worker: Worker, mut condition: impl FnMut() -> bool + Send) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, worker.run_until(met)).await.expect("in time").unwrap();
}
