//! Several workers: shares, hand-overs, crashes.

use std::time::Duration;

use kcl_core::backend::{Conditional, LeaseStore};
use kcl_core::backend::{LeaseWrite, WriteKind};
use kcl_core::event::{Event, LeaseEnd, TakeReason};
use kcl_core::model::{Checkpoint, LeaseKey};
use kcl_tests::world::{Act, Asked, Call, Member, StoreFault, World};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

const fn taken(event: &Event) -> Option<TakeReason> {
    if let Event::LeaseTaken { why, .. } = event { Some(*why) } else { None }
}

const fn ended(event: &Event) -> Option<LeaseEnd> {
    if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None }
}

#[tokio::test(start_paused = true)]
async fn two_workers_share_any_number_of_shards() {
    for shards in 1..=7 {
        let world = World::new(shards);
        let _a = world.start("a");
        world.until("held", SOON, |world| world.owned_by("a") == Some(shards)).await;
        let _b = world.start("b");
        let fair = |world: &World| world.owned_by("b") == Some(shards / 2);
        world.until("shared", SECOND * 40, fair).await;
        world.pass(SECOND * 60).await;
        assert_eq!(world.owned_by("b"), Some(shards / 2), "{shards} shards");
        let ends = world.journal.events(ended);
        assert_eq!(ends.len(), shards / 2, "{shards} shards: {ends:?}");
        assert!(ends.iter().all(|(_, who, how)| who == "a" && *how == LeaseEnd::HandedOver));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_finishes_the_batch_first_and_repeats_nothing() {
    let world = World::new(2);
    world.put(0, ["a"]);
    world.put(1, ["b"]);
    world.script(|asked| {
        if matches!(asked.call, Call::Process { .. } if asked.worker == "old") {
            Act::Take(SECOND * 12)
        } else {
            Act::Succeed
        }
    });
    let _old = world.start("old");
    world.until("begun", SOON, |world| world.journal.delivered().len() == 2).await;
    let _new = world.start("new");
    world.until("handed over", SECOND * 30, |world| world.owned_by("new") == Some(1)).await;
    world.put(0, ["c"]);
    world.put(1, ["d"]);
    world.until("delivered", SECOND * 40, |world| world.journal.delivered().len() == 4).await;
    world.pass(SECOND * 60).await;
    assert_eq!(world.journal.delivered().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_worker_is_taken_over_within_an_expiry_and_a_scan() {
    let world = World::new(4);
    let a = world.start("a");
    let _b = world.start("b");
    let shared = |world: &World| world.owned_by("a") == Some(2) && world.owned_by("b") == Some(2);
    world.until("shared", SECOND * 40, shared).await;
    world.pass(SECOND * 30).await;
    let crashed_at = world.clock.elapsed();
    a.crash();
    for shard in 0..4 {
        world.put(shard, [format!("r{shard}").as_str()]);
    }
    let all = |world: &World| (0..4).all(|shard| world.journal.has(&format!("r{shard}")));
    world.until("taken over", SECOND * 30, all).await;
    let took = world.clock.elapsed() - crashed_at;
    assert!(took <= SECOND * 11 + SECOND / 2, "{took:?}");
    for shard in 0..4 {
        assert_eq!(world.journal.who_got(&format!("r{shard}")), ["b"]);
    }
    let (_, _, why) = world.journal.events(taken).pop().unwrap();
    assert!(matches!(why, TakeReason::Expired { silent_for } if silent_for >= SECOND * 10));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_is_followed_within_a_scan_and_a_second() {
    let world = World::new(2);
    let a = world.start("a");
    let _b = world.start("b");
    world.until("shared", SECOND * 40, |world| world.owned_by("b") == Some(1)).await;
    world.pass(SECOND * 5).await;
    a.stop().await.unwrap();
    let stopped_at = world.clock.elapsed();
    world.until("followed", SOON, |world| world.owned_by("b") == Some(2)).await;
    let took = world.clock.elapsed() - stopped_at;
    assert!(took <= SECOND * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn tokens_rise_from_owner_to_owner() {
    let world = World::new(1);
    for owner in 0..5 {
        let worker = world.start(&format!("w{owner}"));
        world.put(0, [format!("r{owner}").as_str()]);
        let record = format!("r{owner}");
        world.until("delivered", SECOND * 30, |world| world.journal.has(&record)).await;
        world.pass(SECOND * 4).await;
        if owner % 2 == 0 {
            worker.crash();
        } else {
            worker.stop().await.unwrap();
        }
    }
    let deliveries = world.journal.deliveries();
    assert_eq!(deliveries.len(), 5);
    assert!(deliveries.is_sorted_by(|one, next| one.2 < next.2), "{deliveries:?}");
}

#[tokio::test(start_paused = true)]
async fn two_workers_of_one_name_share_like_any_two_and_say_so() {
    let world = World::new(2);
    let one = world.start("twin");
    let other = world.start("twin");
    let both = |world: &World| {
        let owners: Vec<_> = world.store.leases().into_iter().filter_map(|l| l.owner).collect();
        owners.contains(&one.id) && owners.contains(&other.id)
    };
    world.until("shared", SECOND * 40, both).await;
    let told = |event: &Event| matches!(event, Event::NameShared { .. }).then_some(());
    world.until("told", SECOND * 20, |world| !world.journal.events(told).is_empty()).await;
    world.put(0, ["a"]);
    world.put(1, ["b"]);
    world.until("delivered", SOON, |world| world.journal.delivered().len() == 2).await;
}

/// A worker that is not there writes to the only lease.
async fn write(world: &World, worker: &str, kind: WriteKind) {
    let (key, worker) = (world.key(0), worker.into());
    let write = LeaseWrite { key, worker, number: 1, kind };
    let outcome = world.store.write(&write).await.unwrap();
    assert!(matches!(outcome, Conditional::Applied(_)), "{outcome:?}");
}

fn begin(world: &World, owner: &Member) -> WriteKind {
    WriteKind::BeginHandOver { counter: world.lease(0).counter, victim: owner.id.clone() }
}

fn batches_take(world: &World, time: Duration) {
    let plan = move |asked: &Asked| {
        if matches!(asked.call, Call::Process { .. }) { Act::Take(time) } else { Act::Succeed }
    };
    world.script(plan);
}

/// The owner of the only lease, which has a batch of 5 s in hand, and was asked for the lease by somebody
/// who has withdrawn that just now.
async fn withdrawn_amid_a_batch(world: &World) -> Member {
    world.put(0, ["a"]);
    batches_take(world, SECOND * 5);
    let owner = world.start("owner");
    world.until("begun", SOON, |world| world.journal.has("a")).await;
    write(world, "first", begin(world, &owner)).await;
    let asked = |event: &Event| matches!(event, Event::HandOverAsked { .. }).then_some(());
    world.until("asked", SOON, |world| !world.journal.events(asked).is_empty()).await;
    let (counter, victim) = (world.lease(0).counter, owner.id.clone());
    write(world, "first", WriteKind::Withdraw { counter, victim }).await;
    owner
}

#[tokio::test(start_paused = true)]
async fn an_owner_heeds_who_asks_after_another_withdrew() {
    let world = World::new(1);
    let owner = withdrawn_amid_a_batch(&world).await;
    write(&world, "second", begin(&world, &owner)).await;
    world.until("over", SOON, |world| !world.journal.events(ended).is_empty()).await;
    let ends: Vec<_> = world.journal.events(ended).into_iter().map(|(.., how)| how).collect();
    assert_eq!(ends, [LeaseEnd::HandedOver]);
    let lease = world.lease(0);
    assert_eq!((lease.owner, lease.checkpoint_owner), (Some("second".into()), None));
    assert!(matches!(lease.checkpoint, Checkpoint::After(_)), "the batch in hand is stored");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_kept_while_its_owner_stops_is_free_afterwards() {
    let world = World::new(1);
    let owner = withdrawn_amid_a_batch(&world).await;
    world.pass(SECOND * 3).await;
    // The batch ends after the stop began, and before the holder hears of it.
    owner.faults.store(StoreFault::SlowGoodbye);
    let report = owner.stop().await.unwrap();
    let ends: Vec<_> = world.journal.events(ended).into_iter().map(|(.., how)| how).collect();
    assert_eq!(ends, [LeaseEnd::Kept, LeaseEnd::Released]);
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
    assert_eq!(world.lease(0).owner, None);
}

#[tokio::test(start_paused = true)]
async fn where_scans_are_rare_a_newcomer_gets_its_share_after_a_long_batch() {
    let mut world = World::new(2);
    world.config.lease.scan_units = 1;
    world.put(0, ["a"]);
    world.put(1, ["b"]);
    batches_take(&world, SECOND * 20);
    let _old = world.start("old");
    world.until("begun", SOON, |world| world.journal.delivered().len() == 2).await;
    for number in 0..2_000 {
        let mut lease = world.lease(0);
        lease.key = LeaseKey::new(format!("shardId-{number:012}-finished"));
        lease.checkpoint = Checkpoint::ShardEnd;
        world.store.insert_lease(lease);
    }
    world.pass(SECOND * 2).await; // The owner's next scan is far.
    let _new = world.start("new");
    world.until("shared", SECOND * 30, |world| world.owned_by("new") == Some(1)).await;
    let ends: Vec<_> = world.journal.events(ended).into_iter().map(|(.., how)| how).collect();
    assert_eq!(ends, [LeaseEnd::HandedOver], "nothing is kept and asked for again");
}
