//! What workers count and measure.

use std::time::Duration;

use kcl_core::metrics::{Snapshot, Value};
use kcl_sim::story::{Act, CallFault, Calls, Member, Story};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

/// The value of a series as a number, or `None` if there is none.
fn number(snapshot: &Snapshot, name: &str, labels: &[&str]) -> Option<f64> {
    snapshot.value(name, labels).map(Value::number)
}

/// Asserts that a worker has series with these values.
#[track_caller]
fn check(worker: &Member, expected: &[(&str, &[&str], f64)]) {
    let snapshot = worker.metrics();
    for (name, labels, value) in expected {
        assert_eq!(number(&snapshot, name, labels), Some(*value), "{name} {labels:?}");
    }
}

#[test]
fn records_batches_and_bytes_are_counted() {
    let story = Story::new(1);
    story.put(0, ["a", "bc"]);
    story.on(|call| call.attempt() == Some(1), Act::Fail);
    let worker = story.start("w");
    story.until("delivered twice", SOON, |story| story.journal.deliveries().len() == 2);
    story.pass(SECOND);
    let shard = story.shard(0);
    let shard = shard.as_str();
    check(
        &worker,
        &[
            ("kcl_records_total", &[shard], 2.0),
            ("kcl_bytes_total", &[shard], 3.0),
            ("kcl_batches_total", &[shard, "ok"], 1.0),
            ("kcl_batches_total", &[shard, "error"], 1.0),
            ("kcl_retries_total", &[shard, "batch"], 1.0),
            ("kcl_read_records_total", &[shard], 2.0),
            ("kcl_reads_total", &[shard, "records"], 1.0),
            ("kcl_opens_total", &[shard, "ok"], 1.0),
            ("kcl_call_seconds", &["initialize"], 1.0),
            ("kcl_call_seconds", &["process_records"], 2.0),
            ("kcl_takes_total", &["unowned"], 1.0),
            ("kcl_leases_held", &[], 1.0),
            ("kcl_leases", &["mine"], 1.0),
            ("kcl_workers", &[], 1.0),
            ("kcl_worker_state", &["running"], 1.0),
        ],
    );
    worker.stop().unwrap();
}

#[test]
fn lag_grows_while_a_batch_fails() {
    let story = Story::new(1);
    story.on(|call| call.delivers("a"), Act::Fail);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    story.pass(SECOND * 5);
    let caught_up = number(&worker.metrics(), "kcl_lag_max_seconds", &[]).unwrap();
    assert!(caught_up < 5.0, "{caught_up} s behind without a record");
    story.put(0, ["a"]);
    story.pass(SECOND * 120);
    let shard = story.shard(0);
    let snapshot = worker.metrics();
    let done = number(&snapshot, "kcl_lag_seconds", &[shard.as_str(), "done"]).unwrap();
    assert!((115.0..=121.0).contains(&done), "{done} s behind");
    assert_eq!(number(&snapshot, "kcl_lag_max_seconds", &[]), Some(done));
    story.all_succeed();
    story.pass(SECOND * 60);
    let caught_up = number(&worker.metrics(), "kcl_lag_max_seconds", &[]).unwrap();
    assert!(caught_up < 5.0, "{caught_up} s behind after it succeeded");
    worker.stop().unwrap();
}

#[test]
fn series_of_a_shard_go_with_its_lease() {
    let story = Story::new(2);
    let one = story.start("one");
    story.until("held", SOON, |story| story.owned_by("one") == Some(2));
    let shards = |worker: &Member| -> Vec<String> {
        let snapshot = worker.metrics();
        let records = snapshot.samples.iter().filter(|it| it.metric.name == "kcl_records_total");
        records.filter_map(|it| it.shard()).map(ToString::to_string).collect()
    };
    assert_eq!(shards(&one).len(), 2);
    let other = story.start("other");
    story.until("shared", SOON * 3, |story| story.owned_by("other") == Some(1));
    story.pass(SECOND);
    let (kept, moved) = (shards(&one), shards(&other));
    assert_eq!((kept.len(), moved.len()), (1, 1));
    assert_ne!(kept, moved);
    check(&one, &[("kcl_lease_ends_total", &["handed_over"], 1.0), ("kcl_workers", &[], 2.0)]);
    check(&other, &[("kcl_takes_total", &["handed_over"], 1.0)]);
    one.stop().unwrap();
    other.stop().unwrap();
}

#[test]
fn headroom_sinks_while_renewals_fail() {
    let story = Story::new(1);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    story.pass(SECOND * 10);
    let headroom = || number(&worker.metrics(), "kcl_deadline_headroom_seconds", &[]).unwrap();
    let before = headroom();
    worker.fault(Calls::Renewals, CallFault::Refused);
    story.pass(SECOND * 6);
    let after = headroom();
    assert!(after < before - 2.0, "{before} s, then {after} s");
    let failed = number(&worker.metrics(), "kcl_renewals_total", &["error"]).unwrap();
    assert!(failed > 0.0);
    worker.recover();
    story.pass(SECOND * 5);
    assert!(headroom() > after);
    worker.stop().unwrap();
}

#[test]
fn calls_to_the_table_are_counted() {
    let story = Story::new(1);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    let calls =
        |outcome| number(&worker.metrics(), "kcl_table_calls_total", &["scan", outcome]).unwrap();
    assert!(calls("ok") > 0.0);
    assert!(calls("error").abs() < 0.5);
    worker.fault(Calls::Table, CallFault::Refused);
    story.pass(SECOND * 3);
    assert!(calls("error") > 0.0);
    worker.recover();
    check(&worker, &[("kcl_table_calls_total", &["take", "ok"], 1.0)]);
    worker.stop().unwrap();
}
