//! Subscriptions of CBOR clients, on the wire.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use ciborium::Value as Cbor;
use kcl_local::{LocalStack, SubscriptionRules};

use crate::fixture::{Fixture, ROOT, quick};

/// Subscribes in CBOR from the start of the shard. Returns the payloads of all frames.
fn subscribe(stack: &LocalStack, consumer: &str) -> Vec<Vec<u8>> {
    let body = map([
        ("ConsumerARN", Cbor::from(consumer)),
        ("ShardId", Cbor::from(ROOT)),
        ("StartingPosition", map([("Type", Cbor::from("TRIM_HORIZON"))])),
    ]);
    let mut request = Vec::new();
    ciborium::into_writer(&body, &mut request).unwrap();
    // HTTP/1.0: the answer has no chunks.
    let head = format!(
        "POST / HTTP/1.0\r\ncontent-type: application/x-amz-cbor-1.1\r\ncontent-length: {}\r\n\
         x-amz-target: Kinesis_20131202.SubscribeToShard\r\nx-amz-date: 20260101T000000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c\r\n\r\n",
        request.len()
    );
    let address = stack.endpoint_url();
    let mut connection = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    connection.write_all(&[head.as_bytes(), &request].concat()).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    raw_payloads(&answer[end + 4..])
}

/// Returns the payloads of frames, as they are.
fn raw_payloads(mut frames: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while !frames.is_empty() {
        let length = |at: usize| {
            usize::try_from(u32::from_be_bytes(frames[at..at + 4].try_into().unwrap())).unwrap()
        };
        let (total, headers) = (length(0), length(4));
        let payload = &frames[12 + headers..total - 4];
        if !payload.is_empty() {
            payloads.push(payload.to_vec());
        }
        frames = &frames[total..];
    }
    payloads
}

fn map<const N: usize>(fields: [(&str, Cbor); N]) -> Cbor {
    Cbor::Map(fields.into_iter().map(|(name, value)| (Cbor::from(name), value)).collect())
}

fn field<'a>(value: &'a Cbor, name: &str) -> &'a Cbor {
    let mut fields = value.as_map().unwrap().iter();
    &fields.find(|(key, _)| key.as_text() == Some(name)).unwrap().1
}

fn items<'a>(event: &'a Cbor, name: &str) -> &'a [Cbor] {
    field(event, name).as_array().unwrap()
}

#[tokio::test]
async fn cbor_events_have_millis_and_children_at_the_end_only() {
    let fixture = Fixture::new(quick()).await;
    fixture.put("last").await;
    fixture.split().await;
    let events = subscribe(&fixture.stack, &fixture.consumer);
    let events: Vec<Cbor> =
        events.iter().map(|event| ciborium::from_reader(event.as_slice()).unwrap()).collect();
    let [first, end] = events.as_slice() else { panic!("{events:?}") };
    let [record] = items(first, "Records") else { panic!("{first:?}") };
    assert_eq!(field(record, "Data").as_bytes().unwrap(), b"last");
    let arrived = field(record, "ApproximateArrivalTimestamp").as_integer().unwrap();
    assert!(i128::from(arrived) > 1_700_000_000_000, "{arrived:?}");
    assert!(items(first, "ChildShards").is_empty());
    assert!(field(first, "ContinuationSequenceNumber").is_text());
    assert!(items(end, "Records").is_empty());
    assert_eq!(items(end, "ChildShards").len(), 2);
    assert!(field(end, "ContinuationSequenceNumber").is_null());
}

#[tokio::test]
async fn a_server_may_have_events_in_json_only() {
    let fixture = Fixture::new(SubscriptionRules { cbor_events: false, ..quick() }).await;
    fixture.put("last").await;
    fixture.split().await;
    let events = subscribe(&fixture.stack, &fixture.consumer);
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.starts_with(b"{")), "{events:?}");
}
