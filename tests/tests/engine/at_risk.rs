//! Records that come close to being trimmed are reported of in time.

use std::future::pending;
use std::time::Duration;

use futures::StreamExt;
use kcl_core::Record;
use kcl_core::event::Event;
use kcl_core::for_each;
use kcl_core::for_stream;
use kcl_sim::story::{Act, CallFault, Calls, Story};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_hours(1);

fn at_risk(event: &Event) -> Option<Duration> {
    if let Event::DataAtRisk { age, .. } = event { Some(*age) } else { None }
}

fn with_retention() -> Story {
    let story = Story::new(1);
    story.stream.set_retention(RETENTION);
    story
}

#[test]
fn failing_batch_is_reported_with_growing_pauses() {
    let story = with_retention();
    story.on(|call| call.delivers("poison"), Act::Fail);
    story.put(0, ["poison"]);
    story.start("w");
    story.pass(MINUTE * 29);
    assert_eq!(story.journal.events(at_risk), []);
    story.pass(MINUTE * 12);
    let reported: Vec<_> = story.journal.events(at_risk).into_iter().map(|(at, ..)| at).collect();
    let minutes: Vec<_> = reported.iter().map(|at| at.as_secs() / 60).collect();
    assert_eq!(minutes, [30, 31, 33, 37]);
}

#[test]
fn shorter_retention_is_noticed() {
    let story = Story::new(1);
    story.on(|call| call.delivers("poison"), Act::Fail);
    story.put(0, ["poison"]);
    story.start("w");
    story.pass(MINUTE * 40);
    assert_eq!(story.journal.events(at_risk), []);
    story.stream.set_retention(RETENTION);
    story.until("reported", MINUTE, |story| story.journal.event(at_risk).is_some());
}

#[test]
fn backlog_is_reported_at_once_until_it_is_done() {
    let story = with_retention();
    story.put(0, ["old"]);
    story.pass(MINUTE * 40);
    story.put(0, ["new"]);
    story.configure(|config| config.retrieval.records_max = 1);
    story.on(|call| call.delivers("old"), Act::Take(SECOND * 5));
    story.start("w");
    story.until("done", SOON, |story| story.journal.has("new"));
    story.pass(MINUTE * 20);
    let reported = story.journal.events(at_risk);
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].2 >= MINUTE * 40, "{reported:?}");
}

#[test]
fn unreadable_shard_is_reported() {
    let story = with_retention();
    let worker = story.start("w");
    story.put(0, ["a"]);
    story.until("delivered", SOON, |story| story.journal.has("a"));
    worker.fault(Calls::Reads, CallFault::Refused);
    story.until("reported", MINUTE * 40, |story| story.journal.event(at_risk).is_some());
}

#[test]
fn record_in_flight_forever_is_reported() {
    let story = with_retention();
    story.put(0, ["stuck"]);
    let processor = for_each(|record: Record| async move {
        if &*record.data == b"stuck" { pending().await } else { Ok(()) }
    });
    let worker = story.start_with("w", processor);
    for minute in 0..41 {
        let key = format!("key {minute}");
        story.put_as(0, &key, "ok");
        story.pass(MINUTE);
    }
    let slow = |event: &Event| {
        if let Event::ProcessorSlow { call, .. } = event { Some(*call) } else { None }
    };
    let minutes = |at: Vec<Duration>| -> Vec<_> { at.iter().map(|at| at.as_secs() / 60).collect() };
    let slow: Vec<_> = story.journal.events(slow);
    assert!(slow.iter().all(|reported| reported.2 == "acknowledgements"), "{slow:?}");
    assert_eq!(minutes(slow.into_iter().map(|it| it.0).collect()), [1, 2, 4, 8, 16, 32]);
    let reported = story.journal.events(at_risk).into_iter().map(|it| it.0).collect();
    assert_eq!(minutes(reported), [30, 31, 33, 37]);
    let held = worker.status().held;
    assert!(held[0].behind_latest >= Some(MINUTE * 40), "{held:?}");
    assert_eq!(held[0].slow.as_ref().map(|slow| slow.call), Some("acknowledgements"));
    worker.crash();
}

#[test]
fn repeatedly_failed_ack_is_reported() {
    let story = with_retention();
    story.put(0, ["poison"]);
    let processor = for_stream(|mut records| async move {
        while let Some((_, ack)) = records.next().await {
            sleep(SECOND).await;
            ack.fail("scripted");
        }
        Ok(())
    });
    let worker = story.start_with("w", processor);
    story.pass(MINUTE * 29);
    assert_eq!(story.journal.events(at_risk), []);
    story.until("reported", MINUTE * 2, |story| story.journal.event(at_risk).is_some());
    let slow = |event: &Event| matches!(event, Event::ProcessorSlow { .. }).then_some(());
    assert_eq!(story.journal.events(slow), [], "each attempt ends");
    worker.crash();
}
