//! Where reading starts, goes on, slows down and gives up.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_proto::model::{Checkpoint, CheckpointPolicy, Position, ReadFrom, ShardId};
use tokio::join;

use crate::backend::SourceError;
use crate::config::LostDataPolicy;
use crate::data_side::tests::clock::time_of_day;
use crate::data_side::tests::kit::{
    Act, MILLI, RETENTION, SECOND, World, after, at, denied, throttled, unavailable,
};
use crate::data_side::tests::run_for;
use crate::messages::FromConsumer;
use crate::report::event::Event;

#[tokio::test(start_paused = true)]
async fn an_expired_reader_is_opened_again_right_after_the_last_record() {
    let mut world = World::new().with_records(1..=6);
    world.config.retrieval.records_max = 2;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 2).await;
        world.fault([SourceError::Expired]);
        world.put([at(7)]);
        held.serve(SECOND * 3).await;
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "3/0 to 4/0 try 1",
        "5/0 to 6/0 try 1",
        "7/0 to 7/0 try 1",
    ]);
    assert_eq!(world.opened(), [ReadFrom::TrimHorizon, ReadFrom::At(6.into())]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn a_resume_inside_an_aggregated_record_drops_what_is_done() {
    let mut world = World::new();
    let part = |sub_sequence| Position { sequence: 5.into(), sub_sequence };
    world.put([part(0), part(1), part(2), part(3), at(6)]);
    world.lease.checkpoint = Checkpoint::After(part(1));
    assert_eq!(run_for(&world, SECOND * 2).await, Some(after(6)));
    world.check_log(&["new after 5/1", "initialize", "5/2 to 6/0 try 1", "shutdown"]);
    assert_eq!(world.opened(), [ReadFrom::At(5.into())]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn new_processors_do_not_read_faster_than_the_shard_allows() {
    let mut world = World::new().with_records(1..=6).with_plan([Act::Panic; 12]);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.config.delivery.retry_min = MILLI;
    world.config.retrieval.records_max = 1;
    run_for(&world, MILLI * 999).await;
    assert!((3..=5).contains(&world.reads()), "{}", world.reads());
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_down_one_shard_in_silence() {
    let world = World::new().with_records(1..=2);
    world.fault((0..3).map(|_| throttled()));
    assert_eq!(run_for(&world, SECOND * 10).await, Some(after(2)));
    assert_eq!((world.events(), world.opened().len()), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn throttling_that_lasts_is_told() {
    let world = World::new().with_records(1..=2);
    world.fault((0..1_000).map(|_| throttled()));
    run_for(&world, SECOND * 120).await;
    let events = world.events();
    assert!((1..=world.reads() / 10).contains(&events.len()), "{events:?}");
    assert!(events.iter().all(|event| matches!(event, Event::FetchFailed { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_told() {
    let world = World::new().with_records(1..=2);
    world.fault((0..3).map(|_| unavailable()));
    assert_eq!(run_for(&world, SECOND * 10).await, Some(after(2)));
    assert_eq!(world.events().len(), 3);
    assert!(world.events().iter().all(|event| matches!(event, Event::FetchFailed { .. })));
}

async fn gives_up_after(world: &World) -> Duration {
    let (mut held, run) = world.start();
    let begun = tokio::time::Instant::now();
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
        held.let_go().await;
    };
    join!(run, script);
    world.check_log(&["new after TRIM_HORIZON", "initialize", "shutdown"]);
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_stays_unreadable_is_given_up() {
    let world = World::new();
    world.fault((0..1_000).map(|_| denied()));
    let took = gives_up_after(&world).await;
    assert!((SECOND * 60..SECOND * 75).contains(&took), "{took:?}");
    let world = World::new();
    world.fault((0..1_000).map(|_| unavailable()));
    let took = gives_up_after(&world).await;
    assert!((SECOND * 300..SECOND * 310).contains(&took), "{took:?}");
    assert!(world.events().len() > 60);
}

fn trimmed_world(caught_up: Duration, now: Duration) -> World {
    let mut world = World::new().with_records(9..=10);
    world.lease.checkpoint = after(7);
    world.lease.caught_up_at = Some(time_of_day(caught_up));
    world.clock.suspend(now);
    world
}

#[tokio::test(start_paused = true)]
async fn records_that_were_trimmed_unread_are_reported() {
    let world = trimmed_world(SECOND, RETENTION + SECOND * 2);
    assert_eq!(run_for(&world, SECOND * 3).await, Some(after(10)));
    let lost = Event::DataLost {
        shard: ShardId::from("shard-0"),
        from: after(7),
        to: after(9),
        caught_up_at: Some(time_of_day(SECOND)),
    };
    assert_eq!(world.events(), [lost]);
}

#[tokio::test(start_paused = true)]
async fn a_trimmed_checkpoint_is_no_loss_if_the_shard_was_caught_up_within_the_retention() {
    let world = trimmed_world(SECOND * 60, RETENTION);
    assert_eq!(run_for(&world, SECOND * 3).await, Some(after(10)));
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn the_stop_policy_gives_a_shard_with_lost_records_up() {
    let mut world = trimmed_world(SECOND, RETENTION + SECOND * 2);
    world.config.delivery.lost_data = LostDataPolicy::Stop;
    let (mut held, run) = world.start();
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
        assert_eq!(held.checkpoint(), None);
        held.let_go().await;
    };
    join!(run, script);
    world.check_log(&["new after 7/0", "initialize", "shutdown"]);
    assert!(matches!(&world.events()[..], [Event::DataLost { .. }]));
    assert_eq!(world.stopped.leases(), BTreeSet::from([world.lease.key.clone()]));
}

#[tokio::test(start_paused = true)]
async fn latest_is_not_opened_a_second_time() {
    let mut world = World::new();
    world.lease.checkpoint = Checkpoint::Latest;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 5).await;
        world.fault([SourceError::Expired]);
        world.put([at(1)]); // Arrives while there is no reader.
        held.serve(SECOND * 5).await;
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
    world.check_log(&["new after LATEST", "initialize", "1/0 to 1/0 try 1"]);
    assert!(matches!(world.opened()[..], [ReadFrom::Latest, ReadFrom::AtTimestamp(_)]));
}

#[tokio::test(start_paused = true)]
async fn latest_is_not_opened_a_second_time_for_a_new_processor_either() {
    let mut world = World::new().detaching();
    world.lease.checkpoint = Checkpoint::Latest;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 5).await;
        world.put([at(1), at(2)]);
        held.serve(SECOND * 5).await;
        for _ in 0..2 {
            world.ack(1).fail("no");
            held.serve(SECOND * 5).await;
        }
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
    world.check_log(&[
        "new after LATEST",
        "initialize",
        "1/0 to 2/0 try 1",
        "new after LATEST",
        "initialize",
        "1/0 to 1/0 try 2",
        "2/0 to 2/0 try 1",
        "new after LATEST",
        "initialize",
        "1/0 to 1/0 try 3",
        "2/0 to 2/0 try 1",
    ]);
    let opened = world.opened();
    let [ReadFrom::Latest, ReadFrom::AtTimestamp(first), ReadFrom::AtTimestamp(again)] = opened[..]
    else {
        unreachable!("{opened:?}")
    };
    assert_eq!(first, again, "the time of the first reader");
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_hangs_while_its_shard_is_given_up_is_abandoned() {
    let world = World::new().with_plan([Act::Hang]);
    world.fault((0..1_000).map(|_| denied()));
    let (mut held, run) = world.start();
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
        held.let_go().await;
    };
    join!(run, script);
    world.check_log(&["new after TRIM_HORIZON", "initialize", "shutdown", "lost"]);
    assert!(world.events().contains(&Event::Stalled { shard: "shard-0".into() }));
}
