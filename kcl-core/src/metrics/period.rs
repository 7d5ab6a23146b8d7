//! What happened in a period: differences of counts, and the extremes of durations.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use kcl_proto::model::StreamName;
use thiserror::Error;

use crate::metrics::definition::Kind;
use crate::metrics::registry::Registry;
use crate::metrics::snapshot::{Origin, Sample, VALUES_MAX, Value, whole};

/// The name of a metric, what the series is about, and the values of its fixed labels.
type Key = (&'static str, Origin, [&'static str; VALUES_MAX]);

/// Reads what happens in periods. The first one begins with the worker.
///
/// Unlike a [`Snapshot`](super::Snapshot), a period contains the last counts of shards that moved
/// away in it.
#[derive(Debug)]
pub struct PeriodReader {
    registry: Arc<Registry>,
    index: usize,
    /// The counts and sums at the end of the last period.
    last: BTreeMap<Key, (u64, f64)>,
}

/// A meter has two readers of periods already. Drop one.
#[derive(Clone, Copy, Debug, Error)]
#[error("this worker's metrics have two readers of periods already: drop one first")]
#[non_exhaustive]
pub struct TooManyReaders;

/// What happened to one series in a period.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Datum {
    /// The series at the end of the period.
    pub sample: Sample,
    /// Its values in the period. A counter has one value, how much it grew; a gauge that keeps no
    /// values has the one at the end.
    pub statistics: Statistics,
}

/// A set of values.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// How many there are, at least 1.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Statistics {
    /// A single value.
    #[must_use]
    pub const fn of(value: f64) -> Self {
        Self { count: 1.0, sum: value, min: value, max: value }
    }

    /// Both sets as one.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// The set of `count` values of 1 and `others` values of 0, or `None` without any.
    #[must_use]
    pub fn successes(count: f64, others: f64) -> Option<Self> {
        let (min, max) = (f64::from(others <= 0.0), f64::from(count > 0.0));
        (count + others > 0.0).then_some(Self { count: count + others, sum: count, min, max })
    }

    /// The same values in another unit: `factor` of it make one of this.
    #[must_use]
    pub const fn times(self, factor: f64) -> Self {
        let Self { count, sum, min, max } = self;
        Self { count, sum: sum * factor, min: min * factor, max: max * factor }
    }
}

impl PeriodReader {
    pub(super) fn new(registry: Arc<Registry>) -> Result<Self, TooManyReaders> {
        let index = registry.add_reader().ok_or(TooManyReaders)?;
        Ok(Self { registry, index, last: BTreeMap::new() })
    }

    /// Ends the period, and returns what happened in it. Durations that no call took are left out.
    #[must_use]
    pub fn take(&mut self) -> Vec<Datum> {
        let samples = self.registry.read(Some(self.index));
        let last = mem::take(&mut self.last);
        samples.into_iter().filter_map(|sample| self.datum(sample, &last)).collect()
    }

    /// The application.
    #[must_use]
    pub fn application(&self) -> &str {
        &self.registry.application
    }

    /// The name of the worker, without the number of its incarnation.
    #[must_use]
    pub fn worker_name(&self) -> &str {
        &self.registry.worker_name
    }

    /// The stream; `None` until the worker has looked at it.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamName> {
        self.registry.stream.get()
    }

    fn datum(&mut self, sample: Sample, last: &BTreeMap<Key, (u64, f64)>) -> Option<Datum> {
        let key = (sample.metric.name, sample.origin.clone(), sample.values);
        let (count_before, sum_before) = last.get(&key).copied().unwrap_or_default();
        let statistics = match (sample.seen, sample.value) {
            (Some(seen), _) => {
                self.last.insert(key, (seen.count, seen.sum));
                let count = whole(seen.count.saturating_sub(count_before));
                // The extremes of a value that another thread observes right now may lag behind.
                let (min, max) = (seen.min.min(seen.max), seen.max);
                let sum = (seen.sum - sum_before).max(0.0);
                (count > 0.0).then_some(Statistics { count, sum, min, max })?
            }
            (None, Value::Count(count)) if sample.metric.kind == Kind::Counter => {
                self.last.insert(key, (count, 0.0));
                Statistics::of(whole(count.saturating_sub(count_before)))
            }
            (None, value) => Statistics::of(value.number()),
        };
        Some(Datum { sample, statistics })
    }
}

impl Drop for PeriodReader {
    fn drop(&mut self) {
        self.registry.remove_reader(self.index);
    }
}
