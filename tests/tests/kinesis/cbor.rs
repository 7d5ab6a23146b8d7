//! Replies in CBOR: what is understood, what is refused, and the way back to JSON.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kcl_core::backend::{ReadFrom, RecordSource, ShardReader, SourceError};
use kcl_kinesis::KinesisSource;
use kcl_tests::errors::chain;
use serde_json::{Value, json};

use crate::wire::{Answer, CBOR, JSON, Wire, in_cbor};

fn ok(body: &Value) -> Answer {
    Answer::Reply(200, body.to_string())
}

/// A reply with one record of this number.
fn page(number: usize) -> Value {
    let record =
        json!({ "SequenceNumber": number.to_string(), "PartitionKey": "k", "Data": "dGVh" });
    json!({ "Records": [record], "NextShardIterator": number.to_string(), "MillisBehindLatest": 0 })
}

/// A service that answers reads with `read`, by their number from 0 and their iterator.
async fn service(read: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static) -> Wire {
    let reads = AtomicUsize::new(0);
    Wire::answering(move |operation, body| match operation {
        "GetShardIterator" => ok(&json!({ "ShardIterator": "first" })),
        _ => read(reads.fetch_add(1, Ordering::Relaxed), body),
    })
    .await
}

/// A service that speaks only JSON: it answers every read, but the first `refused` ones in CBOR
/// with `answer`.
async fn without_cbor(refused: usize, answer: Answer) -> Wire {
    service(move |read, _| if read < refused { answer.clone() } else { ok(&page(read)) }).await
}

async fn open(source: &KinesisSource) -> Box<dyn ShardReader> {
    source.open(&"shardId-000000000000".into(), ReadFrom::TrimHorizon).await.unwrap()
}

async fn open_on(wire: &Wire) -> Box<dyn ShardReader> {
    open(&KinesisSource::new(&wire.sdk, "orders")).await
}

/// Reads once, and returns the data of the records.
async fn data(reader: &mut dyn ShardReader) -> Vec<Bytes> {
    let records = reader.read(10).await.unwrap().records;
    records.into_iter().map(|record| record.data).collect()
}

/// The iterators of all reads.
fn iterators(wire: &Wire) -> Vec<String> {
    let iterator = |(_, body): (String, Value)| body["ShardIterator"].as_str().map(str::to_owned);
    wire.requests().into_iter().filter_map(iterator).collect()
}

#[tokio::test]
async fn records_are_parts_of_one_reply() {
    let wire = service(|read, _| ok(&page(read))).await;
    let mut reader = open_on(&wire).await;
    assert_eq!(reader.copies(), 3, "the service may not speak CBOR");
    let fetched = reader.read(10).await.unwrap();
    let reply = in_cbor(&page(0).to_string());
    assert_eq!(fetched.held, Some(u64::try_from(reply.len()).unwrap()));
    assert_eq!((fetched.records[0].data.as_ref(), reader.copies()), (&b"tea"[..], 1));
}

#[tokio::test]
async fn service_without_cbor_is_read_in_json() {
    let code = |code: &str| json!({ "__type": code, "message": "so it is" }).to_string();
    let refusals = [
        Answer::Reply(400, code("SerializationException")),
        Answer::Reply(404, code("com.amazonaws.kinesis#UnknownOperationException")),
        Answer::Raw(400, JSON, code("SerializationException").into()),
        Answer::Raw(415, "text/html", Bytes::from_static(b"<html>")),
        Answer::Raw(200, CBOR, Bytes::from_static(b"\xa1\x67Records\x61x")),
        Answer::Raw(200, CBOR, Bytes::new()),
        Answer::Raw(200, "text/html", Bytes::from_static(b"<html>")),
    ];
    for refusal in refusals {
        let wire = without_cbor(1, refusal.clone()).await;
        let source = KinesisSource::new(&wire.sdk, "orders");
        let mut reader = open(&source).await;
        let error = reader.read(10).await.unwrap_err();
        let is_expected = matches!(error, SourceError::EncodingRefused { encoding: "CBOR", .. });
        assert!(is_expected && error.is_retryable(), "{refusal:?}: {error:?}");
        assert!(chain(&error).contains("from now on: "), "{}", chain(&error));
        assert_eq!(data(&mut *reader).await, ["tea"], "{refusal:?}");
        assert_eq!(data(&mut *open(&source.clone()).await).await, ["tea"], "{refusal:?}");
        let encodings: Vec<_> = wire.encodings().into_iter().skip(1).collect();
        assert_eq!(encodings, [CBOR, JSON, JSON, JSON], "reads and an iterator: {refusal:?}");
        assert_eq!(iterators(&wire), ["first", "first", "first"], "nothing is passed over");
    }
}

/// The SDK repeats the call a few times.
#[tokio::test]
async fn service_that_fails_over_cbor_is_read_in_json() {
    let wire = without_cbor(3, Answer::Raw(500, "text/html", Bytes::from_static(b"<html>"))).await;
    let mut reader = open_on(&wire).await;
    let error = reader.read(10).await.unwrap_err();
    assert!(matches!(error, SourceError::EncodingRefused { .. }), "{error:?}");
    assert_eq!(data(&mut *reader).await, ["tea"]);
    assert_eq!(wire.encodings().last(), Some(&JSON));
}

