//! Records that come close to being trimmed are told of in time.

use std::future::pending;
use std::time::Duration;

use futures::StreamExt;
use kcl_core::Record;
use kcl_core::backend::SourceError;
use kcl_core::event::Event;
use kcl_core::for_each;
use kcl_core::for_stream;
use kcl_tests::world::{Act, World};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_hours(1);

fn at_risk(event: &Event) -> Option<Duration> {
    if let Event::DataAtRisk { age, .. } = event { Some(*age) } else { None }
}

fn world() -> World {
    let world = World::new(1);
    world.stream.set_retention(RETENTION);
    world
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_for_half_of_the_retention_is_told_with_growing_pauses() {
    let world = world();
    world.script(|asked| if asked.delivers("poison") { Act::Fail } else { Act::Succeed });
    world.put(0, ["poison"]);
    let _worker = world.start("w");
    world.pass(MINUTE * 29).await;
    assert_eq!(world.journal.events(at_risk), []);
    world.pass(MINUTE * 12).await;
    let told: Vec<_> = world.journal.events(at_risk).into_iter().map(|(at, ..)| at).collect();
    let minutes: Vec<_> = told.iter().map(|at| at.as_secs() / 60).collect();
    assert_eq!(minutes, [30, 31, 33, 37]);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_told_at_once_and_no_more_when_it_is_done() {
    let world = world();
    world.put(0, ["old"]);
    world.pass(MINUTE * 40).await;
    world.put(0, ["new"]);
    let mut world = world;
    world.config.retrieval.records_max = 1;
    world.script(|asked| if asked.delivers("old") { Act::Take(SECOND * 5) } else { Act::Succeed });
    let _worker = world.start("w");
    world.until("done", SOON, |world| world.journal.has("new")).await;
    world.pass(MINUTE * 20).await;
    let told = world.journal.events(at_risk);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].2 >= MINUTE * 40, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_be_read_for_long_is_told_too() {
    let world = world();
    let worker = world.start("w");
    world.put(0, ["a"]);
    world.until("delivered", SOON, |world| world.journal.has("a")).await;
    worker.faults.source(Some(|| SourceError::Unavailable {
        stream: "orders".to_owned(),
        source: "as told".into(),
    }));
    world.until("told", MINUTE * 40, |world| world.journal.event(at_risk).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_under_way_that_is_never_done_is_told_though_others_go_on() {
    let world = world();
    world.put(0, ["stuck"]);
    let processor = for_each(|record: Record| async move {
        if &*record.data == b"stuck" { pending().await } else { Ok(()) }
    });
    let worker = world.start_processor("w", world.stream.clone(), processor);
    for minute in 0..41 {
        let key = format!("key {minute}");
        world.stream.put_at(world.hash_range(0).start, key.as_str(), "ok").unwrap();
        world.pass(MINUTE).await;
    }
    let slow = |event: &Event| {
        if let Event::ProcessorSlow { call, .. } = event { Some(*call) } else { None }
    };
    let minutes = |at: Vec<Duration>| -> Vec<_> { at.iter().map(|at| at.as_secs() / 60).collect() };
    let slow: Vec<_> = world.journal.events(slow);
    assert!(slow.iter().all(|told| told.2 == "acknowledgements"), "{slow:?}");
    assert_eq!(minutes(slow.into_iter().map(|it| it.0).collect()), [1, 2, 4, 8, 16, 32]);
    let told = world.journal.events(at_risk).into_iter().map(|it| it.0).collect();
    assert_eq!(minutes(told), [30, 31, 33, 37]);
    let held = worker.handle.status().held;
    assert!(held[0].behind_latest >= Some(MINUTE * 40), "{held:?}");
    assert_eq!(held[0].slow.as_ref().map(|slow| slow.call), Some("acknowledgements"));
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_acknowledgement_fails_again_and_again_is_told_too() {
    let world = world();
    world.put(0, ["poison"]);
    let processor = for_stream(|mut records| async move {
        while let Some((_, ack)) = records.next().await {
            sleep(SECOND).await;
            ack.fail("as told");
        }
        Ok(())
    });
    let _worker = world.start_processor("w", world.stream.clone(), processor);
    world.pass(MINUTE * 29).await;
    assert_eq!(world.journal.events(at_risk), []);
    world.until("told", MINUTE * 2, |world| world.journal.event(at_risk).is_some()).await;
    let slow = |event: &Event| matches!(event, Event::ProcessorSlow { .. }).then_some(());
    assert_eq!(world.journal.events(slow), [], "each attempt ends");
}
