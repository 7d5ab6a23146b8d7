//! Random failures of the processor and of reading, many times over.

use tokio::time::timeout;

use crate::config::CheckpointPolicy;
use crate::engine::consumer_tests::kit::{
    Act, MILLI, SECOND, World, after, throttled, unavailable,
};
use crate::engine::consumer_tests::run_for;
use crate::engine::side::Chance;
use crate::record_source::SourceError;

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
