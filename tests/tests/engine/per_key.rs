//! Records of a shard under way at the same time, in order within each partition key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::config::{FailurePolicy, OnExhausted};
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::for_each;
use kcl_core::processor::{ForEach, PerKey};
use kcl_core::{BoxError, ProcessorFactory, Record};
use kcl_tests::world::{Member, StoreFault, TestClock, World};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(30);

/// What handlers did: when, in which worker's life, with which record, and whether it was done.
#[derive(Clone, Debug)]
struct Notes {
    clock: TestClock,
    notes: Arc<Mutex<Vec<Note>>>,
}

#[derive(Clone, Debug)]
struct Note {
    at: Duration,
    who: usize,
    key: String,
    number: usize,
    is_done: bool,
}

impl Notes {
    fn new(world: &World) -> Self {
        Self { clock: world.clock, notes: Arc::default() }
    }

    fn note(&self, who: usize, record: &Record, is_done: bool) {
        let (key, number) = parse(record);
        self.notes.lock().unwrap().push(Note {
            at: self.clock.elapsed(),
            who,
            key,
            number,
            is_done,
        });
    }

    fn all(&self) -> Vec<Note> {
        self.notes.lock().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.notes.lock().unwrap().len()
    }

    fn done(&self) -> BTreeSet<(String, usize)> {
        self.all().into_iter().filter(|it| it.is_done).map(|it| (it.key, it.number)).collect()
    }
}

fn parse(record: &Record) -> (String, usize) {
    let number = String::from_utf8_lossy(&record.data).parse().unwrap();
    (record.partition_key.as_str().to_owned(), number)
}

/// Puts so many records for each of so many keys, in turn.
fn put(world: &World, keys: usize, each: usize) {
    let hash = world.hash_range(0).start;
    for number in 0..each {
        for key in 0..keys {
            let data = number.to_string();
            world.stream.put_at(hash, format!("k{key}").as_str(), data).unwrap();
        }
    }
}

/// A number that looks random, from its place.
fn chance(seed: u64, salt: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 29)
}

/// Takes 5 ms for each record.
fn steady(notes: &Notes) -> ForEach {
    let notes = notes.clone();
    for_each(move |record| {
        let notes = notes.clone();
        async move {
            notes.note(0, &record, false);
            sleep(MILLI * 5).await;
            notes.note(0, &record, true);
            Ok(())
        }
    })
}

async fn time_of(concurrency: usize) -> Duration {
    let world = World::new(1);
    put(&world, 64, 40);
    let notes = Notes::new(&world);
    let worker =
        world.start_processor("w", world.stream.clone(), steady(&notes).concurrency(concurrency));
    world.until("done", SECOND * 100, |_| notes.done().len() == 64 * 40).await;
    worker.stop().await.unwrap();
    let all = notes.all();
    all.last().unwrap().at - all[0].at
}

#[tokio::test(start_paused = true)]
async fn sixty_four_keys_are_ten_times_as_fast_as_one_at_a_time() {
    let (one, many) = (time_of(1).await, time_of(64).await);
    assert!(many * 10 <= one, "{one:?} one at a time, {many:?} together");
}

