//! Aggregated records reach processors as what their producers sent.

use std::time::Duration;

use kcl_core::config::{Aggregation, CheckpointPolicy};
use kcl_core::event::Event;
use kcl_core::kpl::{Aggregator, HashRangePolicy, Malformed, seal};
use kcl_core::model::{Checkpoint, Position, SequenceNumber};
use kcl_sim::story::{Act, CallFault, Calls, Story};

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

/// Puts user records as one aggregate, each under its hash key. Processors get those at `places`.
fn put_at(story: &Story, records: &[(u128, &str)], places: &[u64]) -> SequenceNumber {
    let mut aggregator = Aggregator::new(50_000);
    for (hash_key, record) in records {
        assert_eq!(aggregator.add("key", Some(*hash_key), record.as_bytes()), Ok(None));
    }
    let aggregate = aggregator.finish().unwrap();
    story.put_aggregate(0, aggregate.data, places.iter().copied())
}

fn put(story: &Story, records: &[&str]) -> SequenceNumber {
    let records: Vec<_> = records.iter().map(|record| (0, *record)).collect();
    put_at(story, &records, &[0, 1, 2][..records.len()])
}

const fn inside(sequence: SequenceNumber, sub_sequence: u64) -> Checkpoint {
    Checkpoint::After(Position { sequence, sub_sequence })
}

fn malformed(story: &Story) -> Vec<(u64, Malformed)> {
    let reported = story.journal.events(|event| {
        if let Event::MalformedAggregates { count, reason, .. } = event {
            Some((*count, *reason))
        } else {
            None
        }
    });
    reported.into_iter().map(|(_, _, reported)| reported).collect()
}

#[test]
fn user_records_are_delivered_in_order_and_stored() {
    let story = Story::new(1);
    story.put(0, ["a"]);
    put(&story, &["b", "c"]);
    let last = put(&story, &["d", "e", "f"]);
    let worker = story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("f"));
    worker.stop().unwrap();
    assert_eq!(story.lease(0).checkpoint, inside(last, 2));
    story.start("w");
    story.put(0, ["g"]);
    story.until("delivered", SOON, |story| story.journal.has("g"));
    assert_eq!(story.journal.delivered(), ["a", "b", "c", "d", "e", "f", "g"]);
}

#[test]
fn large_reply_is_delivered_in_several_batches() {
    let story = Story::new(1);
    story.configure(|config| config.retrieval.records_max = 3);
    for aggregate in [["a", "b"], ["c", "d"], ["e", "f"]] {
        put(&story, &aggregate);
    }
    story.split(0);
    story.on(|call| call.delivers("e") && call.attempt() == Some(1), Act::Fail);
    story.start("w");
    let is_ended = |story: &Story| story.journal.calls(0).iter().any(|it| it == "shard ended");
    story.until("the shard ended", SOON, is_ended);
    let calls = story.journal.calls(0);
    let batches: Vec<_> = calls.iter().filter(|it| it.starts_with("process")).collect();
    assert_eq!(batches, ["process a b c d #1", "process e f #1", "process e f #2"]);
}

/// A worker checkpoints the user record at `index` of a batch of four in two aggregates, and
/// crashes. What the next one gets:
fn resumed_after(index: usize) -> Vec<String> {
    let story = Story::new(1);
    story.configure(|config| config.delivery.checkpoints = CheckpointPolicy::Manual);
    let first = put(&story, &["a", "b", "c"]);
    let second = put(&story, &["d"]);
    story.on(|call| call.worker == "first" && call.is_batch(), Act::Checkpoint(index));
    let worker = story.start("first");
    let is_stored = |story: &Story| story.find(0).is_some_and(|it| it.checkpoint.has_progressed());
    story.until("stored", SOON, is_stored);
    let expected = if index == 3 { inside(second, 0) } else { inside(first, index as u64) };
    assert_eq!(story.lease(0).checkpoint, expected);
    worker.crash();
    let before = story.journal.delivered().len();
    story.put(0, ["e"]);
    story.start("second");
    story.until("delivered", SOON * 3, |story| story.journal.has("e"));
    story.journal.delivered().split_off(before)
}

#[test]
fn checkpoint_inside_an_aggregate_is_resumed_exactly() {
    assert_eq!(resumed_after(0), ["b", "c", "d", "e"]);
    assert_eq!(resumed_after(1), ["c", "d", "e"]);
    assert_eq!(resumed_after(2), ["d", "e"]);
    assert_eq!(resumed_after(3), ["e"]);
}

#[test]
fn failure_inside_an_aggregate_retries_from_there() {
    let story = Story::new(1);
    put(&story, &["a", "b", "c"]);
    story.on(|call| call.attempt() == Some(1), Act::CheckpointAndFail(1));
    let worker = story.start("w");
    story.until("again", SOON, |story| story.journal.delivered().len() > 3);
    worker.stop().unwrap();
    assert_eq!(story.journal.delivered(), ["a", "b", "c", "c"]);
}

