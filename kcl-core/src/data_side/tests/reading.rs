//! Reading: where it starts and resumes, how it slows down, and when it fails.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_proto::model::{Checkpoint, CheckpointPolicy, Position, ReadFrom, ShardId};
use tokio::time::Instant;

use crate::backend::SourceError;
use crate::config::LostDataPolicy;
use crate::data_side::tests::application::Call::{
    self, Initialize, LeaseLost, New, ShutdownRequested,
};
use crate::data_side::tests::application::{Act, attempt, batch};
use crate::data_side::tests::clock::{MILLI, SECOND, time_of_day};
use crate::data_side::tests::stream::{RETENTION, after, at, denied, throttled, unavailable};
use crate::data_side::tests::world::World;
use crate::report::event::Event;

#[tokio::test(start_paused = true)]
async fn expired_reader_reopens_after_the_last_record() {
    let mut world = World::new().with_records(1..=6);
    world.config.retrieval.records_max = 2;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 2).await;
            world.stream.fail_reads([SourceError::Expired]);
            world.stream.put([at(7)]);
            holder.serve(SECOND * 3).await;
        })
        .await;
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=2),
            batch(3..=4),
            batch(5..=6),
            batch(7..=7),
        ]
    );
    assert_eq!(world.stream.opened(), [ReadFrom::TrimHorizon, ReadFrom::At(6.into())]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn resume_inside_an_aggregate_drops_what_is_done() {
    let mut world = World::new();
    let part = |sub_sequence| Position { sequence: 5.into(), sub_sequence };
    world.stream.put([part(0), part(1), part(2), part(3), at(6)]);
    world.lease.checkpoint = Checkpoint::After(part(1));
    assert_eq!(world.run_for(SECOND * 2).await, Some(after(6)));
    let rest = Call::Batch { first: part(2), last: at(6), attempt: 1 };
    let calls = [New(Checkpoint::After(part(1))), Initialize, rest, ShutdownRequested];
    assert_eq!(world.calls(), calls);
    assert_eq!(world.stream.opened(), [ReadFrom::At(5.into())]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn new_processors_keep_the_read_pace_of_the_shard() {
    let mut world = World::new().with_records(1..=6).with_plan([Act::Panic; 12]);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.config.delivery.retry_min = MILLI;
    world.config.retrieval.records_max = 1;
    world.run_for(MILLI * 999).await;
    let reads = world.stream.reads();
    assert!((3..=5).contains(&reads), "{reads}");
}

#[tokio::test(start_paused = true)]
async fn short_throttling_is_retried_without_an_event() {
    let world = World::new().with_records(1..=2);
    world.stream.fail_reads((0..3).map(|_| throttled()));
    assert_eq!(world.run_for(SECOND * 10).await, Some(after(2)));
    assert_eq!((world.events(), world.stream.opened().len()), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn lasting_throttling_is_reported() {
    let world = World::new().with_records(1..=2);
    world.stream.fail_reads((0..1_000).map(|_| throttled()));
    world.run_for(SECOND * 120).await;
    let events = world.events();
    assert!((1..=world.stream.reads() / 10).contains(&events.len()), "{events:?}");
    assert!(events.iter().all(|event| matches!(event, Event::FetchFailed { .. })));
}

#[tokio::test(start_paused = true)]
async fn transient_failure_is_retried_and_reported() {
    let world = World::new().with_records(1..=2);
    world.stream.fail_reads((0..3).map(|_| unavailable()));
    assert_eq!(world.run_for(SECOND * 10).await, Some(after(2)));
    assert_eq!(world.events().len(), 3);
    assert!(world.events().iter().all(|event| matches!(event, Event::FetchFailed { .. })));
}

/// How long a consumer tries to read a shard of which every read fails.
async fn time_to_failure(world: &World) -> Duration {
    let begun = Instant::now();
    world.run_to_failure().await;
    assert_eq!(world.calls(), [New(Checkpoint::TrimHorizon), Initialize, ShutdownRequested]);
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn lasting_read_failure_ends_the_consumer() {
    let world = World::new();
    world.stream.fail_reads((0..1_000).map(|_| denied()));
    let time = time_to_failure(&world).await;
    assert!((SECOND * 60..SECOND * 75).contains(&time), "{time:?}");
    let world = World::new();
    world.stream.fail_reads((0..1_000).map(|_| unavailable()));
    let time = time_to_failure(&world).await;
    assert!((SECOND * 300..SECOND * 310).contains(&time), "{time:?}");
    assert!(world.events().len() > 60);
}

/// A lease at record 7 of a shard that begins with record 9, at `now`. The shard was last caught up
/// at `caught_up`.
fn trimmed_world(caught_up: Duration, now: Duration) -> World {
    let mut world = World::new().with_records(9..=10);
    world.lease.checkpoint = after(7);
    world.lease.caught_up_at = Some(time_of_day(caught_up));
    world.clock.suspend(now);
    world
}

#[tokio::test(start_paused = true)]
async fn records_trimmed_unread_are_reported() {
    let world = trimmed_world(SECOND, RETENTION + SECOND * 2);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(10)));
    let lost = Event::DataLost {
        shard: ShardId::from("shard-0"),
        from: after(7),
        to: after(9),
        caught_up_at: Some(time_of_day(SECOND)),
    };
    assert_eq!(world.events(), [lost]);
}

#[tokio::test(start_paused = true)]
async fn shard_caught_up_within_the_retention_lost_nothing() {
    let world = trimmed_world(SECOND * 60, RETENTION);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(10)));
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn stop_policy_stops_a_shard_with_lost_records() {
    let mut world = trimmed_world(SECOND, RETENTION + SECOND * 2);
    world.config.delivery.lost_data = LostDataPolicy::Stop;
    assert_eq!(world.run_to_failure().await, None);
    assert_eq!(world.calls(), [New(after(7)), Initialize, ShutdownRequested]);
    assert!(matches!(&world.events()[..], [Event::DataLost { .. }]));
    assert_eq!(world.stopped.leases(), BTreeSet::from([world.lease.key.clone()]));
}

#[tokio::test(start_paused = true)]
async fn expired_reader_does_not_reopen_at_latest() {
    let mut world = World::new();
    world.lease.checkpoint = Checkpoint::Latest;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 5).await;
            world.stream.fail_reads([SourceError::Expired]);
            world.stream.put([at(1)]); // Arrives while there is no reader.
            holder.serve(SECOND * 5).await;
        })
        .await;
    assert_eq!(world.calls(), [New(Checkpoint::Latest), Initialize, batch(1..=1)]);
    assert!(matches!(world.stream.opened()[..], [ReadFrom::Latest, ReadFrom::AtTimestamp(_)]));
}

