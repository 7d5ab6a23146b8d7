//! Permissions and credentials that are missing: at the start, and while a worker is at work.

use aws_config::SdkConfig;
use kcl_dynamo::DynamoLeaseStore;

use crate::gate::Verdict;
use crate::scene::{Scene, check, created, records};

#[tokio::test]
async fn each_action_denied_at_the_start_ends_the_worker_and_is_named() {
    for action in [
        "dynamodb:DescribeTable",
        "dynamodb:CreateTable",
        "dynamodb:Scan",
        "dynamodb:UpdateItem",
        "dynamodb:PutItem",
        "kinesis:DescribeStreamSummary",
        "kinesis:ListShards",
    ] {
        let scene = Scene::new(1).await;
        scene.put("a").await;
        scene.gate.deny(action);
        let text = scene.start("w").refusal().await;
        let what = if action.starts_with("kinesis") { "\"orders\"" } else { "\"leases\"" };
        check(&text, &["access denied to", action, what, "grant it to this worker's role"]);
        scene.gate.open();
        let worker = scene.start("w");
        scene.until_delivered("a").await;
        worker.stop().await;
    }
}

/// Denies an action to a worker at work until it says so; nothing of what comes meanwhile is lost.
async fn denied_at_work(action: &'static str) {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    scene.gate.deny(action);
    scene.put("b").await;
    scene.until_said(&["access denied to", action, "grant it to this worker's role"]).await;
    scene.gate.open();
    scene.put("c").await;
    scene.until_delivered("b").await;
    scene.until_delivered("c").await;
    worker.stop().await;
    let delivered = scene.delivered();
    assert!(delivered.is_sorted(), "{action}: {delivered:?}");
}

#[tokio::test]
async fn renewals_that_are_denied_at_work_are_told_and_cost_no_record() {
    denied_at_work("dynamodb:UpdateItem").await;
}

#[tokio::test]
async fn scans_that_are_denied_at_work_are_told_and_cost_no_record() {
    denied_at_work("dynamodb:Scan").await;
}

#[tokio::test]
async fn reads_that_are_denied_at_work_are_told_and_cost_no_record() {
    denied_at_work("kinesis:GetRecords").await;
}

#[tokio::test]
async fn shard_lists_that_are_denied_at_work_are_told_and_cost_no_record() {
    denied_at_work("kinesis:ListShards").await;
}

#[tokio::test]
async fn descriptions_that_are_denied_at_work_are_told_and_cost_no_record() {
    denied_at_work("kinesis:DescribeStreamSummary").await;
}

#[tokio::test]
async fn iterators_that_are_denied_are_told_and_cost_no_record() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    scene.gate.deny("kinesis:GetShardIterator");
    let worker = scene.start("w");
    scene.until_said(&["access denied to kinesis:GetShardIterator", "grant it"]).await;
    scene.gate.open();
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn consistent_reads_that_are_denied_are_told_and_only_delay_a_hand_over() {
    let scene = Scene::new(2).await;
    let one = scene.start("one");
    let mut handle = one.handle.clone();
    while handle.changed().await.held.len() < 2 {}
    scene.gate.deny("dynamodb:GetItem");
    let other = scene.start("other");
    scene.until_said(&["access denied to dynamodb:GetItem", "grant it"]).await;
    scene.gate.open();
    let shared = async |_: &Scene| other.handle.status().held.len() == 1;
    scene.until("the other one has its share", shared).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn deletions_that_are_denied_are_told_and_keep_no_worker_from_stopping() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    scene.gate.deny("dynamodb:DeleteItem");
    worker.stop().await;
    assert!(scene.has_said(&["access denied to dynamodb:DeleteItem", "grant it"]));
    scene.put("b").await;
    let worker = scene.start("next");
    scene.until_delivered("b").await;
    worker.stop().await;
    assert_eq!(scene.delivered(), ["a", "b"]);
}

fn without_credentials(aws: SdkConfig) -> SdkConfig {
    let mut builder = aws.into_builder();
    builder.set_credentials_provider(None);
    builder.build()
}

#[tokio::test]
async fn missing_credentials_end_the_worker_and_say_where_to_look() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let none = without_credentials(scene.aws());
    let leases = DynamoLeaseStore::new(&none, created("leases"));
    let text = scene.run("w", scene.builder("w").leases(leases)).refusal().await;
    check(&text, &["no valid credentials for lease table \"leases\"", "role", "environment"]);
    let leases = DynamoLeaseStore::new(&scene.aws(), created("leases"));
    let builder = scene.builder("w").records(records(&none, "orders")).leases(leases);
    let text = scene.run("w", builder).refusal().await;
    check(&text, &["no valid credentials for stream \"orders\"", "role", "environment"]);
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn credentials_that_expire_at_work_are_told_and_cost_no_record() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    scene.gate.rule(|_| Verdict::Refuse("ExpiredTokenException"));
    scene.put("b").await;
    scene.until_said(&["no valid credentials for lease table \"leases\""]).await;
    scene.until_said(&["no valid credentials for stream \"orders\""]).await;
    scene.gate.open();
    scene.until_delivered("b").await;
    worker.stop().await;
    assert!(scene.delivered().is_sorted());
}
