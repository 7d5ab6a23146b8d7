//! Shards end, and their children follow.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_core::backend::JavaRow;
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, LeaseKey};
use kcl_sim::story::{Act, CallKind, Story};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(15);

fn place(story: &Story, record: &str) -> usize {
    story.journal.delivered().iter().position(|got| got == record).unwrap()
}

#[test]
fn children_of_a_split_wait_for_their_parent() {
    let story = Story::new(1);
    story.put(0, ["a", "b"]);
    story.on(|call| call.is_batch() && call.shard == 0, Act::Take(SECOND * 3));
    let worker = story.start("w");
    let [low, high] = story.split(0);
    story.put(low, ["c"]);
    story.put(high, ["d"]);
    story.until("ended", SOON, |story| story.find(0).is_some_and(|lease| lease.is_ended()));
    assert_eq!(story.lease(0).children, BTreeSet::from([story.shard(low), story.shard(high)]));
    assert_eq!(story.journal.delivered()[..2], ["a", "b"]);
    let both = |story: &Story| story.journal.has("c") && story.journal.has("d");
    story.until("children delivered", SECOND, both);
    assert_eq!(story.journal.delivered().len(), 4);
    // The parent's row is deleted once both children have progressed.
    story.until("deleted", SECOND * 160, |story| story.find(0).is_none());
    for child in [low, high] {
        assert!(story.lease(child).checkpoint.has_progressed());
        assert_eq!(story.lease(child).parents, BTreeSet::from([story.shard(0)]));
    }
    worker.stop().unwrap();
    assert_eq!(story.journal.calls(0)[5..7], ["shard ended", "done"]);
}

/// The tokens under which a shard was taken.
fn tokens(story: &Story, shard: usize) -> Vec<u64> {
    let lease = LeaseKey::new(format!("shardId-{shard:012}"));
    let taken = story.journal.events(|event| {
        let Event::LeaseTaken { key, token, .. } = event else { return None };
        (*key == lease).then(|| token.get())
    });
    taken.into_iter().map(|(_, _, token)| token).collect()
}

#[test]
fn tokens_grow_along_the_lineage() {
    let story = Story::new(2);
    story.put(0, ["a"]);
    let first = story.start("first");
    story.pass(SECOND * 600);
    first.stop().unwrap();
    let second = story.start("second");
    story.until("delivered", SOON, |story| story.owned_by("second") == Some(2));
    let [parent, other] = [0, 1].map(|shard| tokens(&story, shard));
    assert!(parent.len() == 2 && parent[0] < parent[1], "{parent:?}");
    let [low, high] = story.split(0);
    story.until("children held", SOON, |story| story.owned_by("second") == Some(3));
    let children = [low, high].map(|shard| tokens(&story, shard));
    assert!(children.iter().flatten().all(|token| *token > parent[1]), "{parent:?} {children:?}");
    let merged = story.merge(high);
    story.until("merged held", SOON, |story| !tokens(story, merged).is_empty());
    let elder = children[1].iter().chain(&other).max();
    let merged = tokens(&story, merged);
    assert!(merged.iter().min() > elder, "{children:?} {other:?} {merged:?}");
    second.stop().unwrap();
}

#[test]
fn parent_stays_until_all_children_progress() {
    let story = Story::new(1);
    story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    let [low, high] = story.split(0);
    story.put(low, ["a"]);
    story.until("delivered", SOON, |story| story.journal.has("a"));
    story.pass(SECOND * 60);
    assert!(story.lease(0).is_ended());
    story.put(high, ["b"]);
    story.until("deleted", SECOND * 160, |story| story.find(0).is_none());
}

#[test]
fn child_of_a_merge_waits_for_both_parents() {
    let story = Story::new(2);
    story.put(0, ["a"]);
    story.put(1, ["b"]);
    story.on(|call| call.delivers("b"), Act::Take(SECOND * 8));
    story.start("w");
    let child = story.merge(0);
    story.put(child, ["c"]);
    story.until("delivered", SECOND * 20, |story| story.journal.has("c"));
    assert!(place(&story, "a") < place(&story, "c") && place(&story, "b") < place(&story, "c"));
    assert!(story.elapsed() > SECOND * 8);
    for parent in [0, 1] {
        let lease = story.lease(parent);
        assert_eq!(lease.checkpoint, Checkpoint::ShardEnd);
        assert_eq!(lease.children, BTreeSet::from([story.shard(child)]));
    }
}

