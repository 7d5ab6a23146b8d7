//! The source's requests and errors.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use kcl_core::backend::{Fetched, ReadFrom, RecordSource, ShardFilter, ShardReader, SourceError};
use kcl_core::model::{SequenceNumber, ShardId, StreamName, Timestamp};
use kcl_kinesis::{Encoding, KinesisSource, KinesisSourceConfig, StreamId};
use serde_json::json;
use tokio::net::TcpListener;

use crate::wire::{Answer, Wire, sdk_for};

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";

fn source(sdk: &SdkConfig) -> KinesisSource {
    source_in(Encoding::default(), sdk)
}

fn source_in(encoding: Encoding, sdk: &SdkConfig) -> KinesisSource {
    let config = KinesisSourceConfig::new(StreamId::Name(StreamName::from("orders")));
    let config = config.with_attempt_timeout(Duration::from_millis(400));
    KinesisSource::with_config(sdk, config.with_encoding(encoding))
}

fn shard() -> ShardId {
    ShardId::from("shardId-000000000000")
}

async fn open(source: &KinesisSource) -> Result<Box<dyn ShardReader>, SourceError> {
    source.open(&shard(), ReadFrom::TrimHorizon).await
}

/// Answers requests for an iterator with one, and all others with `answer`.
fn iterator_and(answer: Answer) -> impl Fn(&str, &serde_json::Value) -> Answer {
    move |operation, _| match operation {
        "GetShardIterator" => ok(&json!({ "ShardIterator": "first" })),
        _ => answer.clone(),
    }
}

fn ok(body: &serde_json::Value) -> Answer {
    Answer::Reply(200, body.to_string())
}

fn error(status: u16, code: &str) -> Answer {
    Answer::Reply(status, json!({ "__type": code, "message": "so it is" }).to_string())
}

fn description() -> Answer {
    ok(&json!({ "StreamDescriptionSummary": {
        "StreamName": "orders", "StreamARN": ARN, "StreamStatus": "UPDATING",
        "StreamId": "abc", "RetentionPeriodHours": 48, "StreamCreationTimestamp": 1_700_000_000.25,
        "OpenShardCount": 1, "EnhancedMonitoring": [],
    } }))
}

/// Returns the error of a first read that the service answers with `code`, in either encoding.
async fn read_error(status: u16, code: &str) -> SourceError {
    let in_json = read_error_in(Encoding::Json, status, code).await;
    let error = read_error_in(Encoding::Cbor, status, code).await;
    assert_eq!(format!("{error:?}"), format!("{in_json:?}"));
    error
}

async fn read_error_in(encoding: Encoding, status: u16, code: &str) -> SourceError {
    let wire = Wire::answering(iterator_and(error(status, code))).await;
    let source = source_in(encoding, &wire.sdk);
    let error = open(&source).await.unwrap().read(10).await.unwrap_err();
    expect_clear(&error);
    error
}

/// Checks that no message of the chain contains the next one.
#[track_caller]
fn expect_clear(error: &SourceError) {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(next) = cause {
        let inner = next.to_string();
        assert!(!text.contains(&inner), "{text:?} repeats {inner:?}");
        (text, cause) = (inner, next.source());
    }
}

#[tokio::test]
async fn only_unthrottled_reads_are_retried() {
    for (status, code, reads) in [
        (400, "ProvisionedThroughputExceededException", 1),
        (400, "LimitExceededException", 1),
        (400, "KMSThrottlingException", 1),
        (500, "InternalFailure", 2),
    ] {
        let wire = Wire::answering(iterator_and(error(status, code))).await;
        let mut reader = open(&source(&wire.sdk)).await.unwrap();
        let error = reader.read(10).await.unwrap_err();
        assert_eq!(matches!(error, SourceError::Throttled { .. }), reads == 1, "{code}: {error:?}");
        assert!(error.is_retryable());
        assert_eq!(wire.operations().len(), 1 + reads, "{code}");
    }
}

#[tokio::test]
async fn expired_or_unknown_iterator_is_replaced() {
    for code in ["ExpiredIteratorException", "InvalidArgumentException"] {
        assert!(matches!(read_error(400, code).await, SourceError::Expired), "{code}");
    }
}

