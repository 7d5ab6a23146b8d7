//! Records of a shard in flight at the same time, in order within each partition key.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kcl_core::config::{FailurePolicy, OnExhausted};
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::for_each;
use kcl_core::processor::PerKey;
use kcl_core::{BoxError, ProcessorFactory, Record, ShardContext};
use kcl_sim::story::{CallFault, Calls, Member, Notes, ShardNotes, Story};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(30);

/// A note of a handler: the time, the processor, the record, and whether it is done or begun.
#[derive(Clone, Debug)]
struct Note {
    at: Duration,
    who: (u64, usize),
    key: String,
    number: usize,
    is_done: bool,
}

fn notes(story: &Story) -> Vec<Note> {
    let all = story.journal.handled().into_iter();
    all.map(|it| {
        let (key, number) = parse(&it.record);
        Note { at: it.at, who: it.processor, key, number, is_done: it.is_done }
    })
    .collect()
}

/// The records that are done.
fn done(story: &Story) -> BTreeSet<(String, usize)> {
    let all = notes(story).into_iter().filter(|it| it.is_done);
    all.map(|it| (it.key, it.number)).collect()
}

/// The partition key and the number of a record.
fn parse(record: &str) -> (String, usize) {
    let (key, number) = record.split_once(' ').unwrap();
    (key.to_owned(), number.parse().unwrap())
}

/// Puts `each` records for each of `keys` keys, in turn.
fn put(story: &Story, keys: usize, each: usize) {
    for number in 0..each {
        for key in 0..keys {
            let key = format!("k{key}");
            story.put_as(0, &key, &format!("{key} {number}"));
        }
    }
}

/// A number that looks random, from its place.
fn chance(seed: u64, salt: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 29)
}

/// Makes the processors of one worker.
type Factory = Box<dyn Fn(&ShardContext) -> PerKey + Send + Sync>;

/// Makes processors that take this time for each record.
fn steady(time: Duration, concurrency: usize) -> impl Fn(Notes) -> Factory + Send + Sync {
    move |notes| {
        Box::new(move |shard: &ShardContext| {
            let notes = notes.of(shard);
            let handle = move |record| take(notes.clone(), record, time);
            for_each(handle).concurrency(concurrency).create(shard)
        })
    }
}

async fn take(notes: ShardNotes, record: Record, time: Duration) -> Result<(), BoxError> {
    notes.begin(&record);
    sleep(time).await;
    notes.done(&record);
    Ok(())
}

fn time_of(concurrency: usize) -> Duration {
    let story = Story::new(1);
    put(&story, 64, 40);
    let worker = story.start_noting("w", steady(MILLI * 5, concurrency));
    story.until("done", SECOND * 100, |story| done(story).len() == 64 * 40);
    worker.stop().unwrap();
    let all = notes(&story);
    all.last().unwrap().at - all[0].at
}

#[test]
fn sixty_four_keys_are_ten_times_as_fast() {
    let (one, many) = (time_of(1), time_of(64));
    assert!(many * 10 <= one, "{one:?} one at a time, {many:?} together");
}

/// The order of a key: a record is begun only after the one before it was done, by this handler's
/// life or an earlier one; and within one life nothing goes back.
#[track_caller]
fn check_order(seed: u64, notes: &[Note], is_set_aside: impl Fn(&str, usize) -> bool) {
    let mut done: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut running: BTreeMap<((u64, usize), &str), usize> = BTreeMap::new();
    for note in notes {
        let before = done.entry(&note.key).or_default();
        if note.is_done {
            before.insert(note.number);
            continue;
        }
        let gap = (0..note.number).find(|it| !before.contains(it) && !is_set_aside(&note.key, *it));
        assert_eq!(gap, None, "seed {seed}: {note:?} began too soon");
        let last = running.insert((note.who, &note.key), note.number);
        assert!(
            last.is_none_or(|last| last <= note.number),
            "seed {seed}: {note:?} after {last:?}"
        );
    }
}

/// Ends a worker by a crash or in good order, or takes its lease away.
fn strike(story: &Story, workers: &mut Vec<Member>, kind: u64) {
    match kind {
        0 => workers.remove(0).crash(),
        1 => {
            workers.remove(0).stop().unwrap();
        }
        _ if story.find(0).is_some_and(|lease| lease.owner.is_some()) => story.usurp(0, "thief"),
        _ => {}
    }
}

