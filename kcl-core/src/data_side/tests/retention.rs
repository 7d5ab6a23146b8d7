//! The retention of the stream changes while a consumer runs.

use std::time::Duration;

use kcl_proto::model::{ReadFrom, ShardId};

use crate::data_side::tests::clock::{SECOND, time_of_day};
use crate::data_side::tests::stream::{RETENTION, after, at};
use crate::data_side::tests::world::World;
use crate::report::event::Event;

/// A consumer that has read record 3 stands still for `time` while records 4 and 5 arrive and are
/// trimmed. Returns the events, and how often it opened a reader.
async fn trimmed_while_reading(time: Duration, retention: Duration) -> (Vec<Event>, usize) {
    let mut world = World::new().with_records(1..=3);
    world.retention = RETENTION * 7;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 2).await; // Between two reads.
            world.stream.set_retention(retention);
            world.stream.put((4..=6).map(at));
            world.stream.trim_before(6);
            world.clock.suspend(time);
            holder.expire_in(SECOND * 1_000);
            holder.serve(SECOND * 5).await;
            assert_eq!(holder.checkpoint(), Some(after(6)));
        })
        .await;
    (world.events(), world.stream.opened().len())
}

#[tokio::test(start_paused = true)]
async fn records_lost_to_a_shorter_retention_are_reported() {
    let (events, opened) = trimmed_while_reading(RETENTION + SECOND * 60, RETENTION).await;
    let [Event::DataLost { shard, from, to, caught_up_at }] = &events[..] else {
        unreachable!("{events:?}")
    };
    assert_eq!((shard, *from, *to), (&ShardId::from("shard-0"), after(3), after(6)));
    assert!(*caught_up_at >= Some(time_of_day(SECOND)), "{caught_up_at:?}");
    assert_eq!(opened, 2, "the reader is opened again to see what is gone");
}

#[tokio::test(start_paused = true)]
async fn reader_within_the_retention_stays_open() {
    let (events, opened) = trimmed_while_reading(RETENTION - SECOND * 60, RETENTION).await;
    assert_eq!((events, opened), (vec![], 1));
    let (events, opened) = trimmed_while_reading(RETENTION + SECOND * 60, RETENTION * 7).await;
    assert_eq!((events, opened), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn shorter_retention_is_noticed_by_a_new_reader() {
    for (retention, is_lost) in [(RETENTION * 7, false), (RETENTION, true)] {
        let mut world = World::new().with_records(9..=10);
        world.retention = RETENTION * 7;
        world.lease.checkpoint = after(7);
        world.lease.caught_up_at = Some(time_of_day(Duration::ZERO));
        world.described_at = world.now();
        world.clock.suspend(RETENTION + SECOND);
        world.stream.set_retention(retention);
        assert_eq!(world.run_for(SECOND * 3).await, Some(after(10)));
        let lost = world.events().iter().any(|event| matches!(event, Event::DataLost { .. }));
        assert_eq!(lost, is_lost, "{retention:?}");
        assert_eq!(world.stream.opened(), [ReadFrom::At(7.into())]);
    }
}