#[tokio::test]
async fn denied_call_names_the_action_to_grant() {
    let action = |error: SourceError| {
        let SourceError::AccessDenied { action, source, .. } = error else { panic!("{error:?}") };
        (action, source.to_string())
    };
    let (read, message) = action(read_error(400, "AccessDeniedException").await);
    assert_eq!(read, "kinesis:GetRecords");
    assert_eq!(message, "AccessDeniedException: so it is (HTTP 400, request without id)");
    assert_eq!(action(read_error(400, "KMSAccessDeniedException").await).0, "kms:Decrypt");

    let wire = Wire::failing(400, "AccessDeniedException").await;
    let source = source(&wire.sdk);
    let list = source.list_shards(ShardFilter::All).await.unwrap_err();
    assert_eq!(action(list).0, "kinesis:ListShards");
    let describe = source.describe().await.unwrap_err();
    assert_eq!(action(describe).0, "kinesis:DescribeStreamSummary");
    assert_eq!(action(open(&source).await.unwrap_err()).0, "kinesis:GetShardIterator");
}

#[tokio::test]
async fn permanent_errors_are_not_retried() {
    for code in ["KMSDisabledException", "KMSNotFoundException", "ValidationException"] {
        let error = read_error(400, code).await;
        assert!(matches!(error, SourceError::Refused { .. }), "{code}: {error:?}");
        assert!(!error.is_retryable());
    }
    let error = read_error(400, "UnrecognizedClientException").await;
    assert!(matches!(error, SourceError::Credentials { .. }), "{error:?}");
}

#[tokio::test]
async fn missing_shard_differs_from_missing_stream() {
    let missing = error(400, "ResourceNotFoundException");
    let wire = Wire::answering(move |operation, _| match operation {
        "DescribeStreamSummary" => description(),
        _ => missing.clone(),
    })
    .await;
    let error = open(&source(&wire.sdk)).await.unwrap_err();
    assert!(matches!(error, SourceError::ShardMissing { .. }), "{error:?}");
    let wire = Wire::failing(400, "ResourceNotFoundException").await;
    let error = open(&source(&wire.sdk)).await.unwrap_err();
    assert!(matches!(error, SourceError::StreamMissing { .. }), "{error:?}");
}

#[tokio::test]
async fn refused_position_is_named() {
    let wire = Wire::failing(400, "InvalidArgumentException").await;
    let from = ReadFrom::At(SequenceNumber::from(7));
    let error = source(&wire.sdk).open(&shard(), from).await.unwrap_err();
    assert!(matches!(error, SourceError::PositionRefused { from: at, .. } if at == from));
}

#[tokio::test]
async fn list_as_of_a_future_time_is_retryable() {
    let wire = Wire::failing(400, "InvalidArgumentException").await;
    let source = source(&wire.sdk);
    let time = ShardFilter::OpenAt(Timestamp::from_epoch_millis(0));
    assert!(source.list_shards(time).await.unwrap_err().is_retryable());
    assert!(!source.list_shards(ShardFilter::All).await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn closed_port_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sdk = sdk_for(listener.local_addr().unwrap());
    drop(listener);
    expect_unavailable(&sdk).await;
}

#[tokio::test]
async fn silent_server_is_unavailable_in_time() {
    let wire = Wire::answering(|_, _| Answer::Hang).await;
    expect_unavailable(&wire.sdk).await;

    let wire = Wire::answering(iterator_and(Answer::Hang)).await;
    let mut reader = open(&source(&wire.sdk)).await.unwrap();
    expect_bounded(reader.read(10)).await;
}

#[tokio::test]
async fn endless_reply_is_unavailable_in_time() {
    let wire = Wire::answering(|_, _| Answer::Stall).await;
    expect_unavailable(&wire.sdk).await;
}

#[tokio::test]
async fn malformed_reply_is_unavailable() {
    let wire = Wire::answering(|_, _| Answer::Reply(200, "<html>".to_owned())).await;
    expect_unavailable(&wire.sdk).await;
}

async fn expect_unavailable(sdk: &SdkConfig) {
    let source = source(sdk);
    expect_bounded(source.describe()).await;
    expect_bounded(source.list_shards(ShardFilter::All)).await;
    expect_bounded(open(&source)).await;
}

/// Checks that a call fails as unavailable within about twice its attempt timeout.
#[expect(clippy::disallowed_methods, reason = "this measures real time")]
async fn expect_bounded<T: std::fmt::Debug>(call: impl Future<Output = Result<T, SourceError>>) {
    let started = Instant::now();
    let error = call.await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    expect_clear(&error);
}

/// The runtime that opened a client's connections drives them.
#[tokio::test(flavor = "multi_thread")]
async fn reading_does_not_wait_for_a_stalled_lease_side() {
    let wire = Wire::answering(|operation, _| match operation {
        "DescribeStreamSummary" => description(),
        "GetShardIterator" => ok(&json!({ "ShardIterator": "first" })),
        _ => ok(&records(Some("second"))),
    })
    .await;
    let source = KinesisSource::new(&wire.sdk, "orders");
    let lease_side = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (lease_side, described) = std::thread::scope(|scope| {
        let described = scope.spawn(|| {
            let described = lease_side.block_on(source.describe());
            (lease_side, described)
        });
        described.join().unwrap()
    });
    described.unwrap();
    let read = async { open(&source).await?.read(10).await };
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    assert_eq!(
        read.expect("the read uses a connection of the other runtime").unwrap().records.len(),
        1
    );
    lease_side.shutdown_background();
}

#[derive(Debug)]
struct FailingProvider(fn() -> CredentialsError);

impl ProvideCredentials for FailingProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(self.0()))
    }
}

