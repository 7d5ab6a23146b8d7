//! What a story notices, and what its faults do.

use std::future::pending;
use std::time::Duration;

use kcl_core::event::{Event, LeaseEnd};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext};

use super::{Act, Call, CallFault, Calls, Notes, ShardNotes, Story};

const SECOND: Duration = Duration::from_secs(1);

/// How a lease ended.
const fn end(event: &Event) -> Option<LeaseEnd> {
    if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None }
}

#[test]
#[should_panic(expected = "not within 1s: a is delivered")]
fn condition_that_does_not_hold_is_named() {
    let story = Story::new(1);
    story.start("ann");
    story.until("a is delivered", SECOND, |story| story.journal.has("a"));
}

#[test]
#[should_panic(expected = "AllDone is broken")]
fn fleet_that_does_not_heal_fails_the_story() {
    struct Hanging;
    impl RecordProcessor for Hanging {
        async fn process_records(
            &mut self,
            _: RecordBatch,
            _: &ShardContext,
        ) -> Result<(), BoxError> {
            pending().await
        }
    }
    let story = Story::new(1);
    story.put(0, ["a"]);
    story.start_with("ann", |_: &ShardContext| Hanging);
}

#[test]
#[should_panic(expected = "KeyOrder is broken")]
fn notes_out_of_order_break_a_promise() {
    struct Backwards(ShardNotes);
    impl RecordProcessor for Backwards {
        async fn process_records(
            &mut self,
            batch: RecordBatch,
            _: &ShardContext,
        ) -> Result<(), BoxError> {
            batch.iter().rev().for_each(|record| self.0.begin(record));
            Ok(())
        }
    }
    let story = Story::new(1);
    story.put(0, ["a", "b"]);
    let backwards = |notes: Notes| move |shard: &ShardContext| Backwards(notes.of(shard));
    story.start_noting("ann", backwards);
    story.pass(SECOND * 10);
}

#[test]
#[should_panic(expected = "WorkersRun is broken")]
fn worker_that_ends_unexpectedly_fails_the_story() {
    let story = Story::new(1);
    story.start("ann");
    story.until("held", SECOND * 10, |story| story.owned_by("ann") == Some(1));
    story.delete_stream();
    story.pass(SECOND * 60);
}

#[test]
fn later_lines_of_a_script_go_first() {
    let story = Story::new(1);
    story.on(Call::is_batch, Act::Fail);
    story.on(|call| call.delivers("a"), Act::Succeed);
    story.put(0, ["a"]);
    story.start("ann");
    story.until("a is delivered", SECOND * 10, |story| story.journal.has("a"));
    story.pass(SECOND);
    story.put(0, ["b"]);
    story.until("b is retried", SECOND * 10, |story| story.journal.who_got("b").len() > 1);
    assert_eq!(story.journal.who_got("a"), ["ann"]);
}

#[test]
fn fault_of_the_next_call_strikes_once() {
    let story = Story::new(1);
    let ann = story.start("ann");
    story.until("held", SECOND * 10, |story| story.owned_by("ann") == Some(1));
    let before = story.lease(0).counter;
    ann.fault_next(Calls::Renewals, CallFault::Silent);
    story.pass(SECOND * 8);
    assert!(story.lease(0).counter > before, "the next renewal goes through");
    assert_eq!(story.journal.events(end), []);
}

#[test]
fn blocked_renewals_end_the_lease() {
    let story = Story::new(1);
    let ann = story.start("ann");
    story.until("held", SECOND * 10, |story| story.owned_by("ann") == Some(1));
    ann.fault(Calls::Renewals, CallFault::Refused);
    story.until("over", SECOND * 13, |story| story.journal.event(end).is_some());
    assert_eq!(story.journal.event(end).map(|(_, _, how)| how), Some(LeaseEnd::Expired));
}

#[test]
fn late_write_lands_after_its_worker_crashed() {
    let story = Story::new(1);
    let ann = story.start("ann");
    story.until("held", SECOND * 10, |story| story.owned_by("ann") == Some(1));
    ann.fault(Calls::Writes, CallFault::LandsLate(SECOND * 6));
    let counter = story.lease(0).counter;
    story.pass(SECOND * 5);
    ann.crash();
    assert_eq!(story.lease(0).counter, counter);
    story.until("landed", SECOND * 6, |story| story.lease(0).counter > counter);
}

#[test]
fn frozen_and_suspended_workers_lose_their_leases() {
    for suspends in [false, true] {
        let story = Story::new(1);
        let ann = story.start("ann");
        story.until("held", SECOND * 10, |story| story.owned_by("ann") == Some(1));
        story.start("ben");
        story.pass(SECOND);
        if suspends {
            ann.suspend(SECOND * 30);
        } else {
            ann.freeze(SECOND * 30);
        }
        story.until("taken over", SECOND * 13, |story| story.owned_by("ben") == Some(1));
    }
}
