//! A process that is killed while it bisects a batch.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kcl_core::model::Position;
use kcl_tests::fleet::{Fleet, until};
use rustix::process::Signal;
use serde_json::Value;

const WORKER: &str = env!("CARGO_BIN_EXE_fleet_worker");

const POISON: &str = "key.13";

const LIMIT: Duration = Duration::from_secs(30);

/// Puts the records `key.1` to `key.16` in one call, so that one batch holds them.
async fn put(fleet: &Fleet) -> BTreeSet<String> {
    let ids: Vec<_> = (1..=16).map(|number| format!("key.{number}")).collect();
    let entry = |id: &String| {
        PutRecordsRequestEntry::builder().partition_key("key").data(Blob::new(id.as_str())).build()
    };
    let entries = ids.iter().map(entry).collect::<Result<Vec<_>, _>>().unwrap();
    let put = fleet.kinesis().put_records().stream_name(fleet.stream());
    put.set_records(Some(entries)).send().await.unwrap();
    ids.into_iter().collect()
}

/// Returns the position of the stored checkpoint.
async fn stored(fleet: &Fleet) -> Option<Position> {
    fleet.leases().await.unwrap().first()?.checkpoint.position()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_during_bisection_repeats_only_unstored_records() {
    let folder = tempfile::tempdir().unwrap();
    let letters = folder.path().join("dead.jsonl");
    let policy = ["--poison", POISON, "--dead-letter", letters.to_str().unwrap()];
    // The bisection takes several pauses, a renewal much less than one.
    let extra = [&policy[..], &["--failover-ms", "2000", "--retry-ms", "1000"]].concat();
    let mut fleet = Fleet::start(Path::new(WORKER), 1, &extra).await.unwrap();
    let produced = put(&fleet).await;
    fleet.spawn("a").unwrap();
    until("some progress is stored", LIMIT, async || Ok(stored(&fleet).await.is_some()))
        .await
        .unwrap();
    fleet.signal("a", Signal::KILL).unwrap();
    fleet.gone("a", LIMIT).await.unwrap();
    assert!(!letters.exists(), "the bisection ended before the process was killed");
    let stored = stored(&fleet).await.unwrap();

    fleet.spawn("b").unwrap();
    let neighbours = &produced - &BTreeSet::from([POISON.to_owned()]);
    let audit = fleet.delivered(&neighbours, LIMIT).await.unwrap();
    assert!(!audit.ids().contains(POISON));
    let by_b: Vec<_> = audit.by("b").map(|it| Position::of(it.sequence)).collect();
    assert!(by_b.iter().all(|position| *position > stored), "{by_b:?} after {stored}");
    let text = fs::read_to_string(&letters).unwrap();
    let letters: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["data"], "a2V5LjEz");
}
