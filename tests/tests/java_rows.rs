//! Rows of the Java KCL: reads are correct, and writes keep unknown attributes.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::backend::{Conditional, LeaseStore, Page, Reading};
use kcl_core::backend::{LeaseWrite, Progress, WriteKind};
use kcl_core::model::{
    Checkpoint, Lease, LeaseCounter, LeaseKey, Position, SequenceNumber, ShardId, Timestamp,
    WorkerId,
};
use kcl_dynamo::DynamoLeaseStore;
use kcl_tests::dynamodb::DynamoDb;
use serde_json::Value;

type Item = BTreeMap<String, AttributeValue>;

#[tokio::test]
async fn java_leases_are_read_as_written() {
    let server = DynamoDb::embedded().await.unwrap();
    let mut read = 0;
    for path in fixtures("lease-") {
        let json = json(&path);
        let (store, _) = table_with(&server, &[item(&json)]).await;
        let page = store.scan(None, Reading::Eventual).await.unwrap();
        assert_eq!(page.unreadable, [], "{}", path.display());
        let [lease] = &page.leases[..] else { panic!("{}: {page:?}", path.display()) };
        assert_reads(lease, &json, &path);
        assert_eq!(store.get(&lease.key).await.unwrap().as_ref(), Some(lease));
        read += 1;
    }
    assert_eq!(read, 28, "number of fixtures");
}

/// Compares each value with the JSON itself, by other code than the library's.
#[track_caller]
fn assert_reads(lease: &Lease, json: &Value, path: &Path) {
    let text = |name: &str| json[name]["S"].as_str().map(String::from);
    let number = |name: &str| json[name]["N"].as_str().map(|digits| digits.parse::<i64>().unwrap());
    let shards = |name: &str| -> BTreeSet<ShardId> {
        let ids = json[name]["SS"].as_array().into_iter().flatten();
        ids.map(|id| ShardId::from(id.as_str().unwrap())).collect()
    };
    let path = path.display();
    assert_eq!(Some(lease.key.to_string()), text("leaseKey"), "{path}");
    assert_eq!(lease.owner, text("leaseOwner").map(WorkerId::from), "{path}");
    assert_eq!(lease.checkpoint_owner, text("checkpointOwner").map(WorkerId::from), "{path}");
    assert_eq!(i64::try_from(lease.counter.0).ok(), number("leaseCounter"), "{path}");
    let switches = i64::try_from(lease.owner_switches).ok();
    assert_eq!(switches, number("ownerSwitchesSinceCheckpoint"), "{path}");
    assert_eq!(Some(lease.checkpoint.to_text()), text("checkpoint"), "{path}");
    assert_eq!(lease.pending, None, "{path}");
    assert_eq!(lease.parents, shards("parentShardId"), "{path}");
    assert_eq!(lease.children, shards("childShardIds"), "{path}");
    let range = lease.hash_range.unwrap();
    assert_eq!(Some(range.start.to_string()), text("startingHashKey"), "{path}");
    assert_eq!(Some(range.end.to_string()), text("endingHashKey"), "{path}");
    assert_eq!(lease.start_at.map(Timestamp::epoch_millis), number("startAt"), "{path}");
    let expiry = lease.expiry.map(|expiry| i64::try_from(expiry.as_millis()).unwrap());
    assert_eq!(expiry, number("expiryMillis"), "{path}");
    assert!(!lease.is_ours(), "{path}");
}

#[tokio::test]
async fn java_tables_are_read_completely() {
    let server = DynamoDb::embedded().await.unwrap();
    let mut kinds = BTreeMap::<String, usize>::new();
    for path in fixtures("table-scan-") {
        let json = json(&path);
        let items: Vec<Item> = json.as_array().unwrap().iter().map(item).collect();
        let (store, _) = table_with(&server, &items).await;
        let Page { leases, sessions, stream_starts, java, unreadable, next, .. } =
            store.scan(None, Reading::Eventual).await.unwrap();
        assert_eq!(unreadable, [], "{}", path.display());
        assert_eq!((sessions, stream_starts, next), (vec![], vec![], None), "{}", path.display());
        assert_eq!(leases.len() + java.len(), items.len(), "{}", path.display());
        for lease in leases {
            let row = json.as_array().unwrap().iter();
            let row = row.clone().find(|row| row["leaseKey"]["S"] == lease.key.as_str()).unwrap();
            assert_reads(&lease, row, &path);
            *kinds.entry("LEASE".into()).or_default() += 1;
        }
        for row in java {
            let lock = row.entity == "LEADER";
            assert_eq!(row.holds_for, lock.then_some(Duration::from_mins(2)), "{row:?}");
            *kinds.entry(row.entity).or_default() += 1;
        }
    }
    let kinds: Vec<(&str, usize)> = kinds.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    println!("{kinds:?}");
    let entities: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(entities, ["CLIENT_VERSION_MIGRATION", "LEADER", "LEASE", "WORKER_METRIC_STATS"]);
}

/// Changing rows reveal a live Java worker.
#[tokio::test]
async fn changed_java_row_changes_its_fingerprint() {
    let server = DynamoDb::embedded().await.unwrap();
    for (name, attribute, moved) in [
        ("leader-lock", "recordVersionNumber", AttributeValue::S("another".into())),
        ("worker-metrics-no-collector", "lut", AttributeValue::N("1795227546".into())),
        ("client-version-state", "cv", AttributeValue::S("CLIENT_VERSION_2X".into())),
    ] {
        let row = item(&json(&root().join("kcl-3.5.1").join(name).with_extension("json")));
        let (store, client) = table_with(&server, std::slice::from_ref(&row)).await;
        let before = store.scan(None, Reading::Eventual).await.unwrap().java;
        assert_eq!(
            before,
            store.scan(None, Reading::Eventual).await.unwrap().java,
            "{name} stands still"
        );
        let changed = row.into_iter().chain([(attribute.to_owned(), moved)]).collect();
        put(&client, store.table(), &changed).await;
        let after = store.scan(None, Reading::Eventual).await.unwrap().java;
        assert_ne!(before[0].fingerprint, after[0].fingerprint, "{name}");
        assert_eq!(before[0].key, after[0].key);
    }
}

