//! Lease stores keep the contract: memory, the embedded DynamoDB, and DynamoDB Local.

#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::backend::{Bulletin, Change, LeaseWrite, Progress, Publication, WriteKind};
use kcl_core::backend::{Conditional, LeaseStore, LeaseStoreError, Reading};
use kcl_core::model::{
    Checkpoint, HashKeyRange, Lease, LeaseCounter, LeaseKey, NewLease, PendingCheckpoint, Position,
    Presence, SequenceNumber, ShardId, StartPosition, StreamStart, Timestamp, WorkerId,
};
use kcl_core::testing::lease_store::{a_scan_finds_every_row, check, pages};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_sim::memory::MemoryLeaseStore;
use kcl_tests::dynamodb::{DynamoDb, unique_table};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

#[tokio::test]
async fn memory_keeps_the_contract() {
    check(async || held(MemoryLeaseStore::new())).await;
    check(async || held(MemoryLeaseStore::new().with_page_rows(1))).await;
}

#[test]
fn memory_matches_the_model_on_random_writes() {
    let runtime = Runtime::new().unwrap();
    random_writes(&runtime, 64, async || Arc::new(MemoryLeaseStore::new()));
}

#[test]
fn the_embedded_dynamodb_keeps_the_contract() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(DynamoDb::embedded()).unwrap();
    whole_contract(&runtime, &server, 12);
}

#[test]
fn dynamodb_local_keeps_the_contract() {
    let runtime = Runtime::new().unwrap();
    // A container is removed by the runtime within which it is dropped.
    let _within = runtime.enter();
    let Some(server) = runtime.block_on(DynamoDb::real()).unwrap() else {
        println!("skipped: set KCL_TEST_DYNAMODB=http://... or KCL_TEST_CONTAINERS=1");
        return;
    };
    whole_contract(&runtime, &server, 150);
}

fn whole_contract(runtime: &Runtime, server: &DynamoDb, cases: u32) {
    runtime.block_on(async {
        check(async || held(server.store().await.unwrap())).await;
        a_large_table_takes_several_pages(server).await;
        unknown_attributes_are_kept(server).await;
        java_stream_rows_are_kept(server).await;
        a_bulletin_is_stored_in_its_attributes(server).await;
        a_worker_named_like_a_shard_harms_no_lease(server).await;
        workers_may_create_the_table_at_once(server).await;
    });
    random_writes(runtime, cases, async || Arc::new(server.store().await.unwrap()));
}

/// Checks what the suite's scan relies on: its rows do not fit on one page.
async fn a_large_table_takes_several_pages(server: &DynamoDb) {
    let store = server.store().await.unwrap();
    a_scan_finds_every_row(&store).await;
    let pages = pages(&store).await;
    assert!(pages.len() > 1, "one page of {} leases", pages[0].leases.len());
    let leases: Vec<usize> = pages.iter().map(|page| page.leases.len()).collect();
    assert_eq!(leases.iter().sum::<usize>(), 30, "{leases:?}");
    let units: f64 = pages.iter().map(|page| page.read_units).sum();
    // 30 leases of 60 kB, at a unit for 4 kB of a consistent scan.
    assert!((400.0..600.0).contains(&units), "{units} read units");
    let page = store.scan(None, Reading::Eventual).await.unwrap();
    let half = pages[0].read_units / 2.0;
    assert!((half - 1.0..half + 1.0).contains(&page.read_units), "{half} {}", page.read_units);
}

