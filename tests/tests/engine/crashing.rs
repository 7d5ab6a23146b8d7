//! What comes twice after a crash: no more than the time since the last renewal explains.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_core::model::LeaseCounter;
use kcl_sim::story::{Act, Call, Story};

const SECOND: Duration = Duration::from_secs(1);

/// How often the table is looked at, and records arrive.
const STEP: Duration = Duration::from_millis(50);

/// How long a batch takes.
const WORK: Duration = Duration::from_millis(120);

/// The shard of a record by its number.
fn shard_of(number: u32) -> usize {
    usize::from(number.is_multiple_of(2))
}

/// Puts a record each step for this time. Returns when each shard's lease was last seen before its
/// last renewal.
fn load(story: &Story, time: Duration, number: &mut u32) -> BTreeMap<usize, Duration> {
    let mut renewals: BTreeMap<usize, (LeaseCounter, Duration)> = BTreeMap::new();
    let (end, mut looked_at) = (story.elapsed() + time, story.elapsed());
    while story.elapsed() < end {
        for shard in 0..2 {
            let counter = story.lease(shard).counter;
            if renewals.get(&shard).is_none_or(|(known, _)| *known != counter) {
                renewals.insert(shard, (counter, looked_at));
            }
        }
        looked_at = story.elapsed();
        *number += 1;
        story.put(shard_of(*number), [number.to_string().as_str()]);
        story.pass(STEP);
    }
    renewals.into_iter().map(|(shard, (_, before))| (shard, before)).collect()
}

#[test]
fn crash_repeats_only_what_came_since_the_renewal() {
    let mut repeated = 0;
    for trial in 0..12 {
        let story = Story::new(2);
        story.on(Call::is_batch, Act::Take(WORK));
        let doomed = story.start("doomed");
        let held = |story: &Story| story.owned_by("doomed") == Some(2);
        story.until("held", SECOND * 10, held);
        let mut number = 0;
        // At any moment between two renewals.
        let strike = SECOND * 8 + Duration::from_millis(310) * trial;
        let renewed_after = load(&story, strike, &mut number);
        let crashed_at = story.elapsed();
        doomed.crash();
        story.start("next");
        let last = number.to_string();
        story.until("taken over", SECOND * 30, |story| story.journal.has(&last));
        story.pass(SECOND * 5);
        let first_by_doomed = |record: &str| {
            let mut all = story.journal.deliveries().into_iter();
            all.find(|it| it.worker == "doomed" && it.record == record)
        };
        for record in (1..=number).map(|number| number.to_string()) {
            let who = story.journal.who_got(&record);
            assert!(who.iter().filter(|who| *who == "next").count() <= 1, "{record}: {who:?}");
            assert!(!who.is_empty(), "{record} is missing");
            if who.len() < 2 {
                continue;
            }
            repeated += 1;
            let at = first_by_doomed(&record).unwrap().at;
            let shard = shard_of(record.parse().unwrap());
            // A batch that was begun before the renewal was in hand when that was sent.
            assert!(at + WORK >= renewed_after[&shard], "{record} of {at:?}: {renewed_after:?}");
            assert!(at + WORK + SECOND * 10 / 3 + STEP * 2 >= crashed_at, "{record} of {at:?}");
        }
    }
    assert!(repeated > 0, "a crash without repeats proves nothing");
}

#[test]
fn newcomer_after_a_crash_shares_in_the_takeover() {
    for joins_after in 1..9 {
        let story = Story::new(12);
        let a = story.start("a");
        story.start("b");
        let owned =
            |story: &Story, a, b| story.owned_by("a") == Some(a) && story.owned_by("b") == Some(b);
        story.until("shared", SECOND * 40, |story| owned(story, 6, 6));
        story.pass(SECOND * 11);
        let crashed_at = story.elapsed();
        a.crash();
        story.pass(SECOND * joins_after);
        story.start("c");
        story.until("shared", SECOND * 40, |story| owned(story, 0, 6));
        let took = story.elapsed() - crashed_at;
        assert!(took <= SECOND * 11 + SECOND / 2, "joined after {joins_after} s: {took:?}");
    }
}