#[test]
fn tree_of_ended_shards_is_read_from_its_root() {
    let story = Story::new(1);
    story.put(0, ["a"]);
    let [low, high] = story.split(0);
    story.put(low, ["b"]);
    story.put(high, ["c"]);
    let merged = story.merge(low);
    story.put(merged, ["d"]);
    story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("d"));
    let delivered = story.journal.delivered();
    assert_eq!(delivered.len(), 4);
    assert_eq!((place(&story, "a"), place(&story, "d")), (0, 3));
}

#[test]
fn failed_shard_end_is_retried_and_children_wait() {
    let story = Story::new(1);
    story.put(0, ["a"]);
    story.on(|call| call.kind == CallKind::ShardEnded, Act::Fail);
    story.start("w");
    let [low, _] = story.split(0);
    story.put(low, ["b"]);
    story.pass(SECOND * 60);
    assert!(!story.journal.has("b"));
    story.all_succeed();
    story.until("delivered", SOON, |story| story.journal.has("b"));
}

#[test]
fn late_shard_list_delays_children_and_loses_none() {
    let story = Story::new(1);
    story.stream.set_list_lag(SECOND * 20);
    story.start("w");
    story.pass(SECOND * 30);
    let [low, high] = story.split(0);
    story.put(low, ["a"]);
    story.put(high, ["b"]);
    let both = |story: &Story| story.journal.has("a") && story.journal.has("b");
    story.until("delivered", SECOND * 40, both);
    assert_eq!(story.journal.delivered().len(), 2);
}

#[test]
fn row_in_a_leases_place_is_reported_as_a_hole() {
    let story = Story::new(3);
    story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(3));
    let (key, range) = (story.key(0).to_string(), story.hash_range(0));
    story.table.remove(&key);
    story.delete_lease(2);
    let row = JavaRow::new(key.clone(), "ODD".to_owned(), String::new(), None);
    story.table.insert_java_row(row);
    let holes = |story: &Story| {
        story.journal.events(|event| {
            if let Event::HashKeysUncovered { range } = event { Some(*range) } else { None }
        })
    };
    story.until("healed", SECOND * 15, |story| story.find(2).is_some());
    assert_eq!(holes(&story), [], "one look may be torn");
    let lost = |event: &Event| matches!(event, Event::LeaseEnded { .. }).then_some(());
    story.until("lost", SOON, |story| story.journal.events(lost).len() == 2);
    story.put(0, ["a"]);
    story.put(2, ["b"]);
    story.until("delivered", SOON, |story| story.journal.has("b"));
    story.pass(SECOND * 60);
    let reported: Vec<_> = holes(&story).into_iter().map(|(_, _, range)| range).collect();
    assert_eq!(reported, [range], "reported once, and only what was not healed");
    assert!(!story.journal.has("a"));
    story.table.remove(&key);
    story.until("healed", SECOND * 20, |story| story.journal.has("a"));
}

#[test]
fn unfinishable_shard_end_is_reported_and_released() {
    let story = Story::new(1);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    let [child, _] = story.split(0);
    let in_the_way = JavaRow::new(story.key(child).to_string(), "LEADER".into(), "x".into(), None);
    story.table.insert_java_row(in_the_way);
    let key = story.key(child);
    let reported = |event: &Event| {
        if let Event::CallFailed { doing: "create a child's lease", error, count, .. } = event {
            error.contains(key.as_str()).then_some(*count)
        } else {
            None
        }
    };
    let attempts =
        |story: &Story| story.journal.events(reported).iter().map(|(.., count)| count).sum::<u64>();
    story.until("reported", SOON, |story| attempts(story) > 3);
    let asked_at = story.elapsed();
    let report = worker.stop().unwrap();
    let took = story.elapsed() - asked_at;
    assert!(took <= story.config().shutdown.drain + SECOND, "{took:?}");
    let ends: Vec<_> = report.shards.iter().map(|shard| (shard.key.clone(), shard.how)).collect();
    assert_eq!(ends, [(story.key(0), LeaseEnd::Released)]);
    assert_eq!(story.lease(0).owner, None);
    story.table.remove(key.as_str());
    story.start("next");
    story.until("ended", SOON, |story| story.lease(0).is_ended());
}
