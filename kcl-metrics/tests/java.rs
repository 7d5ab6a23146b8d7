//! What is published with the names of the Java KCL, and that a failed publication harms nothing.

#![cfg(test)]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::event::WorkerState;
use kcl_core::metrics::{CATALOGUE, Dimension, Level, PeriodReader, Statistics, Unit};
use kcl_core::model::{InitialPosition, Timestamp};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker, WorkerHandle};
use kcl_metrics::cloudwatch::CloudWatch;
use kcl_metrics::{emf, java};
use kcl_sim::memory::{MemoryLeaseStore, MemoryStream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(30);

struct Idle;

impl RecordProcessor for Idle {
    async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Starts a worker on a stream with one shard and three records of 2, 3 and 4 bytes.
#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the worker")]
fn start() -> (WorkerHandle, JoinHandle<()>) {
    let stream = MemoryStream::new("orders-stream", 1, Arc::new(SystemClock));
    for data in ["ab", "cde", "fghi"] {
        stream.put("key", data).unwrap();
    }
    let mut config = kcl_core::config::WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    let worker = Worker::builder("orders")
        .worker_name("ann")
        .records(stream)
        .leases(MemoryLeaseStore::new())
        .processor(|_: &ShardContext| Idle)
        .config(config)
        .build()
        .unwrap();
    let handle = worker.handle();
    let run = tokio::spawn(async move {
        worker.run_until(pending()).await.unwrap();
    });
    (handle, run)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = SystemClock.now();
    while !holds() {
        assert!(SystemClock.now().since(start) < LIMIT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn records(handle: &WorkerHandle) -> f64 {
    let samples = handle.meter().snapshot().samples;
    let of_it = samples.iter().filter(|sample| sample.metric.name == "kcl_records_total");
    of_it.map(|sample| sample.value.number()).sum()
}

/// Runs a worker to its end. Returns the reader of its first period.
async fn run() -> PeriodReader {
    let (handle, run) = start();
    let reader = handle.meter().periods().unwrap();
    until("three records are done", || records(&handle) >= 3.0).await;
    handle.shut_down();
    run.await.unwrap();
    reader
}

#[test]
fn names_dimensions_units_and_levels_are_those_of_java() {
    let mut lines = Vec::new();
    for (metric, java) in CATALOGUE.iter().flat_map(|it| it.java.iter().map(move |java| (it, java)))
    {
        let second = match java.dimension {
            None => "-",
            Some(Dimension::Shard) => "ShardId",
            Some(Dimension::Worker) => "WorkerIdentifier",
        };
        let unit = match metric.unit {
            Unit::Count => "Count",
            Unit::Bytes => "Bytes",
            Unit::Seconds => "Milliseconds",
        };
        let level = match java.level {
            Level::Summary => "SUMMARY",
            Level::Detailed => "DETAILED",
        };
        lines.push(format!("{} {second} {} {unit} {level}", java.operation, java.name));
    }
    lines.sort_unstable();
    let golden = include_str!("java_metrics.txt").lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines, golden.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn period_is_published_as_java_does() {
    let mut reader = run().await;
    let data = java::of_period(&reader.take(), "ann", Level::Detailed);
    let mut found = BTreeMap::new();
    for datum in &data {
        let mut path = Vec::new();
        for (name, value) in &datum.dimensions {
            path.push(format!("{name}={value}"));
        }
        path.push(datum.name.to_owned());
        assert!(found.insert(path.join(" "), (datum.unit, datum.statistics)).is_none(), "{path:?}");
    }
    let shard = "Operation=ProcessTask ShardId=shardId-000000000000";
    let exact = [
        (format!("{shard} RecordsProcessed"), "Count", Statistics::of(3.0)),
        (format!("{shard} DataBytesProcessed"), "Bytes", Statistics::of(9.0)),
        (format!("{shard} Success"), "Count", Statistics::of(1.0)),
        ("Operation=ProcessTask ExpiredIterator".to_owned(), "Count", Statistics::of(0.0)),
        (
            "Operation=TakeLeases WorkerIdentifier=ann TakenLeases".to_owned(),
            "Count",
            Statistics::of(1.0),
        ),
        (
            "Operation=RenewAllLeases WorkerIdentifier=ann LostLeases".to_owned(),
            "Count",
            Statistics::of(0.0),
        ),
    ];
    for (path, unit, statistics) in exact {
        assert_eq!(found.get(&path), Some(&(unit, statistics)), "{path}");
    }
    for (path, unit) in [
        (format!("{shard} MillisBehindLatest"), "Milliseconds"),
        ("Operation=ApplicationTracker MillisBehindLatest".to_owned(), "Milliseconds"),
        (format!("{shard} RecordProcessor.processRecords.Time"), "Milliseconds"),
        (format!("{shard} KinesisDataFetcher.getRecords.Success"), "Count"),
        ("Operation=InitializeTask RecordProcessor.initialize.Time".to_owned(), "Milliseconds"),
        ("Operation=ShutdownTask RecordProcessor.shutdown.Time".to_owned(), "Milliseconds"),
    ] {
        let (found_unit, statistics) = found.get(&path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(*found_unit, unit, "{path}");
        assert!(statistics.count >= 1.0 && statistics.min <= statistics.max, "{path}");
        let mean = statistics.sum / statistics.count;
        let bounds = statistics.min - 1e-6..=statistics.max + 1e-6;
        assert!(bounds.contains(&mean), "{path}: {statistics:?}");
    }
    let detailed = |path: &String| path.contains("ListLeases");
    assert!(found.keys().any(detailed));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_in_the_embedded_metric_format() {
    let mut reader = run().await;
    let lines = emf::lines(&mut reader, Level::Summary, Timestamp::from_epoch_millis(7));
    let lines: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shard = lines.iter().find(|line| line["ShardId"] == "shardId-000000000000").unwrap();
    assert_eq!(shard["Operation"], "ProcessTask");
    assert_eq!(shard["RecordsProcessed"], 3.0);
    let about = &shard["_aws"];
    assert_eq!(about["Timestamp"], 7);
    let directive = &about["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "orders");
    assert_eq!(directive["Dimensions"], serde_json::json!([["Operation", "ShardId"]]));
    let metrics = directive["Metrics"].as_array().unwrap();
    assert!(!metrics.is_empty());
    for metric in metrics {
        let name = metric["Name"].as_str().unwrap();
        assert!(!shard[name].is_null(), "{name} has no value");
    }
    assert!(lines.iter().all(|line| line["ListLeases.Time"].is_null()), "it is detailed");
}

/// A CloudWatch that fails the first three requests, and the bodies that it was sent.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Vec<Vec<u8>>>>);

async fn put(State(fake): State<Fake>, body: Bytes) -> StatusCode {
    let mut requests = fake.0.lock().unwrap();
    let status = if requests.len() < 3 { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    requests.push(body.to_vec());
    status
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the server")]
async fn failed_publication_harms_nothing() {
    let fake = Fake::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(put).with_state(fake.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let aws = aws_config(&endpoint);
    let (handle, run) = start();
    let cloudwatch = CloudWatch::new(&aws).with_every(Duration::from_secs(1));
    let published = tokio::spawn(cloudwatch.publish(handle.clone()));
    let count = || fake.0.lock().unwrap().len();
    until("four requests", || count() >= 4).await;
    assert_eq!(handle.status().state, WorkerState::Running);
    assert!((records(&handle) - 3.0).abs() < 0.5);
    handle.shut_down();
    run.await.unwrap();
    let before_end = count();
    published.await.unwrap().unwrap();
    assert!(count() >= before_end, "the last period is published, too");
    let body = fake.0.lock().unwrap().last().cloned().unwrap();
    for text in ["orders", "RenewAllLeases", "WorkerIdentifier", "CurrentLeases"] {
        let has = body.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(has, "no {text} in {:?}", String::from_utf8_lossy(&body));
    }
    server.abort();
}

/// The configuration of a client for this endpoint.
fn aws_config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}