#[tokio::test(start_paused = true)]
async fn new_processor_does_not_reopen_at_latest() {
    let mut world = World::new();
    world.app.detach();
    world.lease.checkpoint = Checkpoint::Latest;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 5).await;
            world.stream.put([at(1), at(2)]);
            holder.serve(SECOND * 5).await;
            for _ in 0..2 {
                world.app.ack(1).fail("no");
                holder.serve(SECOND * 5).await;
            }
        })
        .await;
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::Latest),
            Initialize,
            batch(1..=2),
            New(Checkpoint::Latest),
            Initialize,
            attempt(2, 1..=1),
            batch(2..=2),
            New(Checkpoint::Latest),
            Initialize,
            attempt(3, 1..=1),
            batch(2..=2),
        ]
    );
    let opened = world.stream.opened();
    let [ReadFrom::Latest, ReadFrom::AtTimestamp(first), ReadFrom::AtTimestamp(again)] = opened[..]
    else {
        unreachable!("{opened:?}")
    };
    assert_eq!(first, again, "the time of the first reader");
}

#[tokio::test(start_paused = true)]
async fn hanging_processor_of_an_unreadable_shard_is_dropped() {
    let world = World::new().with_plan([Act::Hang]);
    world.stream.fail_reads((0..1_000).map(|_| denied()));
    world.run_to_failure().await;
    let calls = [New(Checkpoint::TrimHorizon), Initialize, ShutdownRequested, LeaseLost];
    assert_eq!(world.calls(), calls);
    assert!(world.events().contains(&Event::Stalled { shard: "shard-0".into() }));
}
