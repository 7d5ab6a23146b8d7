//! A lease that is lost, or cannot be renewed, delivers nothing more.

use std::time::Duration;

use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, Position, WorkerId};
use kcl_tests::world::{Act, Call, StoreFault, World};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

fn ends(world: &World) -> Vec<(Duration, LeaseEnd)> {
    let ended =
        |event: &Event| if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None };
    world.journal.events(ended).into_iter().map(|(at, _, how)| (at, how)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_cancels_the_processor_and_delivers_nothing_after() {
    let world = World::new(1);
    world.put(0, ["a"]);
    world.script(
        |asked| if matches!(asked.call, Call::Process { .. }) { Act::Hang } else { Act::Succeed },
    );
    let _worker = world.start("w");
    world.until("begun", SOON, |world| world.journal.has("a")).await;
    world.put(0, ["b"]);
    world.usurp(0, "thief");
    world.until("lost", SOON, |world| world.journal.calls(0).len() >= 7).await;
    assert_eq!(world.journal.calls(0)[3..], ["process a #1", "dropped", "lease lost", "done"]);
    assert_eq!(ends(&world)[0].1, LeaseEnd::Lost);
    assert_eq!(world.lease(0).owner, Some(WorkerId::from("thief")));
    world.pass(SECOND * 5).await;
    assert_eq!(world.journal.delivered(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_not_taken_while_its_former_processor_hears_of_the_loss() {
    let world = World::new(1);
    world.script(
        |asked| if asked.call == Call::LeaseLost { Act::Take(SECOND * 6) } else { Act::Succeed },
    );
    let _worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    world.usurp(0, "thief");
    world.until("lost", SOON, |world| !ends(world).is_empty()).await;
    let mut lease = world.lease(0);
    (lease.owner, lease.counter) = (None, lease.counter.next());
    world.store.insert_lease(lease);
    let calls = |world: &World| world.journal.calls(0);
    let made = |world: &World| calls(world).iter().filter(|call| *call == "made").count();
    world.until("taken again", SECOND * 20, |world| made(world) == 2).await;
    let told = calls(&world).iter().position(|call| call == "lease lost").unwrap();
    let calls = calls(&world);
    assert_eq!(calls[told + 1], "done", "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_row_is_gone_is_lost() {
    let world = World::new(1);
    let _worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    world.store.remove(world.key(0).as_str());
    world.until("lost", SOON, |world| !ends(world).is_empty()).await;
    assert_eq!(ends(&world)[0].1, LeaseEnd::Lost);
    // Shard sync heals the hole.
    world.put(0, ["a"]);
    world.until("healed", SECOND * 30, |world| world.journal.has("a")).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stops_answering_ends_delivery_at_nine_tenths_of_the_expiry() {
    for fault in [StoreFault::Refuse, StoreFault::Silent] {
        let world = World::new(1);
        let worker = world.start("w");
        world.put(0, ["a"]);
        world.until("delivered", SOON, |world| world.journal.has("a")).await;
        world.pass(SECOND * 10).await;
        worker.faults.store(fault);
        let silent_at = world.clock.elapsed();
        let counter = world.lease(0).counter;
        for number in 0..300 {
            world.put(0, [format!("{number}").as_str()]);
            world.pass(Duration::from_millis(100)).await;
        }
        assert_eq!(world.lease(0).counter, counter);
        let last = world.journal.deliveries().last().unwrap().0;
        assert!(last < silent_at + SECOND * 9, "{fault:?}: {last:?} after {silent_at:?}");
        assert!(last > silent_at + SECOND * 4, "{fault:?}: {last:?} after {silent_at:?}");
        let (ended_at, how) = ends(&world)[0];
        assert_eq!(how, LeaseEnd::Expired);
        assert!(ended_at <= silent_at + SECOND * 9 + Duration::from_millis(10), "{ended_at:?}");
        assert!(world.journal.calls(0).contains(&"lease lost".to_owned()));
        worker.faults.store(StoreFault::None);
        world.until("back", SECOND * 30, |world| world.journal.has("299")).await;
        worker.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_hangs_is_dropped_at_the_deadline_of_a_silent_store() {
    let world = World::new(1);
    world.put(0, ["a"]);
    world.script(|asked| if asked.delivers("a") { Act::Hang } else { Act::Succeed });
    let worker = world.start("w");
    world.until("begun", SOON, |world| world.journal.has("a")).await;
    worker.faults.store(StoreFault::Silent);
    let dropped = |world: &World| world.journal.calls(0).contains(&"dropped".to_owned());
    world.until("dropped", SECOND * 10, dropped).await;
    assert_eq!(world.journal.calls(0)[3..5], ["process a #1", "dropped"]);
}

#[tokio::test(start_paused = true)]
async fn writes_whose_replies_are_lost_are_settled_and_the_lease_is_kept() {
    let world = World::new(1);
    let worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    for _ in 0..10 {
        worker.faults.store(StoreFault::LoseReplies);
        world.pass(SECOND * 4).await;
        worker.faults.store(StoreFault::None);
        world.pass(SECOND * 2).await;
    }
    assert_eq!(ends(&world), []);
    world.put(0, ["a"]);
    world.until("delivered", SOON, |world| world.journal.has("a")).await;
}

#[tokio::test(start_paused = true)]
async fn an_explicit_checkpoint_waits_for_the_store_as_long_as_the_lease_lasts() {
    for (outage, is_back_in_time) in [(5, true), (20, false)] {
        let world = World::new(1);
        let worker = world.start("w");
        world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
        world.script(|asked| if asked.delivers("a") { Act::Checkpoint(0) } else { Act::Succeed });
        worker.faults.store(StoreFault::Refuse);
        let at = Checkpoint::After(Position::of(world.put(0, ["a"])));
        world.until("begun", SOON, |world| world.journal.has("a")).await;
        world.pass(SECOND * outage).await;
        assert_ne!(world.lease(0).checkpoint, at);
        worker.faults.store(StoreFault::None);
        world.until("stored", SECOND * 30, |world| world.lease(0).checkpoint == at).await;
        let end = if is_back_in_time { "done" } else { "dropped" };
        assert_eq!(world.journal.calls(0)[3..5], ["process a #1", end], "{outage} s");
        assert_eq!(ends(&world).is_empty(), is_back_in_time);
    }
}
