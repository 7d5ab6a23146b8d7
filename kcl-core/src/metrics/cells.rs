//! Where values are kept: atomics, so that a batch costs a few additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::snapshot::{BUCKETS, HistogramValue, Seen, Value};

/// How many readers of periods a meter has at most.
pub(super) const READERS_MAX: usize = 2;

/// The upper bounds of a histogram's buckets.
const BOUNDS: [Duration; BUCKETS.len()] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
];

/// The place of one series' values.
pub(super) trait Cell: Default {
    /// The value, and what was observed. A `reader` of periods begins its next period.
    fn read(&self, reader: Option<usize>) -> (Value, Option<Seen>);
}

/// A count.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

impl Cell for Counter {
    fn read(&self, _: Option<usize>) -> (Value, Option<Seen>) {
        (Value::Count(self.0.load(Ordering::Relaxed)), None)
    }
}

/// Durations: their number, their sum, and the extremes of each reader's period.
#[derive(Debug, Default)]
pub(super) struct Timing {
    count: AtomicU64,
    /// In nanoseconds.
    sum: AtomicU64,
    periods: [Extremes; READERS_MAX],
}

/// The extremes of a period, in nanoseconds.
#[derive(Debug)]
struct Extremes {
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { min: AtomicU64::new(u64::MAX), max: AtomicU64::new(0) }
    }
}

impl Timing {
    pub(super) fn observe(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        for Extremes { min, max } in &self.periods {
            min.fetch_min(nanos, Ordering::Relaxed);
            max.fetch_max(nanos, Ordering::Relaxed);
        }
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn seen(&self, reader: Option<usize>) -> Seen {
        let count = self.count.load(Ordering::Relaxed);
        let sum = seconds(self.sum.load(Ordering::Relaxed));
        let period = reader.and_then(|reader| self.periods.get(reader));
        let extremes = period.map(|Extremes { min, max }| {
            let min = min.swap(u64::MAX, Ordering::Relaxed);
            (seconds(min), seconds(max.swap(0, Ordering::Relaxed)))
        });
        let (min, max) = extremes.unwrap_or_default();
        Seen { count, sum, min, max }
    }
}

impl Cell for Timing {
    fn read(&self, reader: Option<usize>) -> (Value, Option<Seen>) {
        let seen = self.seen(reader);
        (Value::Number(seen.sum), Some(seen))
    }
}

/// Durations, counted in buckets.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    timing: Timing,
    /// How many were at most as long as each bound, and longer than the one before.
    buckets: [AtomicU64; BOUNDS.len()],
}

impl Histogram {
    pub(super) fn observe(&self, time: Duration) {
        let bucket = BOUNDS.iter().zip(&self.buckets).find(|(bound, _)| time <= **bound);
        if let Some((_, bucket)) = bucket {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.timing.observe(time);
    }
}

impl Cell for Histogram {
    fn read(&self, reader: Option<usize>) -> (Value, Option<Seen>) {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        let seen = self.timing.seen(reader);
        // A call that ends now may be in a bucket and not yet in the count.
        let count = seen.count.max(buckets.iter().sum());
        (Value::Histogram(HistogramValue { count, sum: seen.sum, buckets }), Some(seen))
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}
