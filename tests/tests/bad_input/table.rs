//! Tables that are missing, wrong, not ready, or deleted.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use kcl_dynamo::DynamoLeaseStore;

use crate::gate::Verdict;
use crate::scene::{Scene, TABLE, check, hasty};

async fn create_table(scene: &Scene, table: &str, key: &str) {
    let attribute = AttributeDefinition::builder()
        .attribute_name(key)
        .attribute_type(ScalarAttributeType::S)
        .build();
    let element = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash).build();
    scene
        .dynamo
        .create_table()
        .table_name(table)
        .attribute_definitions(attribute.unwrap())
        .key_schema(element.unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
}

fn start_in_existing(scene: &Scene, table: &str) -> crate::scene::Running {
    let leases = DynamoLeaseStore::new(&scene.aws(), hasty(table));
    scene.run("w", scene.builder("w").leases(leases))
}

#[tokio::test]
async fn missing_table_is_named_with_the_remedy() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let text = start_in_existing(&scene, TABLE).refusal().await;
    check(
        &text,
        &["\"leases\" does not exist", "string hash key \"leaseKey\"", "allow its creation"],
    );
    create_table(&scene, TABLE, "leaseKey").await;
    let worker = start_in_existing(&scene, TABLE);
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn table_with_another_key_is_refused() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    create_table(&scene, TABLE, "orderId").await;
    let text = scene.start("w").refusal().await;
    check(&text, &["\"leases\" is not a lease table", "\"orderId\" (S)", "\"leaseKey\""]);
    let items = scene.dynamo.scan().table_name(TABLE).send().await.unwrap();
    assert_eq!(items.count(), 0);
    let worker = scene.start_in("other-leases", "w");
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn table_being_created_is_awaited() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    create_table(&scene, TABLE, "leaseKey").await;
    let creating = Verdict::Reword("\"ACTIVE\"", "\"CREATING\"");
    scene.gate.only("dynamodb:DescribeTable", creating);
    let brief = hasty(TABLE).with_prepare_timeout(std::time::Duration::from_secs(1));
    let leases = DynamoLeaseStore::new(&scene.aws(), brief);
    let worker = scene.run("w", scene.builder("w").leases(leases));
    scene.until_reported(&["\"leases\" is CREATING, not ready"]).await;
    assert!(scene.delivered().is_empty());
    scene.gate.open();
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn table_that_seems_missing_at_work_is_looked_for_again() {
    for calls in [1, 4] {
        let scene = Scene::new(1).await;
        scene.put("a").await;
        let worker = scene.start("w");
        scene.until_delivered("a").await;
        scene.gate.miss("dynamodb:Scan", calls);
        scene.until_reported(&["\"leases\" does not exist"]).await;
        scene.put("b").await;
        scene.until_delivered("b").await;
        worker.stop().await;
    }
}

/// As on AWS for some seconds after `CreateTable`.
#[tokio::test]
async fn new_table_that_seems_missing_is_looked_for_again() {
    for action in ["dynamodb:Scan", "dynamodb:PutItem", "dynamodb:UpdateItem"] {
        let scene = Scene::new(1).await;
        scene.put("a").await;
        scene.gate.miss(action, 3);
        let worker = scene.start("w");
        scene.until_delivered("a").await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn deleted_table_ends_the_worker() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    scene.dynamo.delete_table().table_name(TABLE).send().await.unwrap();
    check(&worker.refusal_after_a_minute().await, &["\"leases\" does not exist"]);
    scene.put("b").await;
    let worker = scene.start("next");
    scene.until_delivered("b").await;
    worker.stop().await;
}