async fn unknown_attributes_are_kept(server: &DynamoDb) {
    let store = server.store().await.unwrap();
    let client = server.client();
    let key = LeaseKey::from("shardId-000000000000");
    let mut number = 0;
    let mut write = async |worker: &str, kind| {
        number += 1;
        let write = LeaseWrite { key: key.clone(), worker: worker.into(), number, kind };
        match store.write(&write).await.unwrap() {
            Conditional::Applied(lease) => lease.counter,
            Conditional::Lost { found } => panic!("{write:?} was lost to {found:?}"),
        }
    };
    let unknown = [
        ("throughputKBps", AttributeValue::N("5.174823".into())),
        ("note", AttributeValue::M([("by".into(), AttributeValue::Null(true))].into())),
    ];
    let mut counter = write("a", WriteKind::Create(new_lease(&key))).await;
    for (name, value) in &unknown {
        set_attribute(&client, store.table(), key.as_str(), name, value.clone()).await;
    }
    let a = || WorkerId::from("a");
    let begin = |counter| WriteKind::BeginHandover { counter, victim: a() };
    let steps: [(&str, &(dyn Fn(LeaseCounter) -> WriteKind + Sync)); 11] = [
        ("a", &|counter| WriteKind::sample_take(counter, 1)),
        ("a", &|counter| WriteKind::Renew { counter, next: None, progress: Some(prepared(true)) }),
        ("b", &begin),
        ("a", &|counter| WriteKind::CancelHandover { counter }),
        ("b", &begin),
        ("b", &|counter| WriteKind::Withdraw { counter, victim: a() }),
        ("b", &begin),
        ("a", &|counter| WriteKind::CompleteHandover {
            counter,
            next: "b".into(),
            progress: None,
            unmark: None,
        }),
        ("b", &|counter| WriteKind::Release { counter, progress: None, unmark: None }),
        ("b", &|counter| WriteKind::sample_take(counter, 2)),
        ("b", &|counter| WriteKind::EndShard {
            counter,
            next: None,
            children: [].into(),
            unmark: None,
        }),
    ];
    for (worker, kind) in steps {
        let kind = kind(counter);
        let context = format!("{kind:?}");
        counter = write(worker, kind).await;
        let item = raw_item(&client, store.table(), key.as_str()).await.unwrap();
        for (name, value) in &unknown {
            assert_eq!(item.get(*name), Some(value), "after {context}");
        }
    }
}

/// Checks that a row in which Java stores a stream's id becomes ours too, and keeps the id.
async fn java_stream_rows_are_kept(server: &DynamoDb) {
    let store = server.store().await.unwrap();
    let client = server.client();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let java = [("leaseKey", "orders"), ("entityType", "STREAM"), ("streamId", "java-saw-this")];
    let mut put = client.put_item().table_name(store.table());
    for (name, value) in java {
        put = put.item(name, text(value));
    }
    put.send().await.unwrap();
    let page = store.scan(None, Reading::Eventual).await.unwrap();
    assert_eq!(page.java.len(), 1, "{page:?}");
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into();
    let created = Timestamp::from_epoch_millis(1_700_000_000_000);
    let mut start = StreamStart::new("orders".into(), arn, created, StartPosition::TrimHorizon);
    start.id = Some("another-stream-of-that-name".into());
    assert_eq!(store.stream_start(&start.stream).await.unwrap(), None);
    let row = raw_item(&client, store.table(), "orders").await;
    let publication = publication(0, &[], &["a"]);
    assert_eq!(store.publish(&start.stream, &publication).await.unwrap(), None);
    store.ring(&start.stream, &["a".to_owned()].into()).await.unwrap();
    assert_eq!(raw_item(&client, store.table(), "orders").await, row, "the row is Java's alone");
    let stored = store.create_stream_start(&start).await.unwrap();
    assert_eq!(stored.id.as_deref(), Some("java-saw-this"));
    assert_eq!(store.stream_start(&start.stream).await.unwrap(), Some(stored));
}

/// Checks the attributes of a bulletin, which is empty if there are none.
async fn a_bulletin_is_stored_in_its_attributes(server: &DynamoDb) {
    let store = server.store().await.unwrap();
    let client = server.client();
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into();
    let created = Timestamp::from_epoch_millis(1_700_000_000_000);
    let start = StreamStart::new("orders".into(), arn, created, StartPosition::TrimHorizon);
    let stored = store.create_stream_start(&start).await.unwrap();
    assert_eq!(stored.bulletin, Bulletin::EMPTY);
    let bare = raw_item(&client, store.table(), "orders").await.unwrap();
    store.ring(&start.stream, &["a".to_owned(), "b".to_owned()].into()).await.unwrap();
    store.publish(&start.stream, &publication(0, &[("1", "you:1")], &["b"])).await.unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let with = |attributes: &[(&str, AttributeValue)]| {
        let mut row = bare.clone();
        row.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        row
    };
    let full = with(&[
        ("bulletin", AttributeValue::N("1".into())),
        ("bulletinBy", text("me:1")),
        ("moves", AttributeValue::B(Blob::new(b"\x01\x05you:1\x01\x021"))),
        ("scan", AttributeValue::Bool(true)),
        ("news", AttributeValue::Ss(vec!["a".into()])),
    ]);
    assert_eq!(raw_item(&client, store.table(), "orders").await, Some(full));
    store.publish(&start.stream, &publication(1, &[], &["a"])).await.unwrap();
    let number = ("bulletin", AttributeValue::N("2".into()));
    let empty = with(&[number, ("bulletinBy", text("me:1"))]);
    assert_eq!(raw_item(&client, store.table(), "orders").await, Some(empty));
}

