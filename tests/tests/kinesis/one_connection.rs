//! All shards are read over one HTTP/2 connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::join_all;
use kcl_core::backend::{ReadFrom, RecordSource, ShardReader};
use kcl_core::model::StreamName;
use kcl_kinesis::{KinesisSource, KinesisSourceConfig, StreamId};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::http2::{Http2, Read, STREAMS_MAX};
use crate::wire::in_cbor;

/// How long replies may take. Attempts may take longer, so that no timeout helps.
const LIMIT: Duration = Duration::from_secs(30);

/// The body of a reply in CBOR with one record of this many bytes.
fn reply(bytes: usize) -> Bytes {
    let data = BASE64_STANDARD.encode(vec![b'x'; bytes]);
    let record = json!({ "SequenceNumber": "5", "PartitionKey": "k", "Data": data });
    let reply = json!({
        "Records": [record], "NextShardIterator": "next", "MillisBehindLatest": 0,
    });
    in_cbor(&reply.to_string())
}

fn source(server: &Http2) -> KinesisSource {
    let config = KinesisSourceConfig::new(StreamId::Name(StreamName::from("orders")));
    KinesisSource::with_config(&server.sdk, config.with_attempt_timeout(LIMIT * 2))
}

async fn readers(source: &KinesisSource, count: usize) -> Vec<Box<dyn ShardReader>> {
    let open = |number: usize| async move {
        source
            .open(&format!("shard-{number}").as_str().into(), ReadFrom::TrimHorizon)
            .await
            .unwrap()
    };
    // Calls that start together open a connection each, until the first one is known to be HTTP/2.
    let mut readers = vec![open(0).await];
    readers.extend(join_all((1..count).map(open)).await);
    readers
}

#[tokio::test]
async fn reply_that_is_not_polled_holds_up_no_other_shard() {
    let (large, begun) = (reply(3 * 1024 * 1024), Arc::new(AtomicUsize::new(0)));
    let (body, count) = (large.clone(), Arc::clone(&begun));
    let read: Read = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(body.clone()).boxed()
    });
    let server = Http2::start(read).await;
    let source = source(&server);
    let mut readers = readers(&source, 5).await;
    let mut last = readers.pop().unwrap();
    // Sends the requests, as a consumer does before its processor blocks.
    let mut unpolled: Vec<_> = readers.iter_mut().map(|reader| reader.read(10)).collect();
    while begun.load(Ordering::Relaxed) < unpolled.len() {
        for read in &mut unpolled {
            assert!(read.now_or_never().is_none(), "the reply is long");
        }
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(500)).await;
    let other = timeout(LIMIT, last.read(10)).await.expect("no shard waits for another");
    assert_eq!(other.unwrap().records.len(), 1);
    assert_eq!(server.connections(), 1);
    for read in unpolled {
        assert_eq!(read.await.unwrap().records.len(), 1);
    }
}

#[tokio::test]
async fn reads_beyond_the_streams_of_a_connection_wait_for_their_turn() {
    let body = reply(10);
    let read: Read = Arc::new(move || {
        let body = body.clone();
        async move {
            sleep(Duration::from_millis(300)).await;
            body
        }
        .boxed()
    });
    let server = Http2::start(read).await;
    let source = source(&server);
    let count = usize::try_from(STREAMS_MAX).unwrap() * 3;
    let mut readers = readers(&source, count).await;
    let reads = join_all(readers.iter_mut().map(|reader| reader.read(10)));
    let replies = timeout(LIMIT, reads).await.expect("three turns take a second");
    assert!(replies.iter().all(|reply| reply.as_ref().unwrap().records.len() == 1));
    assert_eq!(server.connections(), 1);
}
