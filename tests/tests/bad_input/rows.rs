//! Rows that this library did not write, and workers of the same name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::backend::{Clock, SystemClock};
use kcl_core::event::Event;
use kcl_core::model::{Moment, Timestamp};
use kcl_dynamo::DynamoLeaseStore;

use crate::scene::{Scene, TABLE, check, created};

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

type Row = BTreeMap<String, AttributeValue>;

async fn row(scene: &Scene, key: &str) -> Row {
    let get = scene.dynamo.get_item().table_name(TABLE).key("leaseKey", text(key));
    let found = get.consistent_read(true).send().await.unwrap().item;
    found.unwrap_or_default().into_iter().collect()
}

async fn put(scene: &Scene, row: Row) {
    let put = scene.dynamo.put_item().table_name(TABLE);
    put.set_item(Some(row.into_iter().collect())).send().await.unwrap();
}

async fn delete(scene: &Scene, key: &str) {
    let delete = scene.dynamo.delete_item().table_name(TABLE).key("leaseKey", text(key));
    delete.send().await.unwrap();
}

fn unreadable(scene: &Scene, key: &str) -> Option<String> {
    let problem = |event: &Event| {
        if let Event::UnreadableRow { key: of, problem } = event
            && of == key
        {
            Some(problem.clone())
        } else {
            None
        }
    };
    scene.events(problem).pop()
}

const SHARD: &str = "shardId-000000000000";

#[tokio::test]
async fn foreign_rows_and_attributes_are_reported_and_kept() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    worker.stop().await;
    let mut lease = row(&scene, SHARD).await;
    lease.insert("team".to_owned(), text("orders"));
    put(&scene, lease).await;
    let mut alien = Row::from([("leaseKey".to_owned(), text("alien"))]);
    alien.insert("entityType".to_owned(), text("INVOICE"));
    put(&scene, alien.clone()).await;
    let bare = Row::from([("leaseKey".to_owned(), text("bare"))]);
    put(&scene, bare.clone()).await;
    scene.put("b").await;
    let worker = scene.start("w");
    scene.until_delivered("b").await;
    let reported = async |scene: &Scene| unreadable(scene, "alien").is_some();
    scene.until("the unknown row is reported", reported).await;
    worker.stop().await;
    check(&unreadable(&scene, "alien").unwrap(), &["entityType", "INVOICE"]);
    check(&unreadable(&scene, "bare").unwrap(), &["leaseCounter"]);
    assert_eq!(row(&scene, "alien").await, alien);
    assert_eq!(row(&scene, "bare").await, bare);
    assert_eq!(row(&scene, SHARD).await.get("team"), Some(&text("orders")));
}

#[tokio::test]
async fn lease_without_counter_blocks_its_shard_until_deleted() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let worker = scene.start("w");
    scene.until_delivered("a").await;
    worker.stop().await;
    let mut lease = row(&scene, SHARD).await;
    lease.remove("leaseCounter");
    put(&scene, lease).await;
    scene.put("b").await;
    let worker = scene.start("w");
    let reported = async |scene: &Scene| unreadable(scene, SHARD).is_some();
    scene.until("the row is reported", reported).await;
    check(&unreadable(&scene, SHARD).unwrap(), &["leaseCounter"]);
    assert_eq!(scene.delivered(), ["a"]);
    delete(&scene, SHARD).await;
    scene.until_delivered("b").await;
    worker.stop().await;
}

/// The system clock, which the test sets ahead.
#[derive(Clone, Debug, Default)]
struct FastClock(Arc<AtomicU64>);

