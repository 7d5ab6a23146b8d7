//! Streams that are missing, not ready, deleted, replaced, or trimmed.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, Position, SequenceNumber};
use kcl_dynamo::DynamoLeaseStore;
use tokio::time::sleep;

use crate::gate::Verdict;
use crate::scene::{Running, STREAM, Scene, TABLE, check, created, records, settings};

#[tokio::test]
async fn missing_stream_ends_the_worker() {
    let scene = Scene::empty().await;
    let text = scene.start("w").refusal().await;
    check(&text, &["\"orders\" does not exist", "check its name and the region"]);
    scene.create_stream(STREAM, 1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn stream_that_comes_later_is_waited_for_if_asked() {
    let scene = Scene::empty().await;
    let mut config = settings();
    config.retrieval.wait_for_stream = Duration::from_mins(1);
    let leases = DynamoLeaseStore::new(&scene.aws(), created(TABLE));
    let worker = scene.run("w", scene.builder("w").leases(leases).config(config));
    scene.until_reported(&["\"orders\" does not exist"]).await;
    scene.create_stream(STREAM, 1).await;
    scene.put("a").await;
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn stream_that_seems_missing_at_work_is_looked_for_again() {
    for action in ["kinesis:DescribeStreamSummary", "kinesis:ListShards"] {
        let scene = Scene::new(1).await;
        scene.put("a").await;
        let worker = scene.start("w");
        scene.until_delivered("a").await;
        scene.gate.miss(action, 2);
        scene.until_reported(&["\"orders\" does not exist"]).await;
        scene.put("b").await;
        scene.until_delivered("b").await;
        scene.gate.open();
        worker.stop().await;
    }
}

#[tokio::test]
async fn stream_being_created_is_awaited() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let creating = Verdict::Reword("\"ACTIVE\"", "\"CREATING\"");
    scene.gate.only("kinesis:DescribeStreamSummary", creating);
    let worker = scene.start("w");
    scene.until_reported(&["stream orders is being created"]).await;
    assert!(scene.delivered().is_empty());
    scene.gate.open();
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn deleted_stream_ends_the_worker_and_releases_leases() {
    let scene = Scene::new(2).await;
    let mut config = settings();
    config.lease.expiry = Duration::from_secs(10); // The worker keeps its leases for a minute.
    let leases = DynamoLeaseStore::new(&scene.aws(), created(TABLE));
    let worker = scene.run("w", scene.builder("w").leases(leases).config(config));
    let mut handle = worker.handle.clone();
    while handle.changed().await.is_some_and(|status| status.held.len() < 2) {}
    scene.kinesis.delete_stream().stream_name(STREAM).send().await.unwrap();
    let text = worker.refusal_after_a_minute().await;
    check(&text, &["\"orders\" does not exist", "check its name and the region"]);
    let ends = scene
        .events(|event| if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None });
    assert!(ends.len() >= 2 && ends.iter().all(|how| *how == LeaseEnd::Released), "{ends:?}");
    assert!(scene.leases().await.iter().all(|lease| lease.owner.is_none()));
}

#[tokio::test]
async fn recreated_stream_needs_another_table() {
    let scene = Scene::new(1).await;
    scene.put("of the former stream").await;
    let worker = scene.start("w");
    scene.until_delivered("of the former stream").await;
    // The worker distinguishes streams by the second of their creation.
    sleep(Duration::from_millis(2_500)).await;
    scene.kinesis.delete_stream().stream_name(STREAM).send().await.unwrap();
    scene.create_stream(STREAM, 1).await;
    scene.put("a").await;
    let text = worker.refusal().await;
    check(&text, &["stream orders was created again", "another application name"]);
    check(&scene.start("w").refusal().await, &["was created again", "delete the lease table"]);
    let worker = scene.start_in("new-leases", "w");
    scene.put("b").await;
    scene.until_delivered("a").await;
    scene.until_delivered("b").await;
    worker.stop().await;
}

#[tokio::test]
async fn another_stream_needs_another_table() {
    let scene = Scene::new(1).await;
    scene.create_stream("returns", 1).await;
    scene.put("of orders").await;
    scene.put_to("returns", "of returns").await;
    let worker = scene.start("w");
    scene.until_delivered("of orders").await;
    worker.stop().await;
    let before = scene.leases().await;
    let moved = |table: &str| -> Running {
        let leases = DynamoLeaseStore::new(&scene.aws(), created(table));
        let builder = scene.builder("w").records(records(&scene.aws(), "returns"));
        scene.run("w", builder.leases(leases))
    };
    let text = moved(TABLE).refusal().await;
    check(&text, &["stream/orders", "stream/returns", "another application name"]);
    assert_eq!(scene.leases().await, before);
    let worker = moved("returns-leases");
    scene.until_delivered("of returns").await;
    worker.stop().await;
}

#[tokio::test]
async fn trimmed_unread_records_are_reported() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    worker.stop().await;
    let first = scene.leases().await.remove(0).checkpoint;
    // The state that a worker finds after more than the retention: its checkpoint is trimmed. No
    // record has the sequence number at which a shard starts.
    let gone = beginning(&scene).await;
    checkpoint(&scene, gone).await;
    scene.put("b").await;
    let worker = scene.start("w");
    scene.until_delivered("b").await;
    worker.stop().await;
    let lost = scene.events(|event| {
        if let Event::DataLost { from, to, .. } = event { Some((*from, *to)) } else { None }
    });
    assert_eq!(lost, [(Checkpoint::After(Position::of(gone)), first)]);
}

/// Returns the sequence number at which the only shard starts.
async fn beginning(scene: &Scene) -> SequenceNumber {
    let shards = scene.kinesis.list_shards().stream_name(STREAM).send().await.unwrap();
    let range = shards.shards()[0].sequence_number_range().unwrap();
    range.starting_sequence_number().parse().unwrap()
}

async fn checkpoint(scene: &Scene, sequence: SequenceNumber) {
    let caught_up_at = "1700000000000";
    scene
        .dynamo
        .update_item()
        .table_name(TABLE)
        .key("leaseKey", AttributeValue::S("shardId-000000000000".to_owned()))
        .update_expression("SET checkpoint = :checkpoint, caughtUpAt = :at")
        .expression_attribute_values(":checkpoint", AttributeValue::S(sequence.to_string()))
        .expression_attribute_values(":at", AttributeValue::N(caught_up_at.to_owned()))
        .send()
        .await
        .unwrap();
}