#[tokio::test]
async fn refusal_is_reported_once_for_a_source() {
    let garbage = Answer::Raw(200, CBOR, Bytes::from_static(b"\x00"));
    let wire = without_cbor(2, garbage).await;
    let source = KinesisSource::new(&wire.sdk, "orders");
    let (mut one, mut other) = (open(&source).await, open(&source).await);
    let (one, other) = tokio::join!(one.read(10), other.read(10));
    let failed = [&one, &other].into_iter().filter(|read| read.is_err()).count();
    assert_eq!(failed, 1, "the other read is repeated in JSON: {one:?} {other:?}");
}

#[tokio::test]
async fn other_errors_leave_the_encoding_alone() {
    for (status, code) in
        [(400, "ProvisionedThroughputExceededException"), (400, "ExpiredIteratorException")]
    {
        let error = json!({ "__type": code, "message": "so it is" }).to_string();
        let wire = without_cbor(1, Answer::Reply(status, error)).await;
        let mut reader = open_on(&wire).await;
        let error = reader.read(10).await.unwrap_err();
        assert!(matches!(error, SourceError::Throttled { .. } | SourceError::Expired));
        assert_eq!(data(&mut *reader).await, ["tea"]);
        assert_eq!(wire.encodings(), [JSON, CBOR, CBOR]);
    }
}

#[tokio::test]
async fn reply_decides_and_not_its_content_type() {
    let (json, cbor) = (page(7).to_string(), in_cbor(&page(7).to_string()));
    for answer in [
        Answer::Raw(200, CBOR, json.clone().into()),
        Answer::Raw(200, JSON, json.into()),
        Answer::Raw(200, JSON, cbor.clone()),
        Answer::Raw(200, "text/plain", cbor),
    ] {
        let expected = answer.clone();
        let wire = service(move |_, _| answer.clone()).await;
        let mut reader = open_on(&wire).await;
        for _ in 0..2 {
            assert_eq!(data(&mut *reader).await, ["tea"], "{expected:?}");
        }
        assert_eq!(wire.encodings(), [JSON, CBOR, CBOR], "{expected:?}");
        assert_eq!(iterators(&wire), ["first", "7"], "{expected:?}");
    }
}

/// Replies that cannot be read.
fn unreadable() -> Vec<Bytes> {
    let good = in_cbor(&page(7).to_string());
    let mut longer = good.to_vec();
    longer.push(0);
    let mut fewer = good.to_vec();
    fewer[0] -= 1;
    vec![
        good.slice(..good.len() - 1),
        longer.into(),
        fewer.into(),
        // Half a million records without members.
        [b"\xa1\x67Records\x9a\x00\x07\xa1\x20", &[0xa0; 500_000][..]].concat().into(),
        [b"\xa1\x67Records\x9b", &[0xff; 8][..]].concat().into(),
        // Half a million arrays in one another.
        [b"\xa1\x65other", &[0x81; 500_000][..]].concat().into(),
        b"\xa1\x67Records\x81\xa1\x64Data\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"[..].into(),
    ]
}

#[tokio::test]
async fn unreadable_reply_is_an_error_and_is_read_again() {
    for reply in unreadable() {
        let bad = reply.clone();
        let wire = service(move |read, _| match read {
            1 => Answer::Raw(200, CBOR, bad.clone()),
            _ => ok(&page(read)),
        })
        .await;
        let mut reader = open_on(&wire).await;
        assert_eq!(data(&mut *reader).await, ["tea"]);
        let error = reader.read(10).await.unwrap_err();
        let begin = reply.slice(..reply.len().min(40));
        assert!(matches!(error, SourceError::Refused { .. }), "{begin:?}: {error:?}");
        assert!(chain(&error).contains("reply is unreadable"), "{}", chain(&error));
        assert_eq!(data(&mut *reader).await, ["tea"]);
        assert_eq!(wire.encodings(), [JSON, CBOR, CBOR, CBOR], "the service speaks CBOR");
        assert_eq!(iterators(&wire), ["first", "0", "0"], "nothing is passed over");
    }
}

#[tokio::test]
async fn reply_that_is_too_long_asks_for_fewer_records() {
    let long = Bytes::from(vec![0xa0; 33 * 1024 * 1024]);
    let wire = service(move |read, _| match read {
        0 => Answer::Raw(200, CBOR, long.clone()),
        _ => ok(&page(read)),
    })
    .await;
    let mut reader = open_on(&wire).await;
    let error = reader.read(10).await.unwrap_err();
    assert!(matches!(error, SourceError::Incomplete { .. }), "{error:?}");
    assert!(chain(&error).contains("reply is longer than"), "{}", chain(&error));
    assert_eq!(data(&mut *reader).await, ["tea"]);
    assert_eq!(iterators(&wire), ["first", "first"]);
}
