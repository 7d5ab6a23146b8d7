//! Reading goes on where it stopped: expired iterators, throttles, refusals, trimmed records.

use std::time::Duration;

use kcl_core::backend::SourceError;
use kcl_core::config::LostDataPolicy;
use kcl_core::event::{Event, LeaseEnd};
use kcl_sim::memory::Limits;
use kcl_tests::world::{Act, World};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

fn denied() -> SourceError {
    SourceError::AccessDenied {
        stream: "orders".to_owned(),
        action: "kinesis:GetRecords",
        source: "as told".into(),
    }
}

const fn lost(event: &Event) -> Option<()> {
    if matches!(event, Event::DataLost { .. }) { Some(()) } else { None }
}

const fn how(event: &Event) -> Option<LeaseEnd> {
    if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None }
}

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_resumes_without_a_loss_or_a_repeat() {
    let world = World::new(1);
    let _worker = world.start("w");
    world.put(0, ["a"]);
    world.until("delivered", SOON, |world| world.journal.has("a")).await;
    world.script(|asked| if asked.delivers("b") { Act::Take(SECOND * 400) } else { Act::Succeed });
    world.put(0, ["b"]);
    world.until("begun", SOON, |world| world.journal.has("b")).await;
    // One batch is read ahead; then the reader rests for longer than its iterator lasts.
    world.pass(SECOND * 5).await;
    world.put(0, ["c"]);
    world.pass(SECOND * 5).await;
    world.put(0, ["d", "e"]);
    world.until("delivered", SECOND * 420, |world| world.journal.has("e")).await;
    assert_eq!(world.journal.delivered(), ["a", "b", "c", "d", "e"]);
    assert_eq!(world.journal.events(lost), []);
}

#[tokio::test(start_paused = true)]
async fn throttled_reads_are_repeated_and_lose_nothing() {
    let world = World::new(1);
    world.stream.set_limits(Limits::KINESIS);
    let _worker = world.start("w");
    let mut expected = Vec::new();
    for number in 0..20 {
        let record = number.to_string();
        world.put(0, [record.as_str()]);
        expected.push(record);
        world.stream.throttle_next(3);
        world.pass(Duration::from_millis(300)).await;
    }
    world.until("delivered", SECOND * 60, |world| world.journal.has("19")).await;
    assert_eq!(world.journal.delivered(), expected);
    assert_eq!(world.journal.events(how), []);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_for_good_gives_the_lease_to_a_worker_that_can_read() {
    let world = World::new(1);
    let sick = world.start("sick");
    world.until("held", SOON, |world| world.owned_by("sick") == Some(1)).await;
    let healthy = world.start("healthy");
    world.pass(SECOND * 5).await;
    sick.faults.source(Some(denied));
    world.put(0, ["a"]);
    world.until("delivered", SECOND * 90, |world| world.journal.has("a")).await;
    assert_eq!(world.journal.who_got("a"), ["healthy"]);
    let (_, who, how) = world.journal.event(how).unwrap();
    assert_eq!((who.as_str(), how), ("sick", LeaseEnd::Released));
    let said = world.journal.event(|event| {
        if let Event::FetchFailed { error, .. } = event { Some(error.clone()) } else { None }
    });
    let (_, _, error) = said.unwrap();
    assert!(error.contains("kinesis:GetRecords") && error.contains("orders"), "{error}");
    healthy.stop().await.unwrap();
    sick.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_for_a_while_keeps_the_lease() {
    let world = World::new(1);
    let worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    worker.faults.source(Some(|| SourceError::Unavailable {
        stream: "orders".to_owned(),
        source: "as told".into(),
    }));
    world.put(0, ["a"]);
    world.pass(SECOND * 120).await;
    worker.faults.source(None);
    world.until("delivered", SOON, |world| world.journal.has("a")).await;
    assert_eq!(world.journal.delivered(), ["a"]);
    assert_eq!(world.journal.events(how), []);
}

/// A worker does "a" and "b", is down while the records after them are trimmed, and comes back.
async fn trimmed(policy: LostDataPolicy) -> World {
    let mut world = World::new(1);
    world.config.delivery.lost_data = policy;
    world.stream.set_retention(SECOND * 600);
    world.put(0, ["a", "b"]);
    let worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("b")).await;
    worker.stop().await.unwrap();
    world.put(0, ["c"]);
    world.pass(SECOND * 700).await;
    let left = world.put(0, ["d"]);
    world.stream.trim_before(&world.shard(0), left);
    world
}

#[tokio::test(start_paused = true)]
async fn lost_data_is_told_and_the_oldest_record_that_is_left_comes_next() {
    let world = trimmed(LostDataPolicy::Continue).await;
    let _worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("d")).await;
    assert_eq!(world.journal.delivered(), ["a", "b", "d"]);
    assert_eq!(world.journal.events(lost).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_data_stops_the_shard_where_that_is_asked_for() {
    let world = trimmed(LostDataPolicy::Stop).await;
    let before = world.lease(0).checkpoint;
    let _worker = world.start("w");
    let _other = world.start("other");
    world.until("told", SOON, |world| world.journal.events(lost).len() == 2).await;
    world.pass(SECOND * 60).await;
    assert_eq!(world.journal.delivered(), ["a", "b"]);
    assert_eq!(world.lease(0).checkpoint, before);
    // Each worker tried it once; then the shard rests.
    assert_eq!(world.journal.events(lost).len(), 2);
    let released = world.journal.events(how);
    assert!(released.iter().all(|(_, _, how)| *how == LeaseEnd::Released), "{released:?}");
    assert_eq!(world.lease(0).owner, None);
}
