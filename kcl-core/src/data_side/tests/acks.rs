//! Acknowledgements one by one: the watermark, the bound, what fails, what ends.

use kcl_proto::model::{Checkpoint, CheckpointPolicy, FailurePolicy, OnExhausted};
use tokio::join;

use crate::MemoryBudget;
use crate::data_side::tests::held::Held;
use crate::data_side::tests::kit::{Act, MILLI, SECOND, World, after, child};
use crate::messages::{FromConsumer, Order};
use crate::report::event::Event;

/// Records 1 to 6 in batches of two, each record acknowledged by the test.
fn world() -> World {
    let mut world = World::new().with_records(1..=6).detaching();
    world.config.retrieval.records_max = 2;
    world
}

async fn drained(world: &World, held: &mut Held) -> Option<Checkpoint> {
    held.order.send_replace(Order::Drain { until: held.now + SECOND * 1_000 });
    assert!(matches!(held.last_word().await, Some(FromConsumer::Drained)), "{:?}", world.log());
    held.checkpoint()
}

#[tokio::test(start_paused = true)]
async fn checkpoints_follow_the_oldest_record_that_is_outstanding() {
    let world = world();
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        world.check_log(&[
            "new after TRIM_HORIZON",
            "initialize",
            "1/0 to 2/0 try 1",
            "3/0 to 4/0 try 1",
            "5/0 to 6/0 try 1",
        ]);
        assert_eq!(held.checkpoint(), None);
        for (number, expected) in
            [(2, None), (1, Some(after(2))), (4, Some(after(2))), (3, Some(after(4)))]
        {
            world.ack(number).done();
            held.serve(MILLI * 50).await;
            assert_eq!(held.checkpoint(), expected, "after {number}");
        }
        assert_eq!(held.progress.borrow().caught_up_at, None);
        world.ack(5).done();
        world.ack(6).done();
        held.serve(SECOND * 2).await;
        assert!(held.progress.borrow().caught_up_at.is_some());
        assert_eq!(drained(&world, &mut held).await, Some(after(6)));
        held.let_go().await;
    };
    join!(run, script);
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_waits_while_too_many_are_in_flight() {
    let mut world = world();
    world.config.delivery.in_flight_max = 3;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 5).await;
        assert_eq!(world.log().last().unwrap(), "3/0 to 4/0 try 1");
        // One that is not the oldest makes no room: everything after it stays in memory.
        world.ack(2).done();
        held.serve(SECOND * 5).await;
        assert_eq!(world.log().last().unwrap(), "3/0 to 4/0 try 1");
        world.ack(1).done();
        held.serve(SECOND).await;
        assert_eq!(world.log().last().unwrap(), "5/0 to 6/0 try 1");
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn records_take_memory_until_they_are_acknowledged() {
    let world = world();
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        let mut used = world.memory.usage().used;
        for (number, frees) in [(4, false), (3, true), (1, false), (2, true), (5, false), (6, true)]
        {
            world.ack(number).done();
            let now = world.memory.usage().used;
            assert_eq!(now < used, frees, "after {number}: {used}, then {now}");
            used = now;
        }
        assert_eq!(used, 0);
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_records_hold_the_memory_reads_on_once_they_are_acknowledged() {
    let mut world = world();
    world.memory = MemoryBudget::new(1); // One record, then nothing while anything is held.
    let (mut held, run) = world.start();
    let script = async {
        for number in 1..=3 {
            held.serve(SECOND * 10).await;
            let expected = format!("{number}/0 to {number}/0 try 1");
            assert_eq!(world.log().last(), Some(&expected));
            world.ack(number).done();
            held.serve(MILLI * 50).await;
            assert_eq!(held.checkpoint(), Some(after(number)));
        }
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_of_a_former_processor_keep_the_next_one_from_no_record() {
    let mut world = world().with_plan([Act::Fail]);
    world.memory = MemoryBudget::new(1);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 10).await;
        assert_eq!(world.log().last().unwrap(), "1/0 to 1/0 try 2");
        world.ack(1).done();
        held.serve(SECOND * 10).await;
        assert_eq!(world.log().last().unwrap(), "2/0 to 2/0 try 1");
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acknowledgement_brings_the_record_and_all_after_it_to_a_new_processor() {
    for policy in [CheckpointPolicy::Automatic, CheckpointPolicy::Manual] {
        let mut world = world();
        world.config.delivery.checkpoints = policy;
        let (mut held, run) = world.start();
        let script = async {
            held.serve(SECOND * 3).await;
            for number in [1, 2, 4, 5] {
                world.ack(number).done();
            }
            drop(world.ack(3));
            let stale = world.ack(6);
            held.serve(SECOND * 3).await;
            // What a former processor knows counts no more.
            stale.done();
            let log = world.log();
            let again = &log[5..];
            match policy {
                CheckpointPolicy::Automatic | CheckpointPolicy::Every { .. } => assert_eq!(
                    again,
                    [
                        "new after 2/0",
                        "initialize",
                        "3/0 to 3/0 try 2",
                        "4/0 to 5/0 try 1",
                        "6/0 to 6/0 try 1"
                    ]
                ),
                CheckpointPolicy::Manual => assert_eq!(again[0], "new after TRIM_HORIZON"),
            }
            assert!(world.events().iter().any(|event| matches!(event,
                Event::BatchFailed { error, .. } if error.contains("dropped"))));
            world.ack(3).done();
            world.ack(4).done();
            held.serve(MILLI * 50).await;
            let expected = (policy == CheckpointPolicy::Automatic).then(|| after(4));
            assert_eq!(held.checkpoint(), expected);
        };
        tokio::select! { () = script => {}, () = run => unreachable!() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_acknowledgement_fails_too_often_is_set_aside_alone() {
    let mut world = world();
    world.config.delivery.failure = FailurePolicy::attempts(3, OnExhausted::DeadLetter);
    let (mut held, run) = world.start();
    let script = async {
        for _ in 0..3 {
            held.serve(SECOND * 5).await;
            world.ack(4).fail("no");
        }
        held.serve(SECOND * 5).await;
        for number in [1, 2, 3, 5, 6] {
            world.ack(number).done();
        }
        drained(&world, &mut held).await
    };
    let checkpoint = tokio::select! { it = script => it, () = run => unreachable!() };
    assert_eq!(checkpoint, Some(after(6)));
    let log = world.log();
    let letters: Vec<_> = log.iter().filter(|line| line.contains("letter")).collect();
    assert_eq!(letters, ["letter 4/0 after 3: no"]);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_fails_interrupts_the_call_in_hand() {
    let world = world().with_plan([Act::Ok, Act::Hang]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        world.ack(1).fail("no");
        held.serve(SECOND * 3).await;
        assert_eq!(world.log()[4], "new after TRIM_HORIZON");
        assert_eq!(world.log()[6], "1/0 to 1/0 try 2");
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn an_error_after_detaching_brings_the_batch_to_a_new_processor() {
    let world = world().with_plan([Act::Fail]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        assert_eq!(world.log()[3..6], ["new after TRIM_HORIZON", "initialize", "1/0 to 2/0 try 2"]);
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_is_outstanding_as_long_as_there_is_time() {
    let world = world();
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        held.order.send_replace(Order::Drain { until: world.now() + SECOND * 20 });
        held.serve(SECOND * 5).await;
        assert_eq!(world.log().last().unwrap(), "shutdown");
        for number in 1..=6 {
            world.ack(number).done();
        }
        assert!(matches!(held.last_word().await, Some(FromConsumer::Drained)));
        let checkpoint = held.checkpoint();
        held.let_go().await;
        checkpoint
    };
    assert_eq!(join!(run, script).1, Some(after(6)));
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_although_something_is_outstanding() {
    let world = world();
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        let until = world.now() + SECOND * 20;
        held.order.send_replace(Order::Drain { until });
        held.serve(SECOND * 19).await;
        world.ack(1).done();
        assert!(matches!(held.last_word().await, Some(FromConsumer::Drained)));
        assert!(world.now() >= until);
        let checkpoint = held.checkpoint();
        world.ack(2).done();
        (checkpoint, held.checkpoint())
    };
    assert_eq!(join!(run, script).1, (Some(after(1)), Some(after(1))));
    assert_eq!(world.events(), [Event::Stalled { shard: "shard-0".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_ends_once_everything_is_acknowledged() {
    let world = world();
    world.close(&[(&child("low", 0, 49)).into(), (&child("high", 50, 99)).into()]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 60).await;
        assert_eq!(world.log().last().unwrap(), "ended");
        for number in (1..=6).rev() {
            world.ack(number).done();
        }
        assert!(matches!(held.last_word().await, Some(FromConsumer::ShardEnded { .. })));
        held.let_go().await;
    };
    join!(run, script);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_fails_after_the_shards_end_brings_the_record_again() {
    let world = world();
    world.close(&[(&child("only", 0, 99)).into()]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 60).await;
        for number in 1..=5 {
            world.ack(number).done();
        }
        drop(world.ack(6));
        held.serve(SECOND * 60).await;
        let log = world.log();
        assert_eq!(log[log.len() - 2..], ["6/0 to 6/0 try 2", "ended"]);
        world.ack(6).done();
        assert!(matches!(held.last_word().await, Some(FromConsumer::ShardEnded { .. })));
        held.let_go().await;
    };
    join!(run, script);
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_acknowledgements_do_nothing() {
    let world = world();
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        held.order.send_replace(Order::Lost { until: None });
        assert!(held.last_word().await.is_none());
        for number in 1..=5 {
            world.ack(number).done();
        }
        drop(world.ack(6));
        held.checkpoint()
    };
    assert_eq!(join!(run, script).1, None);
    assert_eq!(world.events(), []);
}
