//! Acknowledgements of single records: checkpoints, limits, failures, and ends.

use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::model::{Checkpoint, CheckpointPolicy, FailurePolicy, OnExhausted};

use crate::MemoryBudget;
use crate::data_side::tests::application::Call::{self, Initialize, New};
use crate::data_side::tests::application::{Act, attempt, batch, dead_letter};
use crate::data_side::tests::clock::{MILLI, SECOND};
use crate::data_side::tests::holder::Holder;
use crate::data_side::tests::stream::{after, child};
use crate::data_side::tests::world::World;
use crate::report::event::Event;

/// Records 1 to 6 in batches of two. The test acknowledges each record.
fn world() -> World {
    let mut world = World::new().with_records(1..=6);
    world.app.detach();
    world.config.retrieval.records_max = 2;
    world
}

fn last_call(world: &World) -> Call {
    world.calls().pop().unwrap()
}

async fn drained(holder: &mut Holder) -> Option<Checkpoint> {
    holder.drain(SECOND * 1_000);
    assert_eq!(holder.end().await, Some(ConsumerEnd::Drained));
    holder.checkpoint()
}

#[tokio::test(start_paused = true)]
async fn checkpoint_follows_the_oldest_outstanding_record() {
    let world = world();
    world
        .run(async |holder| {
            holder.serve(SECOND * 3).await;
            assert_eq!(
                world.calls(),
                [
                    New(Checkpoint::TrimHorizon),
                    Initialize,
                    batch(1..=2),
                    batch(3..=4),
                    batch(5..=6),
                ]
            );
            assert_eq!(holder.checkpoint(), None);
            for (number, expected) in
                [(2, None), (1, Some(after(2))), (4, Some(after(2))), (3, Some(after(4)))]
            {
                world.app.ack(number).done();
                holder.serve(MILLI * 50).await;
                assert_eq!(holder.checkpoint(), expected, "after {number}");
            }
            assert_eq!(holder.caught_up_at(), None);
            world.app.ack(5).done();
            world.app.ack(6).done();
            holder.serve(SECOND * 2).await;
            assert!(holder.caught_up_at().is_some());
            assert_eq!(drained(holder).await, Some(after(6)));
            holder.release().await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn next_batch_waits_at_the_in_flight_limit() {
    let mut world = world();
    world.config.delivery.in_flight_max = 3;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 5).await;
            assert_eq!(last_call(&world), batch(3..=4));
            // Records after the oldest outstanding one stay in memory, acknowledged or not.
            world.app.ack(2).done();
            holder.serve(SECOND * 5).await;
            assert_eq!(last_call(&world), batch(3..=4));
            world.app.ack(1).done();
            holder.serve(SECOND).await;
            assert_eq!(last_call(&world), batch(5..=6));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn records_hold_memory_until_acknowledged() {
    let world = world();
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            let mut used = world.memory.usage().used;
            for (number, frees) in
                [(4, false), (3, true), (1, false), (2, true), (5, false), (6, true)]
            {
                world.app.ack(number).done();
                let now = world.memory.usage().used;
                assert_eq!(now < used, frees, "after {number}: {used}, then {now}");
                used = now;
            }
            assert_eq!(used, 0);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn reading_resumes_once_acks_free_the_memory() {
    let mut world = world();
    world.memory = MemoryBudget::new(1); // Admits one record, and no other until it is done.
    world
        .run_during(async |holder| {
            for number in 1..=3 {
                holder.serve(SECOND * 10).await;
                assert_eq!(last_call(&world), batch(number..=number));
                world.app.ack(number).done();
                holder.serve(MILLI * 50).await;
                assert_eq!(holder.checkpoint(), Some(after(number)));
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn acks_of_a_replaced_processor_block_no_record() {
    let mut world = world().with_plan([Act::Fail]);
    world.memory = MemoryBudget::new(1);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 10).await;
            assert_eq!(last_call(&world), attempt(2, 1..=1));
            world.app.ack(1).done();
            holder.serve(SECOND * 10).await;
            assert_eq!(last_call(&world), batch(2..=2));
        })
        .await;
}

/// Drops the acknowledgement of record 3, and returns the calls that follow.
async fn drop_ack_of_3(policy: CheckpointPolicy) -> Vec<Call> {
    let mut world = world();
    world.config.delivery.checkpoints = policy;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            for number in [1, 2, 4, 5] {
                world.app.ack(number).done();
            }
            drop(world.app.ack(3));
            let stale = world.app.ack(6);
            holder.serve(SECOND * 3).await;
            stale.done(); // It belongs to the replaced processor, and must not count.
            let again = world.calls().split_off(5);
            assert!(world.events().iter().any(|event| matches!(event,
                Event::BatchFailed { error, .. } if error.contains("dropped"))));
            world.app.ack(3).done();
            world.app.ack(4).done();
            holder.serve(MILLI * 50).await;
            let expected = (policy == CheckpointPolicy::Automatic).then(|| after(4));
            assert_eq!(holder.checkpoint(), expected);
            again
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn dropped_ack_redelivers_to_a_new_processor() {
    assert_eq!(
        drop_ack_of_3(CheckpointPolicy::Automatic).await,
        [New(after(2)), Initialize, attempt(2, 3..=3), batch(4..=5), batch(6..=6)]
    );
    let again = drop_ack_of_3(CheckpointPolicy::Manual).await;
    assert_eq!(again[0], New(Checkpoint::TrimHorizon));
}

#[tokio::test(start_paused = true)]
async fn exhausted_ack_dead_letters_its_record_alone() {
    let mut world = world();
    world.config.delivery.failure = FailurePolicy::attempts(3, OnExhausted::DeadLetter);
    let checkpoint = world
        .run_during(async |holder| {
            for _ in 0..3 {
                holder.serve(SECOND * 5).await;
                world.app.ack(4).fail("no");
            }
            holder.serve(SECOND * 5).await;
            for number in [1, 2, 3, 5, 6] {
                world.app.ack(number).done();
            }
            drained(holder).await
        })
        .await;
    assert_eq!(checkpoint, Some(after(6)));
    let letters: Vec<_> = world.calls().into_iter().filter(Call::is_dead_letter).collect();
    assert_eq!(letters, [dead_letter(4, 3, "no")]);
}

#[tokio::test(start_paused = true)]
async fn failed_ack_interrupts_the_running_call() {
    let world = world().with_plan([Act::Ok, Act::Hang]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            world.app.ack(1).fail("no");
            holder.serve(SECOND * 3).await;
            assert_eq!(world.calls()[4], New(Checkpoint::TrimHorizon));
            assert_eq!(world.calls()[6], attempt(2, 1..=1));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn error_after_detaching_replaces_the_processor() {
    let world = world().with_plan([Act::Fail]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            assert_eq!(
                world.calls()[3..6],
                [New(Checkpoint::TrimHorizon), Initialize, attempt(2, 1..=2)]
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_outstanding_acks() {
    let world = world();
    let checkpoint = world
        .run(async |holder| {
            holder.serve(SECOND * 3).await;
            holder.drain(SECOND * 20);
            holder.serve(SECOND * 5).await;
            assert_eq!(last_call(&world), Call::ShutdownRequested);
            for number in 1..=6 {
                world.app.ack(number).done();
            }
            assert_eq!(holder.end().await, Some(ConsumerEnd::Drained));
            let checkpoint = holder.checkpoint();
            holder.release().await;
            checkpoint
        })
        .await;
    assert_eq!(checkpoint, Some(after(6)));
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn drain_ends_in_time_with_acks_outstanding() {
    let world = world();
    world
        .run(async |holder| {
            holder.serve(SECOND * 3).await;
            let until = holder.drain(SECOND * 20);
            holder.serve(SECOND * 19).await;
            world.app.ack(1).done();
            assert_eq!(holder.end().await, Some(ConsumerEnd::Drained));
            assert!(world.now() >= until);
            assert_eq!(holder.checkpoint(), Some(after(1)));
            world.app.ack(2).done();
            assert_eq!(holder.checkpoint(), Some(after(1)));
        })
        .await;
    assert_eq!(world.events(), [Event::Stalled { shard: "shard-0".into() }]);
}

#[tokio::test(start_paused = true)]
async fn acks_just_before_the_deadline_are_reported() {
    let world = world();
    world
        .run(async |holder| {
            holder.serve(SECOND * 3).await;
            holder.expire_in(MILLI * 15);
            world.app.ack(1).done();
            holder.serve(MILLI * 5).await;
            world.app.ack(2).done(); // Reports are 20 ms apart.
            assert_eq!(holder.end().await, Some(ConsumerEnd::Failed));
            assert_eq!(holder.checkpoint(), Some(after(2)));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn shard_ends_once_everything_is_acknowledged() {
    let world = world();
    world.stream.close(&[child("low", 0, 49), child("high", 50, 99)]);
    world
        .run(async |holder| {
            holder.serve(SECOND * 60).await;
            assert_eq!(last_call(&world), Call::ShardEnded);
            for number in (1..=6).rev() {
                world.app.ack(number).done();
            }
            assert_eq!(holder.end().await, Some(ConsumerEnd::ShardEnded));
            holder.release().await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn failed_ack_after_shard_ended_redelivers() {
    let world = world();
    world.stream.close(&[child("only", 0, 99)]);
    world
        .run(async |holder| {
            holder.serve(SECOND * 60).await;
            for number in 1..=5 {
                world.app.ack(number).done();
            }
            drop(world.app.ack(6));
            holder.serve(SECOND * 60).await;
            let calls = world.calls();
            assert_eq!(calls[calls.len() - 2..], [attempt(2, 6..=6), Call::ShardEnded]);
            world.app.ack(6).done();
            assert_eq!(holder.end().await, Some(ConsumerEnd::ShardEnded));
            holder.release().await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn acks_after_a_loss_do_nothing() {
    let world = world();
    world
        .run(async |holder| {
            holder.serve(SECOND * 3).await;
            holder.lose();
            assert_eq!(holder.end().await, None);
            for number in 1..=5 {
                world.app.ack(number).done();
            }
            drop(world.app.ack(6));
            assert_eq!(holder.checkpoint(), None);
        })
        .await;
    assert_eq!(world.events(), []);
}
