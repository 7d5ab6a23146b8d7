//! Missing permissions and credentials, at the start and while a worker runs.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::config::Liveness;
use kcl_dynamo::DynamoLeaseStore;
use tokio::time::Instant;

use crate::gate::Verdict;
use crate::scene::{Running, Scene, TABLE, check, created, records, settings};

#[tokio::test]
async fn denied_action_at_start_ends_the_worker() {
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

/// Denies an action to a running worker until it reports the error. No record is lost.
async fn check_denied_at_work(action: &'static str) {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    scene.gate.deny(action);
    scene.put("b").await;
    scene.until_reported(&["access denied to", action, "grant it to this worker's role"]).await;
    scene.gate.open();
    scene.put("c").await;
    scene.until_delivered("b").await;
    scene.until_delivered("c").await;
    worker.stop().await;
    let delivered = scene.delivered();
    assert!(delivered.is_sorted(), "{action}: {delivered:?}");
}

#[tokio::test]
async fn denied_renewals_are_reported() {
    check_denied_at_work("dynamodb:UpdateItem").await;
}

#[tokio::test]
async fn denied_scans_are_reported() {
    check_denied_at_work("dynamodb:Scan").await;
}

#[tokio::test]
async fn denied_reads_are_reported() {
    check_denied_at_work("kinesis:GetRecords").await;
}

#[tokio::test]
async fn denied_shard_lists_are_reported() {
    check_denied_at_work("kinesis:ListShards").await;
}

#[tokio::test]
async fn denied_descriptions_are_reported() {
    check_denied_at_work("kinesis:DescribeStreamSummary").await;
}

#[tokio::test]
async fn denied_iterators_are_reported() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    scene.gate.deny("kinesis:GetShardIterator");
    let worker = scene.start("w");
    scene.until_reported(&["access denied to kinesis:GetShardIterator", "grant it"]).await;
    scene.gate.open();
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn denied_consistent_reads_only_delay_a_handover() {
    let scene = Scene::new(2).await;
    let one = scene.start("one");
    let mut handle = one.handle.clone();
    while handle.changed().await.is_some_and(|status| status.held.len() < 2) {}
    scene.gate.deny("dynamodb:GetItem");
    let other = scene.start("other");
    scene.until_reported(&["access denied to dynamodb:GetItem", "grant it"]).await;
    scene.gate.open();
    let shared = async |_: &Scene| other.handle.status().held.len() == 1;
    scene.until("the other one has its share", shared).await;
    one.stop().await;
    other.stop().await;
}

/// In a fleet with sessions whose table is so large that two workers are to read it for all.
#[tokio::test]
async fn worker_that_may_not_read_batches_scans() {
    let scene = Scene::new(3).await;
    scene.gate.deny("dynamodb:BatchGetItem");
    let start = |name| {
        let mut config = settings();
        (config.lease.liveness, config.lease.lookouts) = (Liveness::Session, true);
        let leases = DynamoLeaseStore::new(&scene.aws(), created(TABLE));
        scene.run(name, scene.builder(name).config(config).leases(leases))
    };
    let one = start("one");
    scene.until("it holds all", async |_: &Scene| one.handle.status().held.len() == 3).await;
    let note = AttributeValue::S("n".repeat(200_000));
    let key = scene.leases().await.swap_remove(0).key;
    let update = scene.dynamo.update_item().table_name(TABLE);
    let update = update.key("leaseKey", AttributeValue::S(key.to_string()));
    let update = update.update_expression("SET note = :note");
    update.expression_attribute_values(":note", note).send().await.unwrap();
    scene.until_reported(&["access denied to dynamodb:BatchGetItem", "grant it"]).await;
    let others = [start("two"), start("three")];
    let has_share = |worker: &Running| worker.handle.status().held.len() == 1;
    let is_fair = async |_: &Scene| has_share(&one) && others.iter().all(has_share);
    scene.until("each has its share", is_fair).await;
    for worker in others.into_iter().chain([one]) {
        worker.stop().await;
    }
}

#[tokio::test]
async fn denied_deletions_do_not_block_shutdown() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    scene.gate.deny("dynamodb:DeleteItem");
    worker.stop().await;
    assert!(scene.has_reported(&["access denied to dynamodb:DeleteItem", "grant it"]));
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
async fn missing_credentials_end_the_worker() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let none = without_credentials(scene.aws());
    let leases = DynamoLeaseStore::new(&none, created("leases"));
    let text = scene.run("w", scene.builder("w").leases(leases)).refusal().await;
    check(&text, &["no credentials are configured for lease table \"leases\"", "configuration"]);
    let leases = DynamoLeaseStore::new(&scene.aws(), created("leases"));
    let builder = scene.builder("w").records(records(&none, "orders")).leases(leases);
    let text = scene.run("w", builder).refusal().await;
    check(&text, &["no credentials are configured for stream \"orders\"", "configuration"]);
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    worker.stop().await;
}

/// Has no credentials for the first seconds.
#[derive(Debug)]
struct Late(Instant);

impl ProvideCredentials for Late {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(if self.0.elapsed() < Duration::from_secs(3) {
            Err(CredentialsError::not_loaded("the agent does not answer yet"))
        } else {
            Ok(Credentials::new("test", "test", None, None, "late"))
        })
    }
}

#[tokio::test]
async fn late_credentials_are_waited_for() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let late = SharedCredentialsProvider::new(Late(Instant::now()));
    let mut aws = scene.aws().into_builder();
    aws.set_credentials_provider(Some(late));
    let aws = aws.build();
    let leases = DynamoLeaseStore::new(&aws, created("leases"));
    let builder = scene.builder("w").records(records(&aws, "orders")).leases(leases);
    let worker = scene.run("w", builder);
    scene.until_reported(&["no valid credentials", "\"leases\"", "agent does not answer"]).await;
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn codes_of_a_wrong_clock_are_retried() {
    for code in ["RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"] {
        let scene = Scene::new(1).await;
        scene.put("a").await;
        scene.gate.only("dynamodb:DescribeTable", Verdict::Refuse(code));
        let worker = scene.start("w");
        scene.until_reported(&["lease table \"leases\"", "machine's clock", code]).await;
        scene.gate.only("kinesis:DescribeStreamSummary", Verdict::Refuse(code));
        scene.until_reported(&["stream \"orders\"", "machine's clock", code]).await;
        scene.gate.open();
        scene.until_delivered("a").await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn expired_credentials_are_reported() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    scene.gate.rule(|_| Verdict::Refuse("ExpiredTokenException"));
    scene.put("b").await;
    scene.until_reported(&["no valid credentials for lease table \"leases\""]).await;
    scene.until_reported(&["no valid credentials for stream \"orders\""]).await;
    scene.gate.open();
    scene.until_delivered("b").await;
    worker.stop().await;
    assert!(scene.delivered().is_sorted());
}