/// The order of a key: a record is begun only after the one before it was done, by this handler's
/// life or an earlier one; and within one life nothing goes back.
#[track_caller]
fn check_order(seed: u64, notes: &[Note], is_set_aside: impl Fn(&str, usize) -> bool) {
    let mut done: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut running: BTreeMap<(usize, &str), usize> = BTreeMap::new();
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

/// Makes processors of which each knows which one it is.
fn lives(notes: &Notes, seed: u64) -> impl ProcessorFactory<Processor = PerKey> + use<> {
    let (notes, lives) = (notes.clone(), AtomicUsize::new(0));
    move |shard: &ShardContext| {
        let (notes, token) = (notes.clone(), shard.token().get());
        let life = lives.fetch_add(1, Ordering::Relaxed);
        let who = usize::try_from(token).unwrap() * 1_000 + life;
        for_each(move |record| troubled(notes.clone(), who, record, seed))
            .concurrency(5)
            .create(shard)
    }
}

/// Ends a worker by a crash or in good order, or takes its lease away.
async fn strike(world: &World, workers: &mut Vec<Member>, kind: u64) {
    match kind {
        0 => workers.remove(0).crash(),
        1 => {
            workers.remove(0).stop().await.unwrap();
        }
        _ if world.find(0).is_some_and(|lease| lease.owner.is_some()) => world.usurp(0, "thief"),
        _ => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_in_order_whatever_fails_and_whoever_owns_the_shard() {
    for seed in 0..12_u64 {
        let mut world = World::new(1);
        world.config.delivery.in_flight_max = 40;
        world.config.retrieval.records_max = 17;
        put(&world, 9, 40);
        let notes = Notes::new(&world);
        let start = |name| world.start_processor(name, world.stream.clone(), lives(&notes, seed));
        let mut workers = vec![start("a")];
        for number in 0..4 {
            let pause = u32::try_from(chance(seed, number) % 4_000).unwrap();
            world.pass(MILLI * (200 + pause)).await;
            strike(&world, &mut workers, chance(seed, number + 100) % 3).await;
            workers.push(start("b"));
        }
        world
            .until("all done", SECOND * 600, |_| {
                notes.len() >= 9 * 40 && notes.done().len() == 9 * 40
            })
            .await;
        check_order(seed, &notes.all(), |_, _| false);
        let lives: BTreeSet<_> = notes.all().into_iter().map(|note| note.who).collect();
        assert!(lives.len() > 1, "seed {seed}: one life only");
    }
}

/// Takes a while, and fails or panics now and then.
async fn troubled(notes: Notes, who: usize, record: Record, seed: u64) -> Result<(), BoxError> {
    notes.note(who, &record, false);
    let salt = u64::try_from(notes.len()).unwrap();
    sleep(MILLI * u32::try_from(chance(seed, salt) % 300).unwrap()).await;
    match chance(seed, salt + 1_000) % 10 {
        0 | 1 => Err("as told".into()),
        2 => panic!("as told"),
        _ => {
            notes.note(who, &record, true);
            Ok(())
        }
    }
}

fn failing(notes: &Notes, poison: (&'static str, usize)) -> ForEach {
    let notes = notes.clone();
    for_each(move |record| {
        let notes = notes.clone();
        async move {
            notes.note(0, &record, false);
            let (key, number) = parse(&record);
            if (key.as_str(), number) == poison {
                return Err("as told".into());
            }
            notes.note(0, &record, true);
            Ok(())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn other_keys_go_on_while_one_is_tried_again() {
    let world = World::new(1);
    put(&world, 4, 5);
    let notes = Notes::new(&world);
    let worker = world.start_processor("w", world.stream.clone(), failing(&notes, ("k1", 2)));
    world.until("others done", SOON, |_| notes.done().len() == 17).await;
    world.pass(SECOND * 30).await;
    assert_eq!(notes.done().len(), 17);
    let failed = |event: &Event| {
        if let Event::RecordFailed { attempt, .. } = event { Some(*attempt) } else { None }
    };
    assert!(world.journal.events(failed).len() > 5);
    // A key that keeps failing does not hold a clean stop up.
    let began = world.clock.elapsed();
    let report = worker.stop().await.unwrap();
    assert!(world.clock.elapsed() - began < SECOND * 2);
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
}

#[tokio::test(start_paused = true)]
async fn a_poison_record_of_a_key_is_set_aside_and_its_key_goes_on() {
    let mut world = World::new(1);
    world.config.delivery.failure = FailurePolicy::attempts(3, OnExhausted::DeadLetter);
    put(&world, 4, 5);
    world.letters.fail_next(2);
    let notes = Notes::new(&world);
    let worker = world.start_processor("w", world.stream.clone(), failing(&notes, ("k1", 2)));
    world.until("done", SOON, |_| notes.done().len() == 19).await;
    worker.stop().await.unwrap();
    assert_eq!(world.letters.stored(), ["2"]);
    assert!(world.lease(0).checkpoint.has_progressed());
    check_order(0, &notes.all(), |key, number| (key, number) == ("k1", 2));
    let tries =
        notes.all().into_iter().filter(|it| (it.key.as_str(), it.number) == ("k1", 2)).count();
    assert_eq!(tries, 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_exhausts_its_attempts_stops_the_shard() {
    let mut world = World::new(1);
    world.config.delivery.failure = FailurePolicy::attempts(3, OnExhausted::StopShard);
    put(&world, 4, 5);
    let notes = Notes::new(&world);
    let _worker = world.start_processor("w", world.stream.clone(), failing(&notes, ("k1", 2)));
    let stopped = |event: &Event| matches!(event, Event::ShardStopped { .. }).then_some(());
    world.until("stopped", SOON, |world| !world.journal.events(stopped).is_empty()).await;
    world.pass(SECOND * 60).await;
    assert_eq!(world.journal.events(stopped).len(), 1);
    let checkpoint = world.lease(0).checkpoint.position().unwrap();
    let record = world.journal.events(|event| {
        if let Event::ShardStopped { position, .. } = event { *position } else { None }
    });
    assert!(checkpoint < record[0].2);
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_finishes_what_is_under_way_and_repeats_nothing() {
    let world = World::new(1);
    put(&world, 8, 30);
    let notes = Notes::new(&world);
    let worker = world.start_processor("w", world.stream.clone(), steady(&notes).concurrency(3));
    world.until("begun", SOON, |_| notes.done().len() > 20).await;
    worker.stop().await.unwrap();
    let before = notes.done().len();
    let next = world.start_processor("next", world.stream.clone(), steady(&notes));
    world.until("done", SOON, |_| notes.done().len() == 240).await;
    next.stop().await.unwrap();
    let done = notes.all().into_iter().filter(|note| note.is_done).count();
    assert_eq!((done, before), (240, before));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_keeps_failing_does_not_hold_a_clean_stop_up() {
    let mut world = World::new(1);
    world.config.delivery.failure = FailurePolicy::attempts(1, OnExhausted::DeadLetter);
    put(&world, 4, 5);
    world.letters.fail_next(usize::MAX);
    let notes = Notes::new(&world);
    let worker = world.start_processor("w", world.stream.clone(), failing(&notes, ("k1", 2)));
    world.until("others done", SOON, |_| notes.done().len() == 17).await;
    world.pass(SECOND * 30).await;
    let began = world.clock.elapsed();
    worker.stop().await.unwrap();
    assert!(world.clock.elapsed() - began < SECOND * 2);
    assert_eq!(world.letters.stored(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn no_handler_runs_after_the_deadline_and_none_begins_after_a_loss() {
    let mut world = World::new(1);
    // More work than there is time for.
    put(&world, 64, 100);
    world.config.delivery.cancel_grace = SECOND * 5;
    let slow = |notes: &Notes| {
        let notes = notes.clone();
        for_each(move |record| {
            let notes = notes.clone();
            async move {
                notes.note(0, &record, false);
                sleep(MILLI * 500).await;
                notes.note(0, &record, true);
                Ok(())
            }
        })
    };
    let notes = Notes::new(&world);
    let worker = world.start_processor("w", world.stream.clone(), slow(&notes).concurrency(8));
    world.until("begun", SOON, |_| notes.len() > 20).await;
    worker.faults.store(StoreFault::Silent);
    let silent_at = world.clock.elapsed();
    world.pass(SECOND * 30).await;
    let last = notes.all().last().unwrap().at;
    assert!(last < silent_at + SECOND * 9, "{last:?} after {silent_at:?}");
    assert!(last > silent_at + SECOND * 4, "{last:?} after {silent_at:?}");
    worker.crash();

    let notes = Notes::new(&world);
    let _next = world.start_processor("next", world.stream.clone(), slow(&notes).concurrency(8));
    world.until("begun", SECOND * 40, |_| notes.len() > 20).await;
    world.usurp(0, "thief");
    let lost = |event: &Event| {
        let is_lost = matches!(event, Event::LeaseEnded { how: LeaseEnd::Lost, .. });
        is_lost.then_some(())
    };
    world.until("lost", SOON, |world| world.journal.event(lost).is_some()).await;
    let lost_at = world.journal.event(lost).unwrap().0;
    world.pass(SECOND * 4).await;
    let begun = notes.all().into_iter().filter(|note| !note.is_done && note.at > lost_at).count();
    assert_eq!(begun, 0);
}