impl FastClock {
    fn ahead(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for FastClock {
    fn now(&self) -> Moment {
        SystemClock.now() + self.ahead()
    }

    fn time_of_day(&self) -> Timestamp {
        SystemClock.time_of_day()
    }
}

/// Returns a lease as a Java worker writes it before it has processed a record.
fn java(counter: u64) -> Row {
    let row = [
        ("leaseKey", text(SHARD)),
        ("entityType", text("LEASE")),
        ("leaseOwner", text("java-worker")),
        ("leaseCounter", number(counter)),
        ("checkpoint", text("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", number(0)),
        ("ownerSwitchesSinceCheckpoint", number(0)),
        ("startingHashKey", text("0")),
        ("endingHashKey", text(&u128::MAX.to_string())),
    ];
    row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[tokio::test]
async fn live_java_fleet_blocks_the_start() {
    let scene = Scene::new(1).await;
    scene.put("a").await;
    let leases = DynamoLeaseStore::new(&scene.stack.sdk_config(), created(TABLE));
    kcl_core::backend::LeaseStore::prepare(&leases).await.unwrap();
    put(&scene, java(4)).await;
    let clock = FastClock::default();
    let start = || {
        let leases = DynamoLeaseStore::new(&scene.aws(), created(TABLE));
        scene.run("w", scene.builder("w").leases(leases).clock(clock.clone()))
    };
    let waits = |scene: &Scene| {
        let wait = |event: &Event| {
            if let Event::WaitingForJava { seen, .. } = event { Some(seen.clone()) } else { None }
        };
        scene.events(wait)
    };
    let worker = start();
    scene.until("the worker waits", async |scene| waits(scene).len() == 1).await;
    check(&waits(&scene)[0], &[SHARD, "java-worker"]);
    put(&scene, java(5)).await;
    let text = worker.refusal().await;
    check(&text, &["Java KCL workers are using this lease table", SHARD, "stop them"]);
    let items = scene.dynamo.scan().table_name(TABLE).send().await.unwrap();
    assert_eq!(
        (items.count(), row(&scene, SHARD).await),
        (1, java(5)),
        "the worker writes nothing"
    );
    let worker = start();
    scene.until("the worker waits", async |scene| waits(scene).len() == 2).await;
    clock.0.store(91, Ordering::Relaxed);
    scene.until_delivered("a").await;
    worker.stop().await;
}

#[tokio::test]
async fn changing_unreadable_row_blocks_the_start() {
    let scene = Scene::new(1).await;
    let leases = DynamoLeaseStore::new(&scene.stack.sdk_config(), created(TABLE));
    kcl_core::backend::LeaseStore::prepare(&leases).await.unwrap();
    put(&scene, java(4)).await;
    let strange = |content: &str| {
        let row = [("leaseKey", "strange"), ("entityType", "LEASES"), ("content", content)];
        row.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect::<Row>()
    };
    put(&scene, strange("a")).await;
    let worker = scene.start("w");
    let reported = async |scene: &Scene| unreadable(scene, "strange").is_some();
    scene.until("the row is reported", reported).await;
    put(&scene, strange("b")).await;
    let text = worker.refusal().await;
    check(&text, &["are using this lease table", "\"strange\"", "entityType", "changed"]);
    assert_eq!(row(&scene, SHARD).await, java(4), "the worker writes nothing");
}

#[tokio::test]
async fn workers_of_one_name_share_shards_and_report_it() {
    let scene = Scene::new(4).await;
    let one = scene.start("twin");
    let other = scene.start("twin");
    let held = |worker: &crate::scene::Running| worker.handle.status().held.len();
    let shared = async |_: &Scene| held(&one) == 2 && held(&other) == 2;
    scene.until("the shards are shared", shared).await;
    let records: Vec<String> = (0..40).map(|number| format!("r{number}")).collect();
    for record in &records {
        scene.put(record).await;
    }
    for record in &records {
        scene.until_delivered(record).await;
    }
    let reported = |event: &Event| {
        if let Event::NameShared { other } = event { Some(other.name().to_owned()) } else { None }
    };
    scene
        .until("the shared name is reported", async |scene| !scene.events(reported).is_empty())
        .await;
    one.stop().await;
    other.stop().await;
    assert_eq!(scene.delivered().len(), records.len(), "no record is delivered twice");
}
