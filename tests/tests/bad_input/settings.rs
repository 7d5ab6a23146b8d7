//! Invalid settings.

use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::WorkerBuilder;
use kcl_core::config::{CheckpointPolicy, WorkerConfig};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker, for_stream};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig};
use kcl_kinesis::{KinesisSource, KinesisSourceConfig, StreamId};

use crate::scene::check;

#[test]
fn one_error_names_every_invalid_setting() {
    let mut config = WorkerConfig::default();
    config.lease.expiry = Duration::from_millis(500);
    config.lease.renew_every = Some(Duration::from_millis(400));
    config.lease.leases_max = Some(0);
    config.lease.handover = Duration::ZERO;
    config.lease.handovers_max = 0;
    config.lease.scan_units = 0;
    config.retrieval.poll_every = Duration::ZERO;
    config.retrieval.reads_per_second = 6;
    config.retrieval.records_max = 0;
    config.delivery.retry_min = Duration::ZERO;
    config.delivery.retry_max = Duration::from_hours(2);
    config.delivery.cancel_grace = Duration::from_hours(1);
    config.delivery.slow_after = Duration::ZERO;
    config.shutdown.drain = Duration::ZERO;
    let error = Worker::builder("").config(config).build().unwrap_err();
    let text = error.to_string();
    check(&text, &["lease.expiry (500ms) must be at least 3 x lease.renew_every (400ms)"]);
    check(&text, &["lease.expiry (500ms) must be between 1s and", "lease.leases_max (0)"]);
    check(&text, &["lease.handover (0ns)", "lease.handovers_max (0)", "lease.scan_units (0)"]);
    check(&text, &["retrieval.poll_every (0ns)", "retrieval.records_max (0)"]);
    check(&text, &["retrieval.reads_per_second (6) must be between 1 and 5"]);
    check(&text, &["delivery.retry_min (0ns)", "delivery.retry_max (7200s)"]);
    check(&text, &["delivery.cancel_grace (3600s)", "shutdown.drain (0ns)"]);
    check(&text, &["delivery.slow_after (0ns)"]);
    check(
        &text,
        &["application (\"\") must not be empty", "records is missing", "leases is missing"],
    );
    check(&text, &["processor is missing"]);
}

#[test]
fn operation_timeout_is_at_most_a_third_of_the_expiry() {
    let aws = kcl_local::sdk_config("http://127.0.0.1:1");
    let mut config = WorkerConfig::default();
    config.lease.expiry = Duration::from_secs(6);
    let leases = DynamoLeaseStore::new(&aws, "leases");
    let text = Worker::builder("w").leases(leases).config(config).build().unwrap_err().to_string();
    let problem = "leases.operation_timeout (3s) must be at most a third of lease.expiry (6s)";
    check(&text, &[problem]);
}

struct Idle;

impl RecordProcessor for Idle {
    async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn manual_checkpoints_need_a_checkpointer() {
    let mut config = WorkerConfig::default();
    config.delivery.checkpoints = CheckpointPolicy::Manual;
    let build =
        |builder: WorkerBuilder| builder.config(config.clone()).build().unwrap_err().to_string();
    let problem = ["delivery.checkpoints (Manual) must not be Manual"];
    check(&build(Worker::builder("w").for_each(|_| async { Ok(()) })), &problem);
    check(
        &build(Worker::builder("w").processor_factory(for_stream(|_| async { Ok(()) }))),
        &problem,
    );
    let own = build(Worker::builder("w").processor(|_| Idle));
    assert!(!own.contains("Manual"), "{own}");
}

#[test]
fn one_error_names_table_and_stream_settings() {
    let aws = kcl_local::sdk_config("http://127.0.0.1:1");
    let leases = DynamoLeaseStoreConfig::new("")
        .with_connect_timeout(Duration::ZERO)
        .with_attempt_timeout(Duration::ZERO)
        .with_operation_timeout(Duration::ZERO)
        .with_prepare_timeout(Duration::ZERO)
        .with_attempts_max(0);
    let records = KinesisSourceConfig::new(StreamId::Name("".into()))
        .with_connect_timeout(Duration::ZERO)
        .with_attempt_timeout(Duration::ZERO);
    let error = Worker::builder("")
        .leases(DynamoLeaseStore::new(&aws, leases))
        .records(KinesisSource::with_config(&aws, records))
        .build()
        .unwrap_err();
    let text = error.to_string();
    check(&text, &["leases.connect_timeout (0ns) must be more than 0", "leases.attempt_timeout"]);
    check(&text, &["leases.operation_timeout", "leases.prepare_timeout"]);
    check(&text, &["leases.attempts_max (0) must be at least 1", "leases.table (\"\") must not"]);
    check(
        &text,
        &["records.connect_timeout", "records.attempt_timeout", "records.stream (\"\") must not"],
    );
    check(&text, &["application (\"\") must not be empty"]);
}

#[test]
fn a_worker_is_named_after_its_host() {
    let aws = kcl_local::sdk_config("http://127.0.0.1:1");
    let builder = || {
        let leases = DynamoLeaseStore::new(&aws, "leases");
        Worker::builder("orders")
            .records(KinesisSource::new(&aws, "orders"))
            .leases(leases)
            .processor(|_| Idle)
    };
    let host = rustix::system::uname();
    let worker = builder().build().unwrap();
    assert_eq!(worker.id().name(), host.nodename().to_str().unwrap());
    let named = builder().worker_name("ann").build().unwrap();
    assert_eq!(named.id().name(), "ann");
    let text = builder().worker_name("x".repeat(201)).build().unwrap_err().to_string();
    check(&text, &["worker_name (\"xxx", "must have 1 to 200 bytes"]);
}
