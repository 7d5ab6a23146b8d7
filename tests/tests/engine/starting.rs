//! The first start, later starts, and starts that must not happen.

use std::sync::Arc;
use std::time::Duration;

use kcl_core::backend::{LeaseStore, Reading};
use kcl_core::error::RunError;
use kcl_core::event::Event;
use kcl_core::model::{InitialPosition, LeaseKey};
use kcl_sim::memory::MemoryStream;
use kcl_tests::errors::chain;
use kcl_tests::world::{StoreFault, World};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

/// The leases of a worker that ran and stopped, as a Java worker would have left them.
async fn java_leases(world: &World) {
    world.start("former").stop_once_held(world).await;
    for mut lease in world.store.leases() {
        (lease.owner, lease.last_write, lease.expiry) = (Some("java".into()), None, None);
        world.store.insert_lease(lease);
    }
}

trait StopOnceHeld {
    async fn stop_once_held(self, world: &World);
}

impl StopOnceHeld for kcl_tests::world::Member {
    async fn stop_once_held(self, world: &World) {
        let name = self.id.name().to_owned();
        let held = |world: &World| world.owned_by(&name) == Some(world.stream.shards().len());
        world.until("held", SOON, held).await;
        self.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn latest_is_resolved_once_and_a_second_start_skips_nothing() {
    let mut world = World::new(1);
    world.config.retrieval.initial_position = InitialPosition::Latest;
    world.put(0, ["before"]);
    world.pass(SECOND * 5).await;
    world.start("w").stop_once_held(&world).await;
    world.put(0, ["a"]);
    world.pass(SECOND * 3_600).await;
    world.put(0, ["b"]);
    let _again = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("b")).await;
    assert_eq!(world.journal.delivered(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn latest_does_not_skip_the_children_of_a_later_split() {
    let mut world = World::new(1);
    world.config.retrieval.initial_position = InitialPosition::Latest;
    world.start("w").stop_once_held(&world).await;
    let [low, high] = world.split(0);
    world.put(low, ["a"]);
    world.put(high, ["b"]);
    let _again = world.start("w");
    let both = |world: &World| world.journal.has("a") && world.journal.has("b");
    world.until("delivered", SECOND * 30, both).await;
}

#[tokio::test(start_paused = true)]
async fn a_recreated_stream_is_refused_and_named() {
    let world = World::new(1);
    world.start("w").stop_once_held(&world).await;
    world.pass(SECOND * 60).await;
    world.stream.recreate(1);
    let error = world.start("w").ended().await.unwrap_err();
    assert!(matches!(error, RunError::StreamRecreated { .. }), "{error:?}");
    let said = chain(&error);
    assert!(said.contains("stream orders") && said.contains("delete the lease table"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_recreated_while_it_is_consumed_ends_the_worker() {
    let world = World::new(1);
    let worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    world.stream.recreate(1);
    let error = worker.ended().await.unwrap_err();
    assert!(matches!(error, RunError::StreamRecreated { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_deleted_while_it_is_consumed_ends_the_worker() {
    let world = World::new(1);
    let worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    world.stream.delete();
    let error = worker.ended().await.unwrap_err();
    let said = chain(&error);
    assert!(said.contains("\"orders\" does not exist"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn another_stream_in_the_same_table_is_refused_and_both_are_named() {
    let world = World::new(1);
    world.start("w").stop_once_held(&world).await;
    let other = MemoryStream::new("returns", 1, Arc::new(world.clock));
    let error = world.start_on("w", other).ended().await.unwrap_err();
    assert!(matches!(error, RunError::OtherStream { .. }), "{error:?}");
    let said = chain(&error);
    assert!(said.contains("orders") && said.contains("returns"), "{said}");
    assert!(said.contains("another application name"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_java_row_that_changes_refuses_the_start_and_nothing_is_written() {
    let world = World::new(2);
    java_leases(&world).await;
    let worker = world.start("w");
    world.pass(SECOND * 30).await;
    world.usurp(1, "java");
    let before = world.store.leases();
    let error = worker.ended().await.unwrap_err();
    assert!(matches!(error, RunError::JavaFleetAlive { .. }), "{error:?}");
    let said = chain(&error);
    assert!(said.contains("shardId-000000000001") && said.contains("stop them"), "{said}");
    assert_eq!(world.store.leases(), before);
}

#[tokio::test(start_paused = true)]
async fn java_rows_that_a_stale_scan_misses_are_waited_for() {
    let mut world = World::new(1);
    java_leases(&world).await;
    let lease = world.lease(0);
    world.store.remove(world.key(0).as_str());
    world.store = world.store.clone().with_stale_scans(1);
    world.store.remove("nothing");
    world.store.insert_lease(lease);
    let _worker = world.start("w");
    world.pass(SECOND * 30).await;
    assert_eq!(world.owned_by("java"), Some(1));
    let waits = |event: &Event| matches!(event, Event::WaitingForJava { .. }).then_some(());
    assert_eq!(world.journal.events(waits).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn still_java_rows_are_taken_over_after_ninety_seconds() {
    let world = World::new(2);
    world.put(0, ["a"]);
    java_leases(&world).await;
    world.put(0, ["b"]);
    let began = world.clock.elapsed();
    let _worker = world.start("w");
    world.until("delivered", SECOND * 120, |world| world.journal.has("b")).await;
    let took = world.clock.elapsed() - began;
    assert!((SECOND * 90..SECOND * 110).contains(&took), "{took:?}");
    let waits = world.journal.event(|event| {
        if let Event::WaitingForJava { at_least, .. } = event { Some(*at_least) } else { None }
    });
    assert_eq!(waits.unwrap().2, SECOND * 90);
    assert_eq!(world.journal.delivered(), ["a", "b"]);
}

/// How many workers have a row in the table.
async fn presence(world: &World) -> usize {
    world.store.scan(None, Reading::Consistent).await.unwrap().presence.len()
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_while_it_starts_leaves_no_presence() {
    let world = World::new(1);
    let worker = world.start("w");
    worker.faults.store(StoreFault::LoseReplies); // The first leases are never done.
    world.pass(SECOND * 3).await;
    assert_eq!(presence(&world).await, 1);
    worker.stop().await.unwrap();
    assert_eq!(presence(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_start_leaves_no_presence() {
    let world = World::new(1);
    world.start("former").stop_once_held(&world).await;
    let mut lease = world.lease(0);
    lease.key = LeaseKey::new("orders"); // Where the stream's start belongs.
    world.store.insert_lease(lease);
    let error = world.start("w").ended().await.unwrap_err();
    assert!(matches!(error, RunError::Leases(_)), "{error:?}");
    assert_eq!(presence(&world).await, 0);
}