#[test]
fn invalid_aggregate_is_delivered_raw_and_counted() {
    let story = Story::new(1);
    story.put(0, ["a"]);
    // A user record without anything, many times in one read.
    let broken = seal(b"\x1A\x00");
    for _ in 0..100 {
        story.put_bytes(0, broken.clone());
    }
    let last = put(&story, &["b", "c"]);
    let worker = story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("c"));
    worker.stop().unwrap();
    let raw = String::from_utf8_lossy(&broken).into_owned();
    let delivered = story.journal.delivered();
    assert_eq!(delivered.iter().filter(|record| **record == raw).count(), 100);
    assert_eq!(delivered.len(), 103);
    assert_eq!(malformed(&story), [(100, Malformed::Required)]);
    assert_eq!(story.lease(0).checkpoint, inside(last, 1));
}

#[test]
fn raw_policy_delivers_aggregates_unchanged() {
    let story = Story::new(1);
    story.configure(|config| config.retrieval.aggregation = Aggregation::Raw);
    story.put(0, ["first"]);
    let last = put_at(&story, &[(0, "a"), (0, "b")], &[0]);
    let worker = story.start("w");
    story.until("delivered", SOON, |story| story.journal.delivered().len() == 2);
    worker.crash();
    // A row says nothing about which consumer wrote it: where the aggregate is done, its second
    // user record is not.
    let mut lease = story.lease(0);
    lease.checkpoint = inside(last, 0);
    story.table.insert_lease(lease);
    story.configure(|config| config.retrieval.aggregation = Aggregation::Expand);
    story.expands(0, last, [1]);
    story.put(0, ["c"]);
    story.start("w");
    story.until("delivered", SOON * 3, |story| story.journal.delivered().len() == 4);
    assert_eq!(story.journal.delivered().split_off(2), ["b", "c"]);
}

#[test]
fn drop_policy_drops_records_of_other_shards() {
    for (policy, expected) in [
        (HashRangePolicy::Deliver, &["a", "b", "c", "d", "e"][..]),
        (HashRangePolicy::Drop, &["a", "c", "e"][..]),
    ] {
        let story = Story::new(2);
        story.configure(|config| config.retrieval.hash_range = policy);
        let other = story.hash_range(1).start;
        let is_dropped = policy == HashRangePolicy::Drop;
        let places: [&[u64]; 2] = if is_dropped { [&[0, 2], &[]] } else { [&[0, 1, 2], &[0]] };
        put_at(&story, &[(0, "a"), (other, "b"), (other - 1, "c")], places[0]);
        put_at(&story, &[(other, "d")], places[1]);
        let last = story.put(0, ["e"]);
        let worker = story.start("w");
        story.until("delivered", SOON, |story| story.journal.has("e"));
        worker.stop().unwrap();
        assert_eq!(story.journal.delivered(), expected);
        assert_eq!(story.lease(0).checkpoint, inside(last, 0));
    }
}

#[test]
fn expired_iterator_resumes_behind_dropped_aggregates() {
    let story = Story::new(2);
    story.configure(|config| config.retrieval.hash_range = HashRangePolicy::Drop);
    let worker = story.start("w");
    story.put(0, ["a"]);
    story.until("delivered", SOON, |story| story.journal.has("a"));
    let other = story.hash_range(1).start;
    for _ in 0..8 {
        put_at(&story, &[(other, "b")], &[]);
    }
    story.pass(SOON);
    worker.fault(Calls::Reads, CallFault::Expired);
    story.pass(SOON);
    worker.recover();
    story.put(0, ["c"]);
    story.until("delivered", SOON * 2, |story| story.journal.has("c"));
    assert_eq!(story.journal.delivered(), ["a", "c"]);
    // Had it gone back to "a", all eight would have been read and counted again.
    let counts = story.journal.events(|event| {
        if let Event::OutOfRangeDropped { count, .. } = event { Some(*count) } else { None }
    });
    assert_eq!(counts.iter().map(|(_, _, count)| *count).collect::<Vec<_>>(), [8]);
}

#[test]
fn restart_after_dropped_records_counts_nothing_again() {
    let story = Story::new(2);
    story.configure(|config| config.retrieval.hash_range = HashRangePolicy::Drop);
    let other = story.hash_range(1).start;
    let puts: Vec<_> = (0..8).map(|_| put_at(&story, &[(other, "b")], &[])).collect();
    let worker = story.start("first");
    story.pass(SOON * 3);
    worker.stop().unwrap();
    assert_eq!(story.lease(0).checkpoint, inside(puts[7], 0));
    let worker = story.start("second");
    story.pass(SOON * 3);
    worker.stop().unwrap();
    assert_eq!(story.journal.delivered(), Vec::<String>::new());
    let counts = story.journal.events(|event| {
        if let Event::OutOfRangeDropped { count, .. } = event { Some(*count) } else { None }
    });
    assert_eq!(counts.iter().map(|(_, _, count)| *count).collect::<Vec<_>>(), [8]);
}
