//! Services that differ from AWS: their numbers, their iterators, their hosts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use kcl_core::backend::{ReadFrom, RecordSource, ShardFilter, ShardReader, SourceError};
use kcl_core::model::{Position, Record, Timestamp};
use kcl_kinesis::KinesisSource;
use kcl_tests::errors::chain;
use serde_json::{Value, json};

use crate::wire::{Answer, Wire};

const SHARD: &str = "shardId-000000000000";

fn ok(body: &Value) -> Answer {
    Answer::Reply(200, body.to_string())
}

fn refusal(code: &str, message: &str) -> Answer {
    Answer::Reply(400, json!({ "__type": code, "message": message }).to_string())
}

/// A reply with records, each a sequence number and when it arrived.
fn records(records: &[(&str, i64)]) -> Value {
    let record = |(number, arrived): &(&str, i64)| {
        json!({ "SequenceNumber": number, "PartitionKey": "k", "Data": "YQ==",
                "ApproximateArrivalTimestamp": arrived })
    };
    let records: Vec<_> = records.iter().map(record).collect();
    json!({ "Records": records, "NextShardIterator": "next", "MillisBehindLatest": 0 })
}

async fn open(wire: &Wire, from: ReadFrom) -> Result<Box<dyn ShardReader>, SourceError> {
    KinesisSource::new(&wire.sdk, "orders").open(&SHARD.into(), from).await
}

/// Reads twice from `from`.
async fn read(wire: &Wire, from: ReadFrom) -> Vec<String> {
    let mut reader = open(wire, from).await.unwrap();
    let mut records = reader.read(10).await.unwrap().records;
    records.extend(reader.read(10).await.unwrap().records);
    records.iter().map(|record: &Record| record.position.sequence.to_string()).collect()
}

/// The types of the iterators that were asked for.
fn iterator_types(wire: &Wire) -> Vec<String> {
    let kind = |(_, body): (String, Value)| body["ShardIteratorType"].as_str().map(str::to_owned);
    wire.requests().into_iter().filter_map(kind).collect()
}

#[tokio::test]
async fn leading_zeros_are_sent_back() {
    let (first, record) = ("000000017960238996610000000001", "000000017960238996610000000002");
    let wire = Wire::answering(move |operation, _| match operation {
        "ListShards" => ok(&json!({ "Shards": [{
            "ShardId": SHARD,
            "HashKeyRange": {
                "StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455",
            },
            "SequenceNumberRange": { "StartingSequenceNumber": first },
        }] })),
        "GetShardIterator" => ok(&json!({ "ShardIterator": "first" })),
        _ => ok(&records(&[(record, 1_796_023_900)])),
    })
    .await;
    let source = KinesisSource::new(&wire.sdk, "orders");
    let shards = source.list_shards(ShardFilter::All).await.unwrap();
    assert_eq!(shards[0].starting_sequence.to_string(), first);
    let mut reader = open(&wire, ReadFrom::TrimHorizon).await.unwrap();
    let Position { sequence, .. } = reader.read(10).await.unwrap().records[0].position;
    assert!(shards[0].starting_sequence < sequence);
    open(&wire, ReadFrom::At(sequence)).await.unwrap();
    assert_eq!(wire.requests().last().unwrap().1["StartingSequenceNumber"], record);
}

/// A service that refuses times with `code` and holds a record of each of 100 s, 200 s, …
async fn without_times(code: &'static str) -> Wire {
    let replies = Mutex::new(VecDeque::from([
        records(&[("1", 100), ("2", 200)]),
        records(&[("3", 300), ("4", 400)]),
    ]));
    Wire::answering(move |operation, body| match operation {
        "GetShardIterator" if body["ShardIteratorType"] == "AT_TIMESTAMP" => {
            refusal(code, "Unsupported ShardIteratorType")
        }
        "GetShardIterator" => ok(&json!({ "ShardIterator": "first" })),
        _ => ok(&replies.lock().unwrap().pop_front().unwrap()),
    })
    .await
}

#[tokio::test]
async fn service_without_times_is_read_from_its_oldest_record() {
    for code in ["InvalidArgumentException", "ValidationException"] {
        let wire = without_times(code).await;
        let from = ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(300_000));
        assert_eq!(read(&wire, from).await, ["3", "4"], "{code}");
        assert_eq!(iterator_types(&wire), ["AT_TIMESTAMP", "TRIM_HORIZON"], "{code}");
        let wire = without_times(code).await;
        let from = ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(150_000));
        assert_eq!(read(&wire, from).await, ["2", "3", "4"], "{code}");
    }
}

