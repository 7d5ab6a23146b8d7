//! The records of a shard as a stream.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kcl_core::event::Event;
use kcl_core::for_stream;
use kcl_core::model::{Checkpoint, Position};
use kcl_core::processor::ForStream;
use kcl_tests::world::World;
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
                if text == poison && is_first { ack.fail("as told") } else { ack.done() }
            };
            records.for_each_concurrent(4, each).await;
            seen.note("end");
            Ok(())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_records_ends_with_the_drain_once_all_are_acknowledged() {
    let world = World::new(1);
    let last = world.put(0, ["a", "b", "c", "d", "e", "f"]);
    let seen = Seen::default();
    let worker = world.start_processor("w", world.stream.clone(), concurrent(&seen, ""));
    world.until("begun", SOON, |_| !seen.all().is_empty()).await;
    worker.stop().await.unwrap();
    let mut all = seen.all();
    assert_eq!(all.pop().unwrap(), "end");
    all.sort();
    assert_eq!(all, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(world.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_stream_that_fails_comes_again_to_a_new_one() {
    let world = World::new(1);
    world.put(0, ["a", "b", "c", "d", "e", "f"]);
    let seen = Seen::default();
    let worker = world.start_processor("w", world.stream.clone(), concurrent(&seen, "c"));
    let is_done = |world: &World| {
        world.find(0).is_some_and(|lease| lease.checkpoint.has_progressed())
            && seen.all().iter().filter(|it| *it == "c").count() == 2
            && seen.all().contains(&"f".to_owned())
    };
    world.until("done", SOON, is_done).await;
    worker.stop().await.unwrap();
    let failed = |event: &Event| matches!(event, Event::BatchFailed { .. }).then_some(());
    assert_eq!(world.journal.events(failed).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_ends_before_its_records_is_begun_again() {
    let world = World::new(1);
    world.put(0, ["a", "b", "c"]);
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
    let worker = world.start_processor("w", world.stream.clone(), one_each);
    world.until("done", SOON, |_| seen.all().len() >= 3).await;
    worker.stop().await.unwrap();
    assert_eq!(seen.all(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_shard() {
    let world = World::new(1);
    world.put(0, ["a", "b"]);
    let seen = Seen::default();
    let worker = world.start_processor("w", world.stream.clone(), concurrent(&seen, ""));
    world.split(0);
    world.until("ended", SOON, |world| world.find(0).is_some_and(|it| it.is_ended())).await;
    assert!(seen.all().contains(&"end".to_owned()));
    worker.stop().await.unwrap();
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

#[tokio::test(start_paused = true)]
async fn records_that_a_stream_passed_on_are_waited_for_after_its_end() {
    for ends in ["stop", "shard"] {
        let world = World::new(1);
        let last = world.put(0, ["a", "b"]);
        let seen = Seen::default();
        let passes_on = passing_on(&seen);
        let worker = world.start_processor("w", world.stream.clone(), passes_on);
        world.until("begun", SOON, |_| seen.all().len() == 2).await;
        if ends == "shard" {
            world.split(0);
            world.until("ended", SOON, |world| world.find(0).is_some_and(|it| it.is_ended())).await;
        }
        worker.stop().await.unwrap();
        assert_eq!(seen.all(), ["a", "b"], "{ends}");
        if ends == "stop" {
            assert_eq!(world.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
        }
        let failed = |event: &Event| matches!(event, Event::BatchFailed { .. }).then_some(());
        assert_eq!(world.journal.events(failed).len(), 0, "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_fails_says_how_often_its_record_was_delivered() {
    let world = World::new(1);
    world.put(0, ["a", "b"]);
    let failing = for_stream(|mut records| async move {
        while let Some((record, ack)) = records.next().await {
            if &*record.data == b"b" { ack.fail("as told") } else { ack.done() }
        }
        Ok(())
    });
    let _worker = world.start_processor("w", world.stream.clone(), failing);
    let attempts = |world: &World| {
        let attempt = |event: &Event| {
            if let Event::BatchFailed { attempt, .. } = event { Some(*attempt) } else { None }
        };
        world.journal.events(attempt).into_iter().map(|told| told.2).collect::<Vec<_>>()
    };
    world.until("failed", SOON, |world| attempts(world).len() >= 4).await;
    assert_eq!(attempts(&world)[..4], [1, 2, 3, 4]);
}
