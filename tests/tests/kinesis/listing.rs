//! Lists of shards of many pages.

use std::sync::atomic::{AtomicUsize, Ordering};

use kcl_core::backend::{RecordSource, ShardFilter};
use kcl_kinesis::KinesisSource;
use serde_json::{Value, json};

use crate::wire::{Answer, Wire};

/// A page of `shards` shards, of which `first` is the first one.
fn page(first: usize, shards: usize, token: Option<&str>) -> Answer {
    let shard = |number| {
        json!({
            "ShardId": format!("shardId-{number:012}"),
            "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "9" },
            "SequenceNumberRange": { "StartingSequenceNumber": "5" },
        })
    };
    let shards: Vec<Value> = (first..first + shards).map(shard).collect();
    Answer::Reply(200, json!({ "Shards": shards, "NextToken": token }).to_string())
}

/// Returns how many shards are listed, of a stream that answers in `pages` pages of `shards`
/// shards.
async fn list(pages: usize, shards: usize) -> Result<usize, String> {
    let asked = AtomicUsize::new(0);
    let wire = Wire::answering(move |_, _| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let token = format!("after {number}");
        page(number * shards, shards, Some(&*token).filter(|_| number + 1 < pages))
    })
    .await;
    let listed = KinesisSource::new(&wire.sdk, "orders").list_shards(ShardFilter::All).await;
    let count = listed.map_err(|error| kcl_tests::errors::chain(&error))?.len();
    assert!(wire.requests().iter().all(|(_, body)| body["MaxResults"] == 1_000));
    Ok(count)
}

#[tokio::test]
async fn list_of_more_than_100_pages_is_whole() {
    assert_eq!(list(101, 10).await, Ok(1_010));
    assert_eq!(list(1_000, 1).await, Ok(1_000));
}

#[tokio::test]
async fn list_beyond_the_bound_names_it() {
    let error = list(1_001, 1).await.unwrap_err();
    assert!(error.contains("more than 1,000 pages of up to 1,000 shards"), "{error}");
    assert!(error.contains("bound of this library"), "{error}");
}

#[tokio::test]
async fn repeated_page_is_refused_at_once() {
    let wire = Wire::answering(|_, _| page(0, 1, Some("more"))).await;
    let source = KinesisSource::new(&wire.sdk, "orders");
    let error = source.list_shards(ShardFilter::All).await.unwrap_err();
    assert!(kcl_tests::errors::chain(&error).contains("repeats a page"), "{error:?}");
    assert_eq!(wire.requests().len(), 2);
}