#[test]
fn key_stays_in_order_through_failures_and_owners() {
    for seed in 0..12_u64 {
        let story = Story::new(1);
        story.configure(|config| config.delivery.in_flight_max = 40);
        story.configure(|config| config.retrieval.records_max = 17);
        put(&story, 9, 40);
        let mut workers = vec![story.start_noting("a", troubled(seed))];
        for number in 0..4 {
            let pause = u32::try_from(chance(seed, number) % 4_000).unwrap();
            story.pass(MILLI * (200 + pause));
            strike(&story, &mut workers, chance(seed, number + 100) % 3);
            workers.push(story.start_noting("b", troubled(seed)));
        }
        story.until("all done", SECOND * 600, |story| done(story).len() == 9 * 40);
        let notes = notes(&story);
        check_order(seed, &notes, |_, _| false);
        let processors: BTreeSet<_> = notes.into_iter().map(|note| note.who).collect();
        assert!(processors.len() > 1, "seed {seed}: one processor only");
        workers.iter().for_each(Member::crash); // their handlers fail now and then.
    }
}

/// Makes processors that take a while, and fail or panic now and then.
fn troubled(seed: u64) -> impl Fn(Notes) -> Factory + Send + Sync {
    move |notes| {
        Box::new(move |shard: &ShardContext| {
            let (notes, handled) = (notes.of(shard), Arc::new(AtomicU64::new(0)));
            let life = chance(seed, shard.token().get());
            let handle = move |record| {
                let nth = life.wrapping_add(handled.fetch_add(1, Ordering::Relaxed));
                handle_or_fail(notes.clone(), record, (seed, nth))
            };
            for_each(handle).concurrency(5).create(shard)
        })
    }
}

async fn handle_or_fail(
    notes: ShardNotes,
    record: Record,
    (seed, nth): (u64, u64),
) -> Result<(), BoxError> {
    notes.begin(&record);
    sleep(MILLI * u32::try_from(chance(seed, nth) % 300).unwrap()).await;
    match chance(seed, nth.wrapping_add(1_000)) % 10 {
        0 | 1 => Err("scripted".into()),
        2 => panic!("scripted"),
        _ => {
            notes.done(&record);
            Ok(())
        }
    }
}

/// The record that no handler can process.
const POISON: &str = "k1 2";

/// Makes processors that fail with the poison record.
fn failing(notes: Notes) -> impl ProcessorFactory {
    move |shard: &ShardContext| {
        let notes = notes.of(shard);
        let handle = move |record: Record| ready(refuse_poison(&notes, &record));
        for_each(handle).create(shard)
    }
}

fn refuse_poison(notes: &ShardNotes, record: &Record) -> Result<(), BoxError> {
    notes.begin(record);
    if &*record.data == POISON.as_bytes() {
        return Err("scripted".into());
    }
    notes.done(record);
    Ok(())
}

#[test]
fn other_keys_proceed_while_one_is_retried() {
    let story = Story::new(1);
    story.poison(POISON);
    put(&story, 4, 5);
    let worker = story.start_noting("w", failing);
    story.until("others done", SOON, |story| done(story).len() == 17);
    story.pass(SECOND * 30);
    assert_eq!(done(&story).len(), 17);
    let failed = |event: &Event| {
        if let Event::RecordFailed { attempt, .. } = event { Some(*attempt) } else { None }
    };
    assert!(story.journal.events(failed).len() > 5);
    // A key that keeps failing does not hold a clean stop up.
    let began = story.elapsed();
    let report = worker.stop().unwrap();
    assert!(story.elapsed() - began < SECOND * 2);
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
}