/// Checks that a worker's row never overwrites a lease: all rows share one key space.
async fn a_worker_named_like_a_shard_harms_no_lease(server: &DynamoDb) {
    let store = server.store().await.unwrap();
    let key = LeaseKey::from("shardId-000000000000");
    let kind = WriteKind::Create(new_lease(&key));
    let write = LeaseWrite { key: key.clone(), worker: "a".into(), number: 1, kind };
    let Conditional::Applied(lease) = store.write(&write).await.unwrap() else { panic!("lost") };
    let worker = WorkerId::from(key.as_str());
    let presence = Presence::new(worker.clone(), 1, Duration::from_secs(10), Timestamp::default());
    for refused in [store.put_presence(&presence).await, store.delete_presence(&worker, None).await]
    {
        assert!(matches!(refused, Err(LeaseStoreError::Unreadable { .. })), "{refused:?}");
    }
    assert_eq!(store.get(&key).await.unwrap(), Some(lease));
}

async fn workers_may_create_the_table_at_once(server: &DynamoDb) {
    for _ in 0..3 {
        let setup = TableSetup::CreateIfMissing(NewTable::default());
        let config = DynamoLeaseStoreConfig::new(unique_table()).with_setup(setup);
        let stores = [(); 4].map(|()| DynamoLeaseStore::new(&server.sdk(), config.clone()));
        let [a, b, c, d] = &stores;
        tokio::try_join!(a.prepare(), b.prepare(), c.prepare(), d.prepare()).unwrap();
        assert_eq!(d.scan(None, Reading::Eventual).await.unwrap().leases, []);
    }
}

/// A write whose counter and workers depend on the row.
#[derive(Clone, Debug)]
struct Step {
    key: usize,
    worker: Who,
    other: Who,
    kind: usize,
    behind: u64,
    progress: usize,
    /// Whether to search for the next kind of write that the row allows.
    plausible: bool,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Owner,
    CheckpointOwner,
    Nth(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || {
        prop_oneof![
            3 => Just(Who::Owner),
            2 => Just(Who::CheckpointOwner),
            2 => (0..3_usize).prop_map(Who::Nth),
        ]
    };
    let behind = prop_oneof![6 => Just(0_u64), 1 => 1..3_u64, 1 => Just(u64::MAX)];
    let shape = (0..2_usize, 0..12_usize, 0..4_usize, prop::bool::weighted(0.6));
    let step = (shape, who(), who(), behind).prop_map(|(shape, worker, other, behind)| {
        let (key, kind, progress, plausible) = shape;
        Step { key, worker, other, kind, behind, progress, plausible }
    });
    vec(step, 1..50)
}

impl Step {
    fn write(&self, row: Option<&Lease>, number: u64) -> LeaseWrite {
        let others = [self.other, Who::Owner, Who::CheckpointOwner, Who::Nth(0)];
        let plain = self.resolved(row, number);
        let mut allowed = (self.kind..self.kind + 12).flat_map(|kind| {
            let workers = [self.worker, Who::Owner, Who::CheckpointOwner, Who::Nth(1)];
            workers.into_iter().flat_map(move |worker| {
                others.map(|other| Self { kind: kind % 12, worker, other, behind: 0, ..*self })
            })
        });
        let allow = |step: Self| Some(step.resolved(row, number)).filter(|it| it.is_allowed(row));
        if self.plausible { allowed.find_map(allow).unwrap_or(plain) } else { plain }
    }

