//! What a processor has under way goes on whatever else is waited for.

use std::collections::VecDeque;
use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::config::{FailurePolicy, OnExhausted};
use kcl_core::event::Event;
use kcl_core::model::{Checkpoint, Position};
use kcl_core::{Ack, BoxError, RecordBatch, RecordProcessor};
use kcl_tests::world::World;
use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// Keeps its records in hand for five seconds each, and takes no others meanwhile. What it cannot
/// read it refuses.
#[derive(Debug, Default)]
struct OneAtATime {
    in_hand: VecDeque<(Instant, Ack)>,
}

impl RecordProcessor for OneAtATime {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        if batch.iter().any(|record| &*record.data == b"poison") {
            return Err("unreadable".into());
        }
        if !self.in_hand.is_empty() {
            return Err("busy".into());
        }
        let due = Instant::now() + SECOND * 5;
        self.in_hand.extend(batch.into_acks().into_iter().map(|(_, ack)| (due, ack)));
        Ok(())
    }

    async fn background(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        while let Some((due, _)) = self.in_hand.front() {
            sleep_until(*due).await;
            if let Some((_, ack)) = self.in_hand.pop_front() {
                ack.done();
            }
        }
        Ok(())
    }
}

fn world() -> World {
    let mut world = World::new(1);
    world.config.retrieval.records_max = 1;
    world
}

fn is_done(world: &World, last: Position) -> bool {
    world.find(0).is_some_and(|lease| lease.checkpoint >= Checkpoint::After(last))
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_refuses_a_batch_goes_on_with_the_one_before_meanwhile() {
    let world = world();
    let last = Position::of(world.put(0, ["a", "b", "c"]));
    let worker =
        world.start_processor("w", world.stream.clone(), |_: &ShardContext| OneAtATime::default());
    world.until("done", SECOND * 60, |world| is_done(world, last)).await;
    let busy = |event: &Event| matches!(event, Event::BatchFailed { .. }).then_some(());
    assert!(world.journal.event(busy).is_some());
    worker.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_goes_on_while_a_dead_letter_fails() {
    let mut world = world();
    world.config.delivery.failure = FailurePolicy::attempts(1, OnExhausted::DeadLetter);
    let first = Position::of(world.put(0, ["a"]));
    let last = Position::of(world.put(0, ["poison", "b"]));
    world.letters.fail_next(12);
    let worker =
        world.start_processor("w", world.stream.clone(), |_: &ShardContext| OneAtATime::default());
    world.until("a is done", SECOND * 25, |world| is_done(world, first)).await;
    assert_eq!(world.letters.stored(), [""; 0], "it fails still");
    world.until("done", SECOND * 200, |world| is_done(world, last)).await;
    assert_eq!(world.letters.stored(), ["poison"]);
    worker.stop().await.unwrap();
}
