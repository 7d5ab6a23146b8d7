//! The records of a shard as a stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kcl_core::event::Event;
use kcl_core::for_stream;
use kcl_core::model::{Checkpoint, Position};
use kcl_core::processor::ForStream;
use kcl_sim::story::Story;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, record: &str) {
        self.0.lock().unwrap().push(record.to_owned());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Takes a second for each of up to 4 records; fails once at `poison`, and notes the stream's end.
fn concurrent(seen: &Seen, poison: &'static str) -> ForStream {
    let seen = seen.clone();
    for_stream(move |records| {
        let seen = seen.clone();
        async move {
            let notes = &seen;
            let each = async |(record, ack): (kcl_core::Record, kcl_core::Ack)| {
                sleep(SECOND).await;
                let text = String::from_utf8_lossy(&record.data).into_owned();
                let is_first = !notes.all().contains(&text);
                notes.note(&text);
                if text == poison && is_first { ack.fail("scripted") } else { ack.done() }
            };
            records.for_each_concurrent(4, each).await;
            seen.note("end");
            Ok(())
        }
    })
}

#[test]
fn stream_ends_with_the_drain_once_all_are_acked() {
    let story = Story::new(1);
    let last = story.put(0, ["a", "b", "c", "d", "e", "f"]);
    let seen = Seen::default();
    let worker = story.start_with("w", concurrent(&seen, ""));
    story.until("begun", SOON, |_| !seen.all().is_empty());
    worker.stop().unwrap();
    let mut all = seen.all();
    assert_eq!(all.pop().unwrap(), "end");
    all.sort();
    assert_eq!(all, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(story.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
}

#[test]
fn failed_record_is_redelivered_to_a_new_stream() {
    let story = Story::new(1);
    story.put(0, ["a", "b", "c", "d", "e", "f"]);
    let seen = Seen::default();
    let worker = story.start_with("w", concurrent(&seen, "c"));
    let is_done = |story: &Story| {
        story.find(0).is_some_and(|lease| lease.checkpoint.has_progressed())
            && seen.all().iter().filter(|it| *it == "c").count() == 2
            && seen.all().contains(&"f".to_owned())
    };
    story.until("done", SOON, is_done);
    worker.stop().unwrap();
    let failed = |event: &Event| matches!(event, Event::BatchFailed { .. }).then_some(());
    assert_eq!(story.journal.events(failed).len(), 1);
}

#[test]
fn future_that_ends_early_is_restarted() {
    let story = Story::new(1);
    story.put(0, ["a", "b", "c"]);
    let seen = Seen::default();
    let notes = seen.clone();
    let one_each = for_stream(move |mut records| {
        let seen = notes.clone();
        async move {
            if let Some((record, ack)) = records.next().await {
                seen.note(&String::from_utf8_lossy(&record.data));
                ack.done();
            }
            Ok(())
        }
    });
    let worker = story.start_with("w", one_each);
    story.until("done", SOON, |_| seen.all().len() >= 3);
    worker.stop().unwrap();
    assert_eq!(seen.all(), ["a", "b", "c"]);
}

#[test]
fn stream_ends_with_its_shard() {
    let story = Story::new(1);
    story.put(0, ["a", "b"]);
    let seen = Seen::default();
    let worker = story.start_with("w", concurrent(&seen, ""));
    story.split(0);
    story.until("ended", SOON, |story| story.find(0).is_some_and(|it| it.is_ended()));
    assert!(seen.all().contains(&"end".to_owned()));
    worker.stop().unwrap();
}

/// Passes each record on to a task that takes five seconds.
fn passing_on(seen: &Seen) -> ForStream {
    let seen = seen.clone();
    for_stream(move |mut records| {
        let seen = seen.clone();
        async move {
            while let Some((record, ack)) = records.next().await {
                seen.note(&String::from_utf8_lossy(&record.data));
                write_elsewhere(ack);
            }
            Ok(())
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "an application may")]
fn write_elsewhere(ack: kcl_core::Ack) {
    tokio::spawn(async move {
        sleep(SECOND * 5).await;
        ack.done();
    });
}

#[test]
fn passed_on_records_are_awaited_after_the_end() {
    for ends in ["stop", "shard"] {
        let story = Story::new(1);
        let last = story.put(0, ["a", "b"]);
        let seen = Seen::default();
        let passes_on = passing_on(&seen);
        let worker = story.start_with("w", passes_on);
        story.until("begun", SOON, |_| seen.all().len() == 2);
        if ends == "shard" {
            story.split(0);
            story.until("ended", SOON, |story| story.find(0).is_some_and(|it| it.is_ended()));
        }
        worker.stop().unwrap();
        assert_eq!(seen.all(), ["a", "b"], "{ends}");
        if ends == "stop" {
            assert_eq!(story.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
        }
        let failed = |event: &Event| matches!(event, Event::BatchFailed { .. }).then_some(());
        assert_eq!(story.journal.events(failed).len(), 0, "{ends}");
    }
}

#[test]
fn failed_ack_reports_the_attempt() {
    let story = Story::new(1);
    story.put(0, ["a", "b"]);
    let failing = for_stream(|mut records| async move {
        while let Some((record, ack)) = records.next().await {
            if &*record.data == b"b" { ack.fail("scripted") } else { ack.done() }
        }
        Ok(())
    });
    let worker = story.start_with("w", failing);
    let attempts = |story: &Story| {
        let attempt = |event: &Event| {
            if let Event::BatchFailed { attempt, .. } = event { Some(*attempt) } else { None }
        };
        story.journal.events(attempt).into_iter().map(|reported| reported.2).collect::<Vec<_>>()
    };
    story.until("failed", SOON, |story| attempts(story).len() >= 4);
    assert_eq!(attempts(&story)[..4], [1, 2, 3, 4]);
    worker.crash(); // It would fail for as long as it runs.
}
