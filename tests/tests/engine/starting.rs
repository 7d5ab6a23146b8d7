//! The first start, later starts, and starts that must not happen.

use std::time::Duration;

use futures::FutureExt;
use kcl_core::backend::{LeaseStore, Reading};
use kcl_core::error::RunError;
use kcl_core::event::Event;
use kcl_core::model::{InitialPosition, LeaseKey, StreamArn, StreamName};
use kcl_sim::story::{CallFault, Calls, Story};
use kcl_tests::errors::chain;

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

/// Runs a worker until it holds all leases, and stops it.
fn run_once(story: &Story, name: &str) {
    let worker = story.start(name);
    let shards = story.stream.shards().len();
    story.until("held", SOON, |story| story.owned_by(name) == Some(shards));
    worker.stop().unwrap();
}

/// Leaves the leases as a Java worker that ran and died does.
fn leave_java_leases(story: &Story) {
    run_once(story, "former");
    for mut lease in story.table.leases() {
        (lease.owner, lease.last_write, lease.expiry) = (Some("java".into()), None, None);
        story.table.insert_lease(lease);
    }
}

#[test]
fn latest_is_resolved_once() {
    let story = Story::new(1);
    story.configure(|config| config.retrieval.initial_position = InitialPosition::Latest);
    story.put(0, ["before"]);
    story.pass(SECOND * 5);
    run_once(&story, "w");
    story.put(0, ["a"]);
    story.pass(SECOND * 3_600);
    story.put(0, ["b"]);
    story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("b"));
    assert_eq!(story.journal.delivered(), ["a", "b"]);
}

#[test]
fn latest_does_not_skip_children_of_a_split() {
    let story = Story::new(1);
    story.configure(|config| config.retrieval.initial_position = InitialPosition::Latest);
    run_once(&story, "w");
    let [low, high] = story.split(0);
    story.put(low, ["a"]);
    story.put(high, ["b"]);
    story.start("w");
    let both = |story: &Story| story.journal.has("a") && story.journal.has("b");
    story.until("delivered", SECOND * 30, both);
}

#[test]
fn recreated_stream_is_refused_by_name() {
    let story = Story::new(1);
    run_once(&story, "w");
    story.pass(SECOND * 60);
    story.recreate_stream(1);
    let error = story.start("w").ended().unwrap_err();
    assert!(matches!(error, RunError::StreamRecreated { .. }), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("stream simulated") && text.contains("delete the lease table"), "{text}");
    story.ends_unhealed("no worker may consume the other stream");
}

#[test]
fn recreated_stream_ends_a_running_worker() {
    let story = Story::new(1);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    story.recreate_stream(1);
    let error = worker.ended().unwrap_err();
    assert!(matches!(error, RunError::StreamRecreated { .. }), "{error:?}");
    story.ends_unhealed("no worker may consume the other stream");
}

#[test]
fn deleted_stream_ends_a_running_worker() {
    let story = Story::new(1);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    story.delete_stream();
    let error = worker.ended().unwrap_err();
    let text = chain(&error);
    assert!(text.contains("\"simulated\" does not exist"), "{text}");
    story.ends_unhealed("the stream is gone");
}

#[test]
fn table_of_another_stream_is_refused_by_name() {
    let story = Story::new(1);
    run_once(&story, "w");
    // The row that a worker on a stream "returns" leaves, in place of this one's.
    let own = story.table.stream_start(&StreamName::new("simulated")).now_or_never().unwrap();
    let arn = StreamArn::from("arn:aws:kinesis:local:000000000000:stream/returns");
    let mut start = own.unwrap().unwrap();
    (start.stream, start.arn) = (StreamName::new("returns"), arn);
    story.table.remove("simulated");
    story.table.create_stream_start(&start).now_or_never().unwrap().unwrap();
    let error = story.start("w").ended().unwrap_err();
    assert!(matches!(error, RunError::OtherStream { .. }), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("simulated") && text.contains("returns"), "{text}");
    assert!(text.contains("another application name"), "{text}");
    story.ends_unhealed("the table is another stream's");
}

#[test]
fn live_java_row_refuses_the_start_without_a_write() {
    let story = Story::new(2);
    leave_java_leases(&story);
    let worker = story.start("w");
    story.pass(SECOND * 30);
    story.usurp(1, "java");
    let before = story.table.leases();
    let error = worker.ended().unwrap_err();
    assert!(matches!(error, RunError::JavaFleetAlive { .. }), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("shardId-000000000001") && text.contains("stop them"), "{text}");
    assert_eq!(story.table.leases(), before);
}

#[test]
fn java_rows_missed_by_a_stale_scan_are_waited_for() {
    let story = Story::new(1);
    leave_java_leases(&story);
    let lease = story.lease(0);
    story.table.remove(story.key(0).as_str());
    story.delay_scans(1);
    story.table.remove("nothing");
    story.table.insert_lease(lease);
    story.start("w");
    story.pass(SECOND * 30);
    assert_eq!(story.owned_by("java"), Some(1));
    let waits = |event: &Event| matches!(event, Event::WaitingForJava { .. }).then_some(());
    assert_eq!(story.journal.events(waits).len(), 1);
}

#[test]
fn still_java_rows_are_taken_after_ninety_seconds() {
    let story = Story::new(2);
    story.put(0, ["a"]);
    leave_java_leases(&story);
    story.put(0, ["b"]);
    let began = story.elapsed();
    story.start("w");
    story.until("delivered", SECOND * 120, |story| story.journal.has("b"));
    let took = story.elapsed() - began;
    assert!((SECOND * 90..SECOND * 110).contains(&took), "{took:?}");
    let waits = story.journal.event(|event| {
        if let Event::WaitingForJava { at_least, .. } = event { Some(*at_least) } else { None }
    });
    assert_eq!(waits.unwrap().2, SECOND * 90);
    assert_eq!(story.journal.delivered(), ["a", "b"]);
}

/// How many workers have a row in the table.
fn presence(story: &Story) -> usize {
    story.table.scan(None, Reading::Consistent).now_or_never().unwrap().unwrap().sessions.len()
}

#[test]
fn stop_during_the_start_leaves_no_presence() {
    let story = Story::new(1);
    let worker = story.start("w");
    worker.fault(Calls::Writes, CallFault::ReplyLost); // The first leases are never done.
    story.pass(SECOND * 3);
    assert_eq!(presence(&story), 1);
    worker.stop().unwrap();
    assert_eq!(presence(&story), 0);
}

#[test]
fn failed_start_leaves_no_presence() {
    let story = Story::new(1);
    run_once(&story, "former");
    let mut lease = story.lease(0);
    lease.key = LeaseKey::new("simulated"); // Where the stream's start belongs.
    story.table.insert_lease(lease);
    let error = story.start("w").ended().unwrap_err();
    assert!(matches!(error, RunError::Leases(_)), "{error:?}");
    assert_eq!(presence(&story), 0);
    story.ends_unhealed("no worker can start");
}