/// A worker takes over a row of Java's, works on it and releases it. It keeps attributes that it
/// does not know.
#[tokio::test]
async fn writes_keep_unknown_java_attributes() {
    let server = DynamoDb::embedded().await.unwrap();
    for path in fixtures("lease-") {
        let before = item(&json(&path));
        let (store, client) = table_with(&server, std::slice::from_ref(&before)).await;
        let lease = store.scan(None, Reading::Eventual).await.unwrap().leases.swap_remove(0);
        let position = Position::of(SequenceNumber::from(7));
        let progress = Some(Progress::to(Checkpoint::After(position), None));
        let taken =
            counter_after(&store, &lease.key, 1, |counter| WriteKind::sample_take(counter, 4))
                .await;
        assert!(taken.is_ours(), "{taken:?}");
        counter_after(&store, &lease.key, 2, |counter| WriteKind::Renew {
            counter,
            next: None,
            progress,
        })
        .await;
        counter_after(&store, &lease.key, 3, |counter| WriteKind::Release {
            counter,
            progress: None,
            unmark: None,
        })
        .await;
        let after = raw(&client, store.table(), lease.key.as_str()).await;
        let named = [
            "leaseOwner",
            "checkpointOwner",
            "leaseCounter",
            "ownerSwitchesSinceCheckpoint",
            "checkpoint",
            "checkpointSubSequenceNumber",
            "expiryMillis",
            "token",
            "lastWrite",
        ];
        let rest = |item: &Item| -> Item {
            let item = item.clone().into_iter();
            item.filter(|(name, _)| !named.contains(&name.as_str())).collect()
        };
        assert_eq!(rest(&after), rest(&before), "{}", path.display());
        assert_eq!(after.get("leaseOwner"), None);
        assert_eq!(after.get("checkpointOwner"), None);
        assert_eq!(after.get("checkpoint"), Some(&AttributeValue::S("7".into())));
        let switches = after.get("ownerSwitchesSinceCheckpoint");
        assert_eq!(switches, Some(&AttributeValue::N("0".into())));
    }
}

/// A row that Java writes to is Java's again, even if attributes of ours remain.
#[tokio::test]
async fn row_last_written_by_java_is_not_ours() {
    let server = DynamoDb::embedded().await.unwrap();
    let path = root().join("kcl-3.5.1/lease-owned-renewed-with-throughput.json");
    let (store, client) = table_with(&server, &[item(&json(&path))]).await;
    let key = LeaseKey::from("shardId-000000000000");
    let ours = counter_after(&store, &key, 1, |counter| WriteKind::sample_take(counter, 1)).await;
    assert!(ours.is_ours());
    // Java's renewal.
    let call = client.update_item().table_name(store.table());
    let call = call.key("leaseKey", AttributeValue::S(key.to_string()));
    let call = call.update_expression("ADD leaseCounter :one");
    let one = AttributeValue::N("1".into());
    call.expression_attribute_values(":one", one).send().await.unwrap();
    let theirs = store.get(&key).await.unwrap().unwrap();
    assert_eq!(theirs.last_write, ours.last_write);
    assert!(!theirs.is_ours());
}

async fn counter_after(
    store: &DynamoLeaseStore,
    key: &LeaseKey,
    number: u64,
    kind: impl FnOnce(LeaseCounter) -> WriteKind,
) -> Lease {
    let counter = store.get(key).await.unwrap().unwrap().counter;
    let worker = WorkerId::from("host-a:000000000000000a");
    let write = LeaseWrite { key: key.clone(), worker, number, kind: kind(counter) };
    match store.write(&write).await.unwrap() {
        Conditional::Applied(lease) => lease,
        Conditional::Lost { found } => panic!("{write:?} was lost to {found:?}"),
    }
}

async fn table_with(server: &DynamoDb, items: &[Item]) -> (DynamoLeaseStore, Client) {
    let (store, client) = (server.store().await.unwrap(), server.client());
    for item in items {
        put(&client, store.table(), item).await;
    }
    (store, client)
}

async fn put(client: &Client, table: &str, item: &Item) {
    let item = item.clone().into_iter().collect();
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}

async fn raw(client: &Client, table: &str, key: &str) -> Item {
    let call = client.get_item().table_name(table);
    let call = call.key("leaseKey", AttributeValue::S(key.to_owned())).consistent_read(true);
    call.send().await.unwrap().item.unwrap().into_iter().collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/java-rows")
}

/// Returns the fixtures of both Java versions whose names begin with `prefix`.
fn fixtures(prefix: &str) -> Vec<PathBuf> {
    let folders = ["kcl-2.7", "kcl-3.5.1"].map(|version| root().join(version));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    paths.sort();
    paths
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Converts raw DynamoDB JSON to an item.
fn item(json: &Value) -> Item {
    json.as_object().unwrap().iter().map(|(name, it)| (name.clone(), attribute(it))).collect()
}

fn attribute(json: &Value) -> AttributeValue {
    let (kind, value) = json.as_object().unwrap().iter().next().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text(value)),
        "N" => AttributeValue::N(text(value)),
        "SS" => AttributeValue::Ss(value.as_array().unwrap().iter().map(text).collect()),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
        "M" => AttributeValue::M(item(value).into_iter().collect()),
        other => panic!("the fixtures have no attribute of type {other}"),
    }
}
