//! Random histories of failures, of the processor and of reads.

use kcl_proto::model::{Checkpoint, CheckpointPolicy, FailurePolicy, OnExhausted};
use tokio::time::timeout;

use crate::backend::SourceError;
use crate::data_side::tests::application::{Act, Call, number};
use crate::data_side::tests::clock::{MILLI, SECOND};
use crate::data_side::tests::stream::{after, at, throttled, unavailable};
use crate::data_side::tests::world::World;
use crate::report::event::Event;
use crate::tasks::chance::Chance;

const RECORDS: u128 = 30;

fn seeds_and_policies() -> impl Iterator<Item = (u64, CheckpointPolicy)> {
    let policies = [CheckpointPolicy::Automatic, CheckpointPolicy::Manual];
    (0..100).flat_map(move |seed| policies.map(|policy| (seed, policy)))
}

/// A world with failures drawn from `seed`, which end.
fn failing_world(seed: u64, policy: CheckpointPolicy) -> World {
    let chance = Chance::seeded(seed);
    let mut world = World::new().with_records(1..=RECORDS);
    world.config.delivery.checkpoints = policy;
    world.config.retrieval.records_max = 3;
    let world = world.with_plan((0..20).map(|_| match chance.draw() {
        draw if draw < 0.3 => Act::Ok,
        draw if draw < 0.5 => Act::Fail,
        draw if draw < 0.65 => Act::Panic,
        draw if draw < 0.75 => Act::CheckpointFirstAndFail,
        draw if draw < 0.8 => Act::FailToInitialize,
        draw => Act::Sleep(MILLI.mul_f64(draw * 3_000.0)),
    }));
    world.stream.fail_reads((0..12).filter_map(|_| match chance.draw() {
        draw if draw < 0.2 => Some(throttled()),
        draw if draw < 0.4 => Some(SourceError::Expired),
        draw if draw < 0.6 => Some(unavailable()),
        _ => None,
    }));
    world
}

/// Checks that every batch begins at or before the record after the furthest delivered one, and the
/// first batch of a processor right after the checkpoint that it resumes from.
#[track_caller]
fn check_no_gap(seed: u64, calls: &[Call]) {
    let mut furthest = 0;
    let mut resumed = None;
    for call in calls {
        if let Call::New(checkpoint) = call {
            let Checkpoint::After(position) = checkpoint else {
                resumed = Some(0);
                continue;
            };
            resumed = Some(number(*position));
        }
        let Some(numbers) = call.numbers() else { continue };
        let (first, last) = numbers.into_inner();
        assert!(first <= furthest + 1, "seed {seed}: {call:?} after {furthest} in {calls:#?}");
        if let Some(resumed) = resumed.take() {
            assert_eq!(first, resumed + 1, "seed {seed}: {call:?} in {calls:#?}");
        }
        furthest = furthest.max(last);
    }
    assert_eq!(furthest, RECORDS, "seed {seed}: {calls:#?}");
}

#[tokio::test(start_paused = true)]
async fn no_history_of_failures_skips_a_record() {
    for (seed, policy) in seeds_and_policies() {
        let world = failing_world(seed, policy);
        let run = world.run_for(SECOND * 1_000);
        let checkpoint = timeout(SECOND * 10_000, run).await.unwrap();
        check_no_gap(seed, &world.calls());
        if policy == CheckpointPolicy::Automatic {
            assert_eq!(checkpoint, Some(after(RECORDS)), "seed {seed}");
        }
    }
}

/// Records that cannot be processed, drawn from `seed`, and how their batches fail.
fn poison(seed: u64) -> Vec<(u128, Act)> {
    let chance = Chance::seeded(seed);
    let act = |number, draw| match draw {
        draw if draw < 0.05 => Some((number, Act::Fail)),
        draw if draw < 0.1 => Some((number, Act::Panic)),
        draw if draw < 0.15 => Some((number, Act::FailAt(number))),
        _ => None,
    };
    (1..=RECORDS).filter_map(|number| act(number, chance.draw())).collect()
}

/// A world whose records fail like this, in which exhausted records are dead-lettered.
fn poisoned_world(seed: u64, policy: CheckpointPolicy, poison: &[(u128, Act)]) -> World {
    let mut world = World::new().with_records(1..=RECORDS);
    let attempts = 1 + usize::try_from(seed % 3).unwrap();
    world.config.delivery.checkpoints = policy;
    world.config.delivery.failure = FailurePolicy::attempts(attempts, OnExhausted::DeadLetter);
    world.config.retrieval.records_max = 1 + usize::try_from(seed % 11).unwrap();
    for (number, act) in poison {
        world.app.poison(*number, *act);
    }
    world.app.plan_dead_letter((0..seed % 5).map(|_| Act::Fail));
    world
}

/// Checks that no record is passed but the poisoned ones. Only a new processor under manual
/// checkpoints begins at the trim horizon again.
#[track_caller]
fn check_order(label: &str, policy: CheckpointPolicy, poison: &[(u128, Act)], calls: &[Call]) {
    let is_poison = |number: &u128| poison.iter().any(|(poison, _)| poison == number);
    let mut furthest = 0;
    for call in calls {
        if *call == Call::New(Checkpoint::TrimHorizon) && policy == CheckpointPolicy::Manual {
            furthest = 0;
        }
        let Some(numbers) = call.numbers() else { continue };
        let passed = (furthest + 1..*numbers.start()).filter(|number| !is_poison(number)).count();
        assert_eq!(passed, 0, "{label}: {call:?} in {calls:#?}");
        if !numbers.clone().any(|number| is_poison(&number)) {
            furthest = furthest.max(*numbers.end());
        } else if let Some((named, Act::FailAt(_))) =
            poison.iter().find(|(number, _)| numbers.contains(number))
        {
            furthest = furthest.max(named - 1);
        }
    }
    let left = (furthest + 1..=RECORDS).filter(|number| !is_poison(number)).count();
    assert_eq!(left, 0, "{label}: {calls:#?}");
}

#[tokio::test(start_paused = true)]
async fn each_record_is_processed_or_dead_lettered_once() {
    for (seed, policy) in seeds_and_policies() {
        let label = format!("seed {seed} {policy:?}");
        let poison = poison(seed);
        let world = poisoned_world(seed, policy, &poison);
        timeout(SECOND * 10_000, world.run_for(SECOND * 1_000)).await.unwrap();
        let dead_lettered = world.events().into_iter().filter_map(|event| {
            if let Event::DeadLettered { position, .. } = event { Some(position) } else { None }
        });
        let expected = poison.iter().map(|(number, _)| at(*number));
        assert!(dead_lettered.eq(expected), "{label}: {:#?}", world.calls());
        check_order(&label, policy, &poison, &world.calls());
    }
}
