//! The speed of expanding aggregated records on one core, and its allocations. Prints one JSON line
//! per figure; run by `ci/measure.sh kpl`.
#![expect(clippy::print_stdout, reason = "prints its results")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kcl_proto::kpl::{Aggregator, Deaggregator, HashRangePolicy, open};
use kcl_proto::model::{HashKeyRange, Position, Record};
use md5::{Digest as _, Md5};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The approximate size of a frame.
const FRAME_BYTES: usize = 50_000;

/// The size of a user record.
const RECORD_BYTES: usize = 100;

/// The number of frames in a batch: more than the caches hold.
const FRAMES: usize = 64;

/// The number of measured rounds. The best one counts, because other processes share the machine.
const ROUNDS: usize = 200;

fn frames() -> Vec<Record> {
    let (mut aggregator, mut frames) = (Aggregator::new(FRAME_BYTES), Vec::new());
    let mut number = 0_u64;
    while frames.len() < FRAMES {
        let key = format!("customer-{}", number % 100);
        let mut data = number.to_string().into_bytes();
        data.resize(RECORD_BYTES, b'x');
        number += 1;
        if let Ok(Some(aggregate)) = aggregator.add(&key, None, &data) {
            let position = Position::of(u128::from(number).into());
            frames.push(Record::new(position, aggregate.partition_key, aggregate.data, None));
        }
    }
    frames
}

/// Returns the best time of one round of `work`, and the count that it returned.
fn best(mut work: impl FnMut() -> usize) -> (Duration, usize) {
    let round = |_| {
        let start = Instant::now();
        let made = black_box(work());
        (start.elapsed(), made)
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn print(row: &str, what: &str, floor: Option<f64>, value: f64) {
    let floor = floor.map_or_else(|| "null".to_owned(), |floor| floor.to_string());
    println!(r#"{{"row":"{row}","what":"{what}","floor":{floor},"value":{value:.3}}}"#);
}

fn per_second((time, made): (Duration, usize)) -> f64 {
    made as f64 / time.as_secs_f64()
}

fn main() {
    let frames = frames();
    let messages: Vec<Bytes> =
        frames.iter().filter_map(|frame| open(&frame.data).ok().flatten()).collect();
    let mut records = Vec::new();

    let mut expand = |deaggregator: Deaggregator| {
        best(|| {
            records.clear();
            for (message, outer) in messages.iter().zip(&frames) {
                let expanded = deaggregator.expand_message(message, outer, &mut records);
                assert!(expanded.is_ok(), "the frames are valid");
            }
            records.len()
        })
    };
    let plain = expand(Deaggregator::default());
    print("kpl-expand", "user records of 100 B, no digest, 1/s", Some(5e6), per_second(plain));
    let drops = Deaggregator::new(HashRangePolicy::Drop, Some(HashKeyRange::FULL));
    print(
        "kpl-hash-range",
        "the same with HashRangePolicy::Drop, 1/s",
        None,
        per_second(expand(drops)),
    );

    let whole = best(|| {
        records.clear();
        for frame in &frames {
            Deaggregator::default().expand(frame.clone(), &mut records);
        }
        records.len()
    });
    print("kpl-whole", "the same with the digest, 1/s", None, per_second(whole));
    let bytes: usize = messages.iter().map(Bytes::len).sum();
    let digest = best(|| {
        for message in &messages {
            black_box(Md5::digest(message));
        }
        bytes
    });
    print("kpl-digest", "the digest alone, MB/s", None, per_second(digest) / 1e6);

    // A batch in a new vector, as in the engine.
    let region = Region::new(ALLOCATOR);
    let mut batch = Vec::with_capacity(frames.len());
    for frame in &frames {
        Deaggregator::default().expand(frame.clone(), &mut batch);
    }
    let change = region.change();
    let allocations = (change.allocations + change.reallocations) as f64;
    print(
        "kpl-allocations",
        "allocations per user record",
        Some(0.02),
        allocations / batch.len() as f64,
    );
}
