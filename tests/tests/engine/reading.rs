//! Reading resumes where it stopped: expired iterators, throttles, refusals, trimmed records.

use std::time::Duration;

use kcl_core::config::LostDataPolicy;
use kcl_core::event::{Event, LeaseEnd};
use kcl_sim::memory::Limits;
use kcl_sim::story::{Act, CallFault, Calls, Story};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

const fn lost(event: &Event) -> Option<()> {
    if matches!(event, Event::DataLost { .. }) { Some(()) } else { None }
}

const fn how(event: &Event) -> Option<LeaseEnd> {
    if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None }
}

#[test]
fn expired_iterator_resumes_without_loss_or_repeat() {
    let story = Story::new(1);
    story.start("w");
    story.put(0, ["a"]);
    story.until("delivered", SOON, |story| story.journal.has("a"));
    story.on(|call| call.delivers("b"), Act::Take(SECOND * 400));
    story.put(0, ["b"]);
    story.until("begun", SOON, |story| story.journal.has("b"));
    // One batch is read ahead; then the reader rests for longer than its iterator lasts.
    story.pass(SECOND * 5);
    story.put(0, ["c"]);
    story.pass(SECOND * 5);
    story.put(0, ["d", "e"]);
    story.until("delivered", SECOND * 420, |story| story.journal.has("e"));
    assert_eq!(story.journal.delivered(), ["a", "b", "c", "d", "e"]);
    assert_eq!(story.journal.events(lost), []);
}

#[test]
fn throttled_reads_are_retried_without_loss() {
    let story = Story::new(1);
    story.stream.set_limits(Limits::KINESIS);
    story.start("w");
    let mut expected = Vec::new();
    for number in 0..20 {
        let record = number.to_string();
        story.put(0, [record.as_str()]);
        expected.push(record);
        story.stream.throttle_next(3);
        story.pass(Duration::from_millis(300));
    }
    story.until("delivered", SECOND * 60, |story| story.journal.has("19"));
    assert_eq!(story.journal.delivered(), expected);
    assert_eq!(story.journal.events(how), []);
}

#[test]
fn denied_reads_move_the_lease_to_another_worker() {
    let story = Story::new(1);
    let sick = story.start("sick");
    story.until("held", SOON, |story| story.owned_by("sick") == Some(1));
    let healthy = story.start("healthy");
    story.pass(SECOND * 5);
    sick.fault(Calls::Reads, CallFault::Denied);
    story.put(0, ["a"]);
    story.until("delivered", SECOND * 90, |story| story.journal.has("a"));
    assert_eq!(story.journal.who_got("a"), ["healthy"]);
    let (_, who, how) = story.journal.event(how).unwrap();
    assert_eq!((who.as_str(), how), ("sick", LeaseEnd::Released));
    let said = story.journal.event(|event| {
        if let Event::FetchFailed { error, .. } = event { Some(error.clone()) } else { None }
    });
    let (_, _, error) = said.unwrap();
    assert!(error.contains("kinesis:GetRecords") && error.contains("simulated"), "{error}");
    healthy.stop().unwrap();
    sick.stop().unwrap();
}

#[test]
fn outage_of_the_source_keeps_the_lease() {
    let story = Story::new(1);
    let worker = story.start("w");
    story.until("held", SOON, |story| story.owned_by("w") == Some(1));
    worker.fault(Calls::Reads, CallFault::Refused);
    story.put(0, ["a"]);
    story.pass(SECOND * 120);
    worker.recover();
    story.until("delivered", SOON, |story| story.journal.has("a"));
    assert_eq!(story.journal.delivered(), ["a"]);
    assert_eq!(story.journal.events(how), []);
}

/// A worker does "a" and "b", is down while the records after them are trimmed, and comes back.
fn trimmed(policy: LostDataPolicy) -> Story {
    let story = Story::new(1);
    story.configure(|config| config.delivery.lost_data = policy);
    story.stream.set_retention(SECOND * 600);
    story.put(0, ["a", "b"]);
    let worker = story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("b"));
    worker.stop().unwrap();
    story.put(0, ["c"]);
    story.pass(SECOND * 700);
    let left = story.put(0, ["d"]);
    story.trim_before(0, left);
    story
}

#[test]
fn lost_data_is_reported_and_reading_continues() {
    let story = trimmed(LostDataPolicy::Continue);
    story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("d"));
    assert_eq!(story.journal.delivered(), ["a", "b", "d"]);
    assert_eq!(story.journal.events(lost).len(), 1);
}

#[test]
fn lost_data_stops_the_shard_under_that_policy() {
    let story = trimmed(LostDataPolicy::Stop);
    let before = story.lease(0).checkpoint;
    story.start("w");
    story.start("other");
    story.until("reported", SOON, |story| story.journal.events(lost).len() == 2);
    story.pass(SECOND * 60);
    assert_eq!(story.journal.delivered(), ["a", "b"]);
    assert_eq!(story.lease(0).checkpoint, before);
    // Each worker tried it once; then the shard rests.
    assert_eq!(story.journal.events(lost).len(), 2);
    let released = story.journal.events(how);
    assert!(released.iter().all(|(_, _, how)| *how == LeaseEnd::Released), "{released:?}");
    assert_eq!(story.lease(0).owner, None);
    story.ends_unhealed("the shard is stopped");
}
