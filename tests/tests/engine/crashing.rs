//! What comes twice after a crash: no more than the time since the last renewal explains.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_core::model::LeaseCounter;
use kcl_tests::world::{Act, Call, World};

const SECOND: Duration = Duration::from_secs(1);

/// How often the table is looked at, and records arrive.
const STEP: Duration = Duration::from_millis(50);

/// How long a batch takes.
const WORK: Duration = Duration::from_millis(120);

/// The shard of a record by its number.
fn shard_of(number: u32) -> usize {
    usize::from(number.is_multiple_of(2))
}

/// Puts a record each step, for so long. Returns when each shard's lease was last seen not to be
/// renewed yet: before its last renewal was sent.
async fn load(world: &World, time: Duration, number: &mut u32) -> BTreeMap<usize, Duration> {
    let mut renewals: BTreeMap<usize, (LeaseCounter, Duration)> = BTreeMap::new();
    let (end, mut looked_at) = (world.clock.elapsed() + time, world.clock.elapsed());
    while world.clock.elapsed() < end {
        for shard in 0..2 {
            let counter = world.lease(shard).counter;
            if renewals.get(&shard).is_none_or(|(known, _)| *known != counter) {
                renewals.insert(shard, (counter, looked_at));
            }
        }
        looked_at = world.clock.elapsed();
        *number += 1;
        world.put(shard_of(*number), [number.to_string().as_str()]);
        world.pass(STEP).await;
    }
    renewals.into_iter().map(|(shard, (_, before))| (shard, before)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_crash_repeats_what_came_since_the_last_renewal_was_sent_and_the_batch_in_hand() {
    let mut repeated = 0;
    for trial in 0..12 {
        let world = World::new(2);
        world.script(|asked| {
            if matches!(asked.call, Call::Process { .. }) { Act::Take(WORK) } else { Act::Succeed }
        });
        let doomed = world.start("doomed");
        let held = |world: &World| world.owned_by("doomed") == Some(2);
        world.until("held", SECOND * 10, held).await;
        let mut number = 0;
        // At any moment between two renewals.
        let strike = SECOND * 8 + Duration::from_millis(310) * trial;
        let renewed_after = load(&world, strike, &mut number).await;
        let crashed_at = world.clock.elapsed();
        doomed.crash();
        let _next = world.start("next");
        let last = number.to_string();
        world.until("taken over", SECOND * 30, |world| world.journal.has(&last)).await;
        world.pass(SECOND * 5).await;
        let first_by_doomed = |record: &str| {
            let mut all = world.journal.deliveries().into_iter();
            all.find(|(_, worker, _, got)| worker == "doomed" && got == record)
        };
        for record in (1..=number).map(|number| number.to_string()) {
            let who = world.journal.who_got(&record);
            assert!(who.iter().filter(|who| *who == "next").count() <= 1, "{record}: {who:?}");
            assert!(!who.is_empty(), "{record} is missing");
            if who.len() < 2 {
                continue;
            }
            repeated += 1;
            let (at, ..) = first_by_doomed(&record).unwrap();
            let shard = shard_of(record.parse().unwrap());
            // A batch that was begun before the renewal was in hand when that was sent.
            assert!(at + WORK >= renewed_after[&shard], "{record} of {at:?}: {renewed_after:?}");
            assert!(at + WORK + SECOND * 10 / 3 + STEP * 2 >= crashed_at, "{record} of {at:?}");
        }
    }
    assert!(repeated > 0, "a crash without repeats proves nothing");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_joins_after_a_crash_gets_its_share_with_the_takeover() {
    for joins_after in 1..9 {
        let world = World::new(12);
        let a = world.start("a");
        let _b = world.start("b");
        let owned =
            |world: &World, a, b| world.owned_by("a") == Some(a) && world.owned_by("b") == Some(b);
        world.until("shared", SECOND * 40, |world| owned(world, 6, 6)).await;
        world.pass(SECOND * 11).await;
        let crashed_at = world.clock.elapsed();
        a.crash();
        world.pass(SECOND * joins_after).await;
        let _c = world.start("c");
        world.until("shared", SECOND * 40, |world| owned(world, 0, 6)).await;
        let took = world.clock.elapsed() - crashed_at;
        assert!(took <= SECOND * 11 + SECOND / 2, "joined after {joins_after} s: {took:?}");
    }
}