#[tokio::test]
async fn missing_credentials_differ_from_a_missing_provider() {
    let sdk = |provider: Option<fn() -> CredentialsError>| {
        let provider = provider.map(|fail| SharedCredentialsProvider::new(FailingProvider(fail)));
        let mut sdk = SdkConfig::builder();
        sdk.set_credentials_provider(provider);
        sdk.behavior_version(BehaviorVersion::latest()).region(Region::new("us-east-1")).build()
    };
    let missing: fn() -> CredentialsError = || CredentialsError::not_loaded("nothing set");
    let down: fn() -> CredentialsError = || CredentialsError::provider_error("503");
    for (provider, is_configured) in [(None, false), (Some(missing), true), (Some(down), true)] {
        let source = source(&sdk(provider));
        for error in [source.describe().await.unwrap_err(), open(&source).await.unwrap_err()] {
            let is_named = if is_configured {
                matches!(error, SourceError::Credentials { .. })
            } else {
                matches!(error, SourceError::CredentialsNotConfigured { .. })
            };
            assert!(is_named, "{error:?}");
            expect_clear(&error);
        }
    }
}

#[tokio::test]
async fn description_without_a_date_is_refused() {
    let now = Timestamp::from_epoch_millis(1_700_000_000_000);
    let wire = Wire::dated(Some(now), |_, _| description()).await;
    let described = source(&wire.sdk).describe().await.unwrap();
    assert_eq!(described.now, now);
    assert_eq!(described.created, Timestamp::from_epoch_millis(1_700_000_000_250));
    assert_eq!((described.id.as_deref(), described.retention.as_secs()), (Some("abc"), 172_800));
    let wire = Wire::dated(None, |_, _| description()).await;
    let error = source(&wire.sdk).describe().await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    assert!(error.source().unwrap().to_string().contains("Date header"));
}

#[tokio::test]
async fn stream_named_by_arn_is_requested_by_arn() {
    let wire = Wire::answering(|operation, _| match operation {
        "DescribeStreamSummary" => description(),
        "ListShards" => ok(&json!({ "Shards": [] })),
        "GetShardIterator" => ok(&json!({ "ShardIterator": "first" })),
        _ => ok(&json!({ "Records": [], "NextShardIterator": "second" })),
    })
    .await;
    let source = KinesisSource::from_arn(&wire.sdk, ARN);
    source.describe().await.unwrap();
    source.list_shards(ShardFilter::All).await.unwrap();
    open(&source).await.unwrap().read(10).await.unwrap();
    for (operation, body) in wire.requests() {
        assert_eq!(body["StreamARN"], ARN, "{operation}");
        assert_eq!(body.get("StreamName"), None, "{operation}");
    }
    assert_eq!(wire.requests().len(), 4);
}