#[tokio::test]
async fn time_ahead_of_the_service_is_waited_for() {
    let service = Timestamp::from_epoch_millis(1_700_000_000_000);
    let refused = |_: &str, _: &Value| refusal("InvalidArgumentException", "in the future");
    for ahead in [0, 5_000, 3_600_000] {
        let wire = Wire::dated(Some(service), refused).await;
        let time = Timestamp::from_epoch_millis(service.epoch_millis() + ahead);
        let error = open(&wire, ReadFrom::AtTimestamp(time)).await.unwrap_err();
        assert!(matches!(error, SourceError::PositionRefused { .. }), "{error:?}");
        assert_eq!(iterator_types(&wire), ["AT_TIMESTAMP"]);
    }
}

/// A service that finds no record with a number, as often as `times` says.
async fn without_number(times: usize) -> Wire {
    let left = Mutex::new(times);
    let replies = Mutex::new(VecDeque::from([
        records(&[("5", 100), ("6", 200)]),
        records(&[("8", 300), ("9", 400)]),
    ]));
    Wire::answering(move |operation, body| {
        if operation == "DescribeStreamSummary" {
            return ok(&json!({ "StreamDescriptionSummary": {
                "StreamName": "orders", "StreamARN": "arn", "StreamStatus": "ACTIVE",
                "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_700_000_000,
                "OpenShardCount": 1, "EnhancedMonitoring": [],
            } }));
        }
        if operation != "GetShardIterator" {
            return ok(&replies.lock().unwrap().pop_front().unwrap());
        }
        let mut left = left.lock().unwrap();
        if body["ShardIteratorType"] == "AT_SEQUENCE_NUMBER" && *left > 0 {
            *left -= 1;
            let message = "Unable to find record with provided SequenceNumber";
            return refusal("ResourceNotFoundException", message);
        }
        ok(&json!({ "ShardIterator": "first" }))
    })
    .await
}

#[tokio::test]
async fn number_that_is_not_stored_is_read_past() {
    let wire = without_number(usize::MAX).await;
    assert_eq!(read(&wire, ReadFrom::At(7.into())).await, ["8", "9"]);
    let types = ["AT_SEQUENCE_NUMBER", "TRIM_HORIZON", "AT_SEQUENCE_NUMBER"];
    assert_eq!(iterator_types(&wire), types);
}

#[tokio::test]
async fn number_that_was_not_found_once_is_asked_for_again() {
    let wire = without_number(1).await;
    let error = open(&wire, ReadFrom::At(7.into())).await.unwrap_err();
    assert!(matches!(error, SourceError::ShardMissing { .. }), "{error:?}");
    open(&wire, ReadFrom::At(7.into())).await.unwrap();
    let types = ["AT_SEQUENCE_NUMBER", "TRIM_HORIZON", "AT_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER"];
    assert_eq!(iterator_types(&wire), types);
}

/// A network that resolves no name. Clones share the log of hosts that were asked.
#[derive(Clone, Debug, Default)]
struct NoNetwork(Arc<Mutex<Vec<String>>>);

impl HttpConnector for NoNetwork {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.lock().unwrap().push(request.uri().to_owned());
        HttpConnectorFuture::ready(Err(ConnectorError::io("failed to lookup address".into())))
    }
}

#[tokio::test]
async fn unreachable_hosts_are_named() {
    let network = NoNetwork::default();
    let connector = SharedHttpConnector::new(network.clone());
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
    let (by_arn, by_name) =
        (KinesisSource::from_arn(&sdk, arn), KinesisSource::new(&sdk, "orders"));
    let control = "123456789012.control-kinesis.us-east-1.amazonaws.com";
    let data = "123456789012.data-kinesis.us-east-1.amazonaws.com";
    let shard = SHARD.into();
    for (error, host) in [
        (by_arn.describe().await.map(drop), control),
        (by_arn.list_shards(ShardFilter::All).await.map(drop), control),
        (by_arn.open(&shard, ReadFrom::TrimHorizon).await.map(drop), data),
        (
            by_name.open(&shard, ReadFrom::TrimHorizon).await.map(drop),
            "kinesis.us-east-1.amazonaws.com",
        ),
    ] {
        let text = chain(&error.unwrap_err());
        assert!(text.contains(&format!(": call to {host} failed: ")), "{text}");
    }
    assert!(network.0.lock().unwrap().len() >= 4);
}
