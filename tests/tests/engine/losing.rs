//! A lease that is lost, or cannot be renewed, delivers nothing more.

use std::time::Duration;

use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, Position, WorkerId};
use kcl_sim::story::{Act, Call, CallFault, CallKind, Calls, Story};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

fn ends(story: &Story) -> Vec<(Duration, LeaseEnd)> {
    let ended =
        |event: &Event| if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None };
    story.journal.events(ended).into_iter().map(|(at, _, how)| (at, how)).collect()
}

#[test]
fn lost_lease_cancels_the_call_and_delivers_no_more() {
    let story = Story::new(1);
    story.put(0, ["a"]);
    story.on(Call::is_batch, Act::Hang);
    story.start("w");
    story.until("begun", SOON, |story| story.journal.has("a"));
    story.put(0, ["b"]);
    story.usurp(0, "thief");
    story.until("lost", SOON, |story| story.journal.calls(0).len() >= 7);
    assert_eq!(story.journal.calls(0)[3..], ["process a #1", "dropped", "lease lost", "done"]);
    assert_eq!(ends(&story)[0].1, LeaseEnd::Lost);
    assert_eq!(story.lease(0).owner, Some(WorkerId::from("thief")));
    story.pass(SECOND * 5);
    assert_eq!(story.journal.delivered(), ["a"]);
}

#[test]
fn shard_is_not_taken_before_lease_lost_returns() {
    let story = Story::new(1);
    story.on(|call| call.kind == CallKind::LeaseLost, Act::Take(SECOND * 6));
    story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    story.usurp(0, "thief");
    story.until("lost", SOON, |story| !ends(story).is_empty());
    let mut lease = story.lease(0);
    (lease.owner, lease.counter) = (None, lease.counter.next());
    story.table.insert_lease(lease);
    let calls = |story: &Story| story.journal.calls(0);
    let made = |story: &Story| calls(story).iter().filter(|call| *call == "made").count();
    story.until("taken again", SECOND * 20, |story| made(story) == 2);
    let reported = calls(&story).iter().position(|call| call == "lease lost").unwrap();
    let calls = calls(&story);
    assert_eq!(calls[reported + 1], "done", "{calls:?}");
}

#[test]
fn lease_without_a_row_is_lost() {
    let story = Story::new(1);
    story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    story.delete_lease(0);
    story.until("lost", SOON, |story| !ends(story).is_empty());
    assert_eq!(ends(&story)[0].1, LeaseEnd::Lost);
    // Shard sync heals the hole.
    story.put(0, ["a"]);
    story.until("healed", SECOND * 30, |story| story.journal.has("a"));
}

#[test]
fn silent_store_ends_delivery_at_the_deadline() {
    for fault in [CallFault::Refused, CallFault::Silent] {
        let story = Story::new(1);
        let worker = story.start("w");
        story.put(0, ["a"]);
        story.until("delivered", SOON, |story| story.journal.has("a"));
        story.pass(SECOND * 10);
        worker.fault(Calls::Table, fault);
        let silent_at = story.elapsed();
        let counter = story.lease(0).counter;
        for number in 0..300 {
            story.put(0, [format!("{number}").as_str()]);
            story.pass(Duration::from_millis(100));
        }
        assert_eq!(story.lease(0).counter, counter);
        let last = story.journal.deliveries().last().unwrap().at;
        assert!(last < silent_at + SECOND * 9, "{fault:?}: {last:?} after {silent_at:?}");
        assert!(last > silent_at + SECOND * 4, "{fault:?}: {last:?} after {silent_at:?}");
        let (ended_at, how) = ends(&story)[0];
        assert_eq!(how, LeaseEnd::Expired);
        assert!(ended_at <= silent_at + SECOND * 9 + Duration::from_millis(10), "{ended_at:?}");
        assert!(story.journal.calls(0).contains(&"lease lost".to_owned()));
        worker.recover();
        story.until("back", SECOND * 30, |story| story.journal.has("299"));
        worker.stop().unwrap();
    }
}

#[test]
fn hanging_call_is_dropped_at_the_deadline() {
    let story = Story::new(1);
    story.put(0, ["a"]);
    story.on(|call| call.delivers("a"), Act::Hang);
    let worker = story.start("w");
    story.until("begun", SOON, |story| story.journal.has("a"));
    worker.fault(Calls::Table, CallFault::Silent);
    let dropped = |story: &Story| story.journal.calls(0).contains(&"dropped".to_owned());
    story.until("dropped", SECOND * 10, dropped);
    assert_eq!(story.journal.calls(0)[3..5], ["process a #1", "dropped"]);
}

#[test]
fn lost_replies_are_settled_and_the_lease_kept() {
    let story = Story::new(1);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    for _ in 0..10 {
        worker.fault(Calls::Writes, CallFault::ReplyLost);
        story.pass(SECOND * 4);
        worker.recover();
        story.pass(SECOND * 2);
    }
    assert_eq!(ends(&story), []);
    story.put(0, ["a"]);
    story.until("delivered", SOON, |story| story.journal.has("a"));
}

#[test]
fn checkpoint_waits_for_the_store_until_the_deadline() {
    for (outage, is_back_in_time) in [(5, true), (20, false)] {
        let story = Story::new(1);
        let worker = story.start("w");
        story.until("held", SOON, |story| story.owned_by("w") == Some(1));
        story.on(|call| call.delivers("a"), Act::Checkpoint(0));
        worker.fault(Calls::Table, CallFault::Refused);
        let at = Checkpoint::After(Position::of(story.put(0, ["a"])));
        story.until("begun", SOON, |story| story.journal.has("a"));
        story.pass(SECOND * outage);
        assert_ne!(story.lease(0).checkpoint, at);
        worker.recover();
        story.until("stored", SECOND * 30, |story| story.lease(0).checkpoint == at);
        let calls = |story: &Story| story.journal.calls(0);
        story.until("over", SECOND, |story| calls(story).len() >= 5);
        let end = if is_back_in_time { "done" } else { "dropped" };
        assert_eq!(story.journal.calls(0)[3..5], ["process a #1", end], "{outage} s");
        assert_eq!(ends(&story).is_empty(), is_back_in_time);
    }
}