#[test]
fn poison_of_a_key_is_dead_lettered_and_it_proceeds() {
    let story = Story::new(1);
    story.configure(|config| {
        config.delivery.failure = FailurePolicy::attempts(3, OnExhausted::DeadLetter);
    });
    story.poison(POISON);
    put(&story, 4, 5);
    story.fail_dead_letters(2);
    let worker = story.start_noting("w", failing);
    story.until("done", SOON, |story| done(story).len() == 19);
    worker.stop().unwrap();
    assert_eq!(story.dead_letters(), [POISON]);
    assert!(story.lease(0).checkpoint.has_progressed());
    check_order(0, &notes(&story), |key, number| (key, number) == ("k1", 2));
    let tries =
        notes(&story).into_iter().filter(|it| (it.key.as_str(), it.number) == ("k1", 2)).count();
    assert_eq!(tries, 3);
}

#[test]
fn exhausted_key_stops_the_shard() {
    let story = Story::new(1);
    story.configure(|config| {
        config.delivery.failure = FailurePolicy::attempts(3, OnExhausted::StopShard);
    });
    story.poison(POISON);
    put(&story, 4, 5);
    let worker = story.start_noting("w", failing);
    let stopped = |event: &Event| matches!(event, Event::ShardStopped { .. }).then_some(());
    story.until("stopped", SOON, |story| !story.journal.events(stopped).is_empty());
    story.pass(SECOND * 60);
    assert_eq!(story.journal.events(stopped).len(), 1);
    let checkpoint = story.lease(0).checkpoint.position().unwrap();
    let record = story.journal.events(|event| {
        if let Event::ShardStopped { position, .. } = event { *position } else { None }
    });
    assert!(checkpoint < record[0].2);
    worker.crash();
}

#[test]
fn stop_finishes_what_is_in_flight_without_repeats() {
    let story = Story::new(1);
    put(&story, 8, 30);
    let worker = story.start_noting("w", steady(MILLI * 5, 3));
    story.until("begun", SOON, |story| done(story).len() > 20);
    worker.stop().unwrap();
    let before = done(&story).len();
    let next = story.start_noting("next", steady(MILLI * 5, 64));
    story.until("done", SOON, |story| done(story).len() == 240);
    next.stop().unwrap();
    let done = notes(&story).into_iter().filter(|note| note.is_done).count();
    assert_eq!((done, before), (240, before));
}

#[test]
fn failing_dead_letter_does_not_delay_a_stop() {
    let story = Story::new(1);
    story.configure(|config| {
        config.delivery.failure = FailurePolicy::attempts(1, OnExhausted::DeadLetter);
    });
    story.poison(POISON);
    put(&story, 4, 5);
    story.fail_dead_letters(usize::MAX);
    let worker = story.start_noting("w", failing);
    story.until("others done", SOON, |story| done(story).len() == 17);
    story.pass(SECOND * 30);
    let began = story.elapsed();
    worker.stop().unwrap();
    assert!(story.elapsed() - began < SECOND * 2);
    assert_eq!(story.dead_letters(), [""; 0]);
}

#[test]
fn no_handler_runs_past_the_deadline_or_a_loss() {
    let story = Story::new(1);
    // More work than there is time for.
    put(&story, 64, 100);
    story.configure(|config| config.delivery.cancel_grace = SECOND * 5);
    let worker = story.start_noting("w", steady(MILLI * 500, 8));
    story.until("begun", SOON, |story| notes(story).len() > 20);
    worker.fault(Calls::Table, CallFault::Silent);
    let silent_at = story.elapsed();
    story.pass(SECOND * 30);
    let last = notes(&story).last().unwrap().at;
    assert!(last < silent_at + SECOND * 9, "{last:?} after {silent_at:?}");
    assert!(last > silent_at + SECOND * 4, "{last:?} after {silent_at:?}");
    worker.crash();

    let before = notes(&story).len();
    let next = story.start_noting("next", steady(MILLI * 500, 8));
    story.until("begun", SECOND * 40, |story| notes(story).len() > before + 20);
    story.usurp(0, "thief");
    let lost = |event: &Event| {
        let is_lost = matches!(event, Event::LeaseEnded { how: LeaseEnd::Lost, .. });
        is_lost.then_some(())
    };
    story.until("lost", SOON, |story| story.journal.event(lost).is_some());
    let lost_at = story.journal.event(lost).unwrap().0;
    story.pass(SECOND * 4);
    let begun = notes(&story).into_iter().filter(|note| !note.is_done && note.at > lost_at).count();
    assert_eq!(begun, 0);
    next.crash(); // There is more work than a fleet may take to heal.
}
