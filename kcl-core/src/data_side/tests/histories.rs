//! Random failures of the processor and of reading, many times over.

use kcl_proto::model::{CheckpointPolicy, FailurePolicy, OnExhausted};
use tokio::time::timeout;

use crate::backend::SourceError;
use crate::data_side::tests::kit::{Act, MILLI, SECOND, World, after, at, throttled, unavailable};
use crate::data_side::tests::run_for;
use crate::report::event::Event;
use crate::tasks::chance::Chance;

const RECORDS: u128 = 30;

/// A world in which things fail for a while, drawn from `seed`.
fn troubled(seed: u64, policy: CheckpointPolicy) -> World {
    let chance = Chance::seeded(seed);
    let mut world = World::new().with_records(1..=RECORDS);
    world.config.delivery.checkpoints = policy;
    world.config.retrieval.records_max = 3;
    let world = world.with_plan((0..20).map(|_| match chance.draw() {
        draw if draw < 0.3 => Act::Ok,
        draw if draw < 0.5 => Act::Fail,
        draw if draw < 0.65 => Act::Panic,
        draw if draw < 0.75 => Act::CheckpointFirstAndFail,
        draw if draw < 0.8 => Act::FailToStart,
        draw => Act::Take(MILLI.mul_f64(draw * 3_000.0)),
    }));
    world.fault((0..12).filter_map(|_| match chance.draw() {
        draw if draw < 0.2 => Some(throttled()),
        draw if draw < 0.4 => Some(SourceError::Expired),
        draw if draw < 0.6 => Some(unavailable()),
        _ => None,
    }));
    world
}

/// Every delivery begins at or before the record after the furthest one that was delivered, and that
/// of a new processor right after what it resumes.
#[track_caller]
fn check_no_gap(seed: u64, log: &[String]) {
    let mut furthest = 0;
    let mut resumed = None;
    for line in log {
        if let Some(from) = line.strip_prefix("new after ") {
            resumed = Some(from.split('/').next().and_then(|at| at.parse().ok()).unwrap_or(0_u128));
        }
        let mut words = line.split(' ').map(|word| word.trim_end_matches("/0"));
        let (first, last) =
            (words.next().map(str::parse::<u128>), words.nth(1).map(str::parse::<u128>));
        let (Some(Ok(first)), Some(Ok(last))) = (first, last) else { continue };
        assert!(first <= furthest + 1, "seed {seed}: {line} after {furthest} in {log:#?}");
        if let Some(resumed) = resumed.take() {
            assert_eq!(first, resumed + 1, "seed {seed}: {line} in {log:#?}");
        }
        furthest = furthest.max(last);
    }
    assert_eq!(furthest, RECORDS, "seed {seed}: {log:#?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_no_record_is_skipped() {
    for (seed, policy) in (0..100)
        .flat_map(|seed| [CheckpointPolicy::Automatic, CheckpointPolicy::Manual].map(|p| (seed, p)))
    {
        let world = troubled(seed, policy);
        let checkpoint = timeout(SECOND * 10_000, run_for(&world, SECOND * 1_000)).await.unwrap();
        check_no_gap(seed, &world.log());
        if policy == CheckpointPolicy::Automatic {
            assert_eq!(checkpoint, Some(after(RECORDS)), "seed {seed}");
        }
    }
}

/// Drawn from `seed`: records that cannot be processed, and how they show it.
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

/// The first and the last record of a delivery.
fn delivery(line: &str) -> Option<(u128, u128)> {
    let (first, rest) = line.split_once("/0 to ")?;
    Some((first.parse().ok()?, rest.split('/').next()?.parse().ok()?))
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_each_record_is_processed_in_order_or_set_aside_once() {
    for (seed, policy) in (0..100)
        .flat_map(|seed| [CheckpointPolicy::Automatic, CheckpointPolicy::Manual].map(|p| (seed, p)))
    {
        let mut world = World::new().with_records(1..=RECORDS);
        let attempts = 1 + usize::try_from(seed % 3).unwrap();
        world.config.delivery.checkpoints = policy;
        world.config.delivery.failure = FailurePolicy::attempts(attempts, OnExhausted::DeadLetter);
        world.config.retrieval.records_max = 1 + usize::try_from(seed % 11).unwrap();
        let poison = poison(seed);
        for (number, act) in &poison {
            world.poison(*number, *act);
        }
        world.plan_letters((0..seed % 5).map(|_| Act::Fail));
        timeout(SECOND * 10_000, run_for(&world, SECOND * 1_000)).await.unwrap();
        let is_poison = |number: &u128| poison.iter().any(|(poison, _)| poison == number);
        let set_aside = world.events().into_iter().filter_map(|event| {
            if let Event::DeadLettered { position, .. } = event { Some(position) } else { None }
        });
        let expected = poison.iter().map(|(number, _)| at(*number));
        assert!(set_aside.eq(expected), "seed {seed} {policy:?}: {:#?}", world.log());
        // A new processor with manual checkpoints begins anew; nobody else goes back.
        let mut furthest = 0;
        for line in world.log() {
            let resumed = line.starts_with("new after TRIM") && policy == CheckpointPolicy::Manual;
            furthest = if resumed { 0 } else { furthest };
            let Some((first, last)) = delivery(&line) else { continue };
            let before = (furthest + 1..first).filter(|number| !is_poison(number)).count();
            assert_eq!(before, 0, "seed {seed} {policy:?}: {line} in {:#?}", world.log());
            if !(first..=last).any(|number| is_poison(&number)) {
                furthest = furthest.max(last);
            } else if let Some((named, Act::FailAt(_))) =
                poison.iter().find(|(number, _)| (first..=last).contains(number))
            {
                furthest = furthest.max(named - 1);
            }
        }
        let left = (furthest + 1..=RECORDS).filter(|number| !is_poison(number)).count();
        assert_eq!(left, 0, "seed {seed} {policy:?}: {:#?}", world.log());
    }
}