#[tokio::test]
async fn list_has_all_pages_and_filters_the_first() {
    let page = |number: u32, token: Option<&str>| {
        let shard = json!({
            "ShardId": format!("shardId-{number:012}"),
            "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "9" },
            "SequenceNumberRange": { "StartingSequenceNumber": "5" },
        });
        ok(&json!({ "Shards": [shard], "NextToken": token }))
    };
    let wire = Wire::answering(move |_, body| match body["NextToken"].as_str() {
        None => page(0, Some("more")),
        Some("more") => page(1, Some("last")),
        Some(_) => page(2, None),
    })
    .await;
    let time = Timestamp::from_epoch_millis(1_700_000_000_500);
    let shards = source(&wire.sdk).list_shards(ShardFilter::OpenAt(time)).await.unwrap();
    let ids: Vec<_> = shards.iter().map(|shard| shard.id.as_str()).collect();
    assert_eq!(ids, ["shardId-000000000000", "shardId-000000000001", "shardId-000000000002"]);
    let bodies: Vec<_> = wire.requests().into_iter().map(|(_, body)| body).collect();
    let filter = json!({ "Type": "AT_TIMESTAMP", "Timestamp": 1_700_000_000.5 });
    assert_eq!((&bodies[0]["ShardFilter"], &bodies[0]["StreamName"]), (&filter, &json!("orders")));
    for body in &bodies[1..] {
        assert_eq!((body.get("ShardFilter"), body.get("StreamName")), (None, None));
    }
}

fn records(next: Option<&str>) -> serde_json::Value {
    json!({
        "Records": [{
            "SequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "PartitionKey": "key", "Data": "dGVh", "ApproximateArrivalTimestamp": 1_700_000_000.5,
        }],
        "NextShardIterator": next, "MillisBehindLatest": 1_500,
    })
}

#[tokio::test]
async fn reading_follows_iterators_to_the_children() {
    for encoding in [Encoding::Cbor, Encoding::Json] {
        reading_follows_iterators_in(encoding).await;
    }
}

async fn reading_follows_iterators_in(encoding: Encoding) {
    let range = json!({ "StartingHashKey": "0", "EndingHashKey": "9" });
    let child = json!({ "ShardId": "child", "ParentShards": ["p"], "HashKeyRange": range });
    let wire = Wire::answering(move |_, body| match body["ShardIterator"].as_str() {
        None => ok(&json!({ "ShardIterator": "first" })),
        Some("first") => ok(&records(Some("second"))),
        Some(_) => {
            let mut last = records(None);
            last["ChildShards"] = json!([child]);
            ok(&last)
        }
    })
    .await;
    let mut reader = open(&source_in(encoding, &wire.sdk)).await.unwrap();
    let first: Fetched = reader.read(20_000).await.unwrap();
    assert_eq!((first.records.len(), &first.records[0].data[..]), (1, &b"tea"[..]));
    assert_eq!((first.behind_latest, first.end), (Some(Duration::from_millis(1_500)), None));
    let last = reader.read(0).await.unwrap();
    assert_eq!((last.records.len(), last.end.as_ref().unwrap().children.len()), (1, 1));
    let after = reader.read(10).await.unwrap();
    assert_eq!((after.records.len(), after.end), (0, last.end));
    let limits: Vec<_> =
        wire.requests().iter().filter_map(|request| request.1["Limit"].as_u64()).collect();
    assert_eq!(limits, [10_000, 1]);
}

#[tokio::test]
async fn unusable_reply_is_requested_again() {
    for encoding in [Encoding::Cbor, Encoding::Json] {
        unusable_reply_in(encoding).await;
    }
}

async fn unusable_reply_in(encoding: Encoding) {
    let reads = AtomicUsize::new(0);
    let wire = Wire::answering(move |operation, _| match operation {
        "GetShardIterator" => ok(&json!({ "ShardIterator": "first" })),
        _ => match reads.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::Reply(200, records(Some("second")).to_string().replace("4959", "LATEST")),
            1 => Answer::Hang,
            _ => ok(&records(Some("second"))),
        },
    })
    .await;
    let mut reader = open(&source_in(encoding, &wire.sdk)).await.unwrap();
    let error = reader.read(10).await.unwrap_err();
    let is_expected = if encoding == Encoding::Json {
        matches!(error, SourceError::Refused { .. })
    } else {
        matches!(error, SourceError::EncodingRefused { .. })
    };
    assert!(is_expected, "{error:?}");
    let dropped = tokio::time::timeout(Duration::from_millis(100), reader.read(10)).await;
    assert!(dropped.is_err());
    assert_eq!(reader.read(10).await.unwrap().records.len(), 1);
    assert_eq!(reader.read(10).await.unwrap().records.len(), 1);
    let iterators: Vec<_> = wire
        .requests()
        .into_iter()
        .skip(1)
        .map(|(_, body)| body["ShardIterator"].clone())
        .collect();
    assert_eq!(iterators, ["first", "first", "first", "second"]);
}
