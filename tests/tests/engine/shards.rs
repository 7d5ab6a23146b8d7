//! Shards end, and their children go on.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_core::backend::JavaRow;
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::Checkpoint;
use kcl_tests::world::{Act, Call, World};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(15);

fn place(world: &World, record: &str) -> usize {
    world.journal.delivered().iter().position(|got| got == record).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_children_of_a_split_start_after_their_parent_ended() {
    let world = World::new(1);
    world.put(0, ["a", "b"]);
    world.script(|asked| {
        if matches!(asked.call, Call::Process { .. } if asked.shard == 0) {
            Act::Take(SECOND * 3)
        } else {
            Act::Succeed
        }
    });
    let worker = world.start("w");
    let [low, high] = world.split(0);
    world.put(low, ["c"]);
    world.put(high, ["d"]);
    world.until("ended", SOON, |world| world.find(0).is_some_and(|lease| lease.is_ended())).await;
    assert_eq!(world.lease(0).children, BTreeSet::from([world.shard(low), world.shard(high)]));
    assert_eq!(world.journal.delivered()[..2], ["a", "b"]);
    let both = |world: &World| world.journal.has("c") && world.journal.has("d");
    world.until("children delivered", SECOND, both).await;
    assert_eq!(world.journal.delivered().len(), 4);
    // The parent's row goes once both children have progressed.
    world.until("deleted", SECOND * 160, |world| world.find(0).is_none()).await;
    for child in [low, high] {
        assert!(world.lease(child).checkpoint.has_progressed());
        assert_eq!(world.lease(child).parents, BTreeSet::from([world.shard(0)]));
    }
    worker.stop().await.unwrap();
    assert_eq!(world.journal.calls(0)[5..7], ["shard ended", "done"]);
}

#[tokio::test(start_paused = true)]
async fn a_parent_stays_until_all_its_children_have_progressed() {
    let world = World::new(1);
    let _worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    let [low, high] = world.split(0);
    world.put(low, ["a"]);
    world.until("delivered", SOON, |world| world.journal.has("a")).await;
    world.pass(SECOND * 60).await;
    assert!(world.lease(0).is_ended());
    world.put(high, ["b"]);
    world.until("deleted", SECOND * 160, |world| world.find(0).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn the_child_of_a_merge_starts_after_both_parents() {
    let world = World::new(2);
    world.put(0, ["a"]);
    world.put(1, ["b"]);
    world.script(|asked| if asked.delivers("b") { Act::Take(SECOND * 8) } else { Act::Succeed });
    let _worker = world.start("w");
    let child = world.merge(0, 1);
    world.put(child, ["c"]);
    world.until("delivered", SECOND * 20, |world| world.journal.has("c")).await;
    assert!(place(&world, "a") < place(&world, "c") && place(&world, "b") < place(&world, "c"));
    assert!(world.clock.elapsed() > SECOND * 8);
    for parent in [0, 1] {
        let lease = world.lease(parent);
        assert_eq!(lease.checkpoint, Checkpoint::ShardEnd);
        assert_eq!(lease.children, BTreeSet::from([world.shard(child)]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tree_of_shards_that_ended_before_the_start_is_read_from_its_root() {
    let world = World::new(1);
    world.put(0, ["a"]);
    let [low, high] = world.split(0);
    world.put(low, ["b"]);
    world.put(high, ["c"]);
    let merged = world.merge(low, high);
    world.put(merged, ["d"]);
    let _worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("d")).await;
    let delivered = world.journal.delivered();
    assert_eq!(delivered.len(), 4);
    assert_eq!((place(&world, "a"), place(&world, "d")), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_shard_end_that_fails_is_tried_again_and_the_children_wait() {
    let world = World::new(1);
    world.put(0, ["a"]);
    world.script(
        |asked| if matches!(asked.call, Call::ShardEnded) { Act::Fail } else { Act::Succeed },
    );
    let _worker = world.start("w");
    let [low, _] = world.split(0);
    world.put(low, ["b"]);
    world.pass(SECOND * 60).await;
    assert!(!world.journal.has("b"));
    world.script(|_| Act::Succeed);
    world.until("delivered", SOON, |world| world.journal.has("b")).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_of_shards_that_lags_behind_delays_children_and_loses_none() {
    let world = World::new(1);
    world.stream.set_list_lag(SECOND * 20);
    let _worker = world.start("w");
    world.pass(SECOND * 30).await;
    let [low, high] = world.split(0);
    world.put(low, ["a"]);
    world.put(high, ["b"]);
    let both = |world: &World| world.journal.has("a") && world.journal.has("b");
    world.until("delivered", SECOND * 40, both).await;
    assert_eq!(world.journal.delivered().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_row_in_a_leases_place_is_reported_as_a_hole_and_holds_up_no_other_shard() {
    let world = World::new(3);
    let _worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(3)).await;
    let (key, range) = (world.key(0).to_string(), world.hash_range(0));
    world.store.remove(&key);
    world.store.remove(world.key(2).as_str());
    let row = JavaRow::new(key.clone(), "ODD".to_owned(), String::new(), None);
    world.store.insert_java_row(row);
    let holes = |world: &World| {
        world.journal.events(|event| {
            if let Event::HashKeysUncovered { range } = event { Some(*range) } else { None }
        })
    };
    world.until("healed", SECOND * 15, |world| world.find(2).is_some()).await;
    assert_eq!(holes(&world), [], "one look may be torn");
    world.put(0, ["a"]);
    world.put(2, ["b"]);
    world.until("delivered", SOON, |world| world.journal.has("b")).await;
    world.pass(SECOND * 60).await;
    let told: Vec<_> = holes(&world).into_iter().map(|(_, _, range)| range).collect();
    assert_eq!(told, [range], "told once, and only what was not healed");
    assert!(!world.journal.has("a"));
    world.store.remove(&key);
    world.until("healed", SECOND * 20, |world| world.journal.has("a")).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_end_a_shard_says_so_and_stops_within_its_drain() {
    let world = World::new(1);
    let worker = world.start("w");
    world.until("held", SOON, |world| world.owned_by("w") == Some(1)).await;
    let [child, _] = world.split(0);
    let in_the_way = JavaRow::new(world.key(child).to_string(), "LEADER".into(), "x".into(), None);
    world.store.insert_java_row(in_the_way);
    let key = world.key(child);
    let told = |event: &Event| {
        if let Event::CallFailed { doing: "create a child's lease", error, .. } = event {
            error.contains(key.as_str()).then_some(())
        } else {
            None
        }
    };
    world.until("told", SOON, |world| world.journal.events(told).len() > 3).await;
    let asked_at = world.clock.elapsed();
    let report = worker.stop().await.unwrap();
    let took = world.clock.elapsed() - asked_at;
    assert!(took <= world.config.shutdown.drain + SECOND, "{took:?}");
    let ends: Vec<_> = report.shards.iter().map(|shard| (shard.key.clone(), shard.how)).collect();
    assert_eq!(ends, [(world.key(0), LeaseEnd::Released)]);
    assert_eq!(world.lease(0).owner, None);
    world.store.remove(key.as_str());
    let _next = world.start("next");
    world.until("ended", SOON, |world| world.lease(0).is_ended()).await;
}