    fn resolved(&self, row: Option<&Lease>, number: u64) -> LeaseWrite {
        let key = LeaseKey::from(format!("shardId-{:012}", self.key));
        let resolve = |who| match who {
            Who::Owner => row.and_then(|row| row.owner.clone()),
            Who::CheckpointOwner => row.and_then(|row| row.checkpoint_owner.clone()),
            Who::Nth(n) => Some(WorkerId::from(["a:1", "b:2", "c/d:3"][n])),
        };
        let worker = resolve(self.worker).unwrap_or_else(|| "a:1".into());
        let other = resolve(self.other);
        let victim = other.clone().unwrap_or_else(|| "b:2".into());
        let now = row.map_or(0, |row| row.counter.0);
        // Past, present and future counters.
        let counter = LeaseCounter(now.wrapping_sub(self.behind));
        let progress = match self.progress {
            0 => None,
            1 => Some(prepared(false)),
            2 => Some(prepared(true)),
            _ => {
                let position =
                    Position { sequence: SequenceNumber::from(u128::MAX), sub_sequence: number };
                let caught_up_at =
                    number.is_multiple_of(2).then(|| Timestamp::from_epoch_millis(-5));
                Some(Progress::to(Checkpoint::After(position), caught_up_at))
            }
        };
        let kind = match self.kind {
            0 => WriteKind::Create(new_lease(&key)),
            1 => WriteKind::sample_take(counter, number),
            2 | 3 => WriteKind::Renew { counter, next: other, progress },
            4 => WriteKind::BeginHandover { counter, victim },
            5 => WriteKind::CompleteHandover { counter, next: victim, progress, unmark: None },
            6 => WriteKind::CancelHandover { counter },
            7 => WriteKind::Withdraw { counter, victim },
            8 => WriteKind::Release { counter, progress, unmark: None },
            9 => {
                let children: Vec<ShardId> =
                    (0..self.progress).map(|n| format!("shard-{n}").into()).collect();
                WriteKind::EndShard {
                    counter,
                    next: other,
                    children: children.into_iter().collect(),
                    unmark: None,
                }
            }
            10 => WriteKind::DeleteEnded { counter },
            _ => WriteKind::DeleteUntouched,
        };
        LeaseWrite { key, worker, number, kind }
    }
}

/// Checks that the store and the model return the same for each write, and end with the same
/// table.
fn random_writes<S: LeaseStore>(runtime: &Runtime, cases: u32, make: impl AsyncFn() -> Arc<S>) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let counts = std::cell::Cell::new((0_u32, 0_u32));
    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(async {
            let store = make().await;
            let mut model: BTreeMap<LeaseKey, Lease> = BTreeMap::new();
            for (number, step) in (1..).zip(steps) {
                let key = LeaseKey::from(format!("shardId-{:012}", step.key));
                let row = model.get(&key).cloned();
                let write = step.write(row.as_ref(), number);
                let answer = store.write(&write).await.unwrap();
                let (made, lost) = counts.get();
                let expected = if let Some(after) = write.apply(row.as_ref()) {
                    counts.set((made + 1, lost));
                    model.remove(&key);
                    model.extend(after.clone().map(|after| (key, after)));
                    Conditional::Applied(after.or_else(|| row.clone()).unwrap())
                } else {
                    counts.set((made, lost + 1));
                    Conditional::Lost { found: row.clone() }
                };
                prop_assert_eq!(answer, expected, "{:?}\non {:?}", write, row);
            }
            let pages = pages(&*store).await;
            let leases = pages.into_iter().flat_map(|page| page.leases);
            let table: BTreeMap<_, _> = leases.map(|lease| (lease.key.clone(), lease)).collect();
            prop_assert_eq!(table, model);
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let (made, lost) = counts.get();
    println!("{made} writes made, {lost} lost");
    assert!(
        made * 3 > lost && lost * 3 > made,
        "one outcome is too rare: {made} made, {lost} lost"
    );
}

fn publication(number: u64, moves: &[(&str, &str)], heard: &[&str]) -> Publication {
    let moves = moves.iter().map(|(key, to)| (LeaseKey::from(*key), WorkerId::from(*to)));
    let heard = heard.iter().copied().map(String::from).collect();
    Publication {
        number,
        by: "me:1".into(),
        second: None,
        moves: moves.collect(),
        scan: number == 0,
        heard,
    }
}

fn new_lease(key: &LeaseKey) -> NewLease {
    NewLease::new(key.clone(), Checkpoint::TrimHorizon, HashKeyRange::FULL)
}

fn prepared(with_state: bool) -> Progress {
    let checkpoint = Checkpoint::After(Position::of(SequenceNumber::from(7)));
    let state = with_state.then(|| vec![0, 255].into());
    Progress {
        checkpoint: None,
        pending: Change::Set(PendingCheckpoint { checkpoint, state }),
        caught_up_at: None,
    }
}

async fn set_attribute(client: &Client, table: &str, key: &str, name: &str, to: AttributeValue) {
    let call = client.update_item().table_name(table);
    let call = call.key("leaseKey", AttributeValue::S(key.to_owned()));
    let call = call.update_expression("SET #name = :value");
    let call = call.expression_attribute_names("#name", name);
    call.expression_attribute_values(":value", to).send().await.unwrap();
}

async fn raw_item(
    client: &Client,
    table: &str,
    key: &str,
) -> Option<BTreeMap<String, AttributeValue>> {
    let call = client.get_item().table_name(table);
    let call = call.key("leaseKey", AttributeValue::S(key.to_owned())).consistent_read(true);
    call.send().await.unwrap().item.map(|item| item.into_iter().collect())
}

/// Returns a store as the engine holds it.
fn held(store: impl LeaseStore) -> Arc<dyn LeaseStore> {
    Arc::new(store)
}
