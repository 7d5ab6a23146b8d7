//! A copy of all series of a worker at one moment.

use kcl_proto::model::{ShardId, StreamName};

use crate::metrics::definition::{Label, Metric};

/// How many labels with fixed values a metric has at most.
pub(super) const VALUES_MAX: usize = 2;

/// The upper bounds of a histogram's buckets, in seconds. One without a bound follows.
pub const BUCKETS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// All series of a worker at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The application, as given to [`Worker::builder`](crate::Worker::builder).
    pub application: String,
    /// The name of the worker, without the number of its incarnation.
    pub worker_name: String,
    /// The stream; `None` until the worker has looked at it.
    pub stream: Option<StreamName>,
    /// The series, those of one metric in a row and in the order of the catalogue.
    pub samples: Vec<Sample>,
}

impl Snapshot {
    /// The value of a series, or `None` if there is none. `labels` are the values of its labels in
    /// the catalogue's order, such as `["shardId-000000000000", "ok"]`.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[&str]) -> Option<&Value> {
        let is_it = |sample: &&Sample| {
            sample.metric.name == name && sample.labels().map(|it| it.1).eq(labels.iter().copied())
        };
        self.samples.iter().find(is_it).map(|sample| &sample.value)
    }
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Its metric.
    pub metric: &'static Metric,
    pub(super) origin: Origin,
    /// The values of the labels with fixed values, in their order.
    pub(super) values: [&'static str; VALUES_MAX],
    /// Its value.
    pub value: Value,
    /// What was observed since the worker began, if the metric keeps that.
    pub seen: Option<Seen>,
}

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    /// The shard, or `None` for the whole worker.
    pub(super) shard: Option<ShardId>,
    /// Which ownership of the shard: its series begin at zero with each.
    pub(super) ownership: u64,
}

impl Sample {
    /// The shard that the series is about; `None` if it is about the whole worker.
    #[must_use]
    pub const fn shard(&self) -> Option<&ShardId> {
        self.origin.shard.as_ref()
    }

    /// The labels with their values, in the catalogue's order.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mut fixed = self.values.iter().copied();
        let shard = self.origin.shard.as_ref().map_or("", ShardId::as_str);
        let value = move |label: &Label| {
            if label.is_shard() { shard } else { fixed.next().unwrap_or_default() }
        };
        let names = self.metric.labels.iter().map(|label| label.name);
        names.zip(self.metric.labels.iter().map(value))
    }

    /// The value of a label, or `None` if the metric does not have it.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels().find(|label| label.0 == name).map(|label| label.1)
    }
}

/// The value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "renderers handle each")]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// A number in the metric's unit.
    Number(f64),
    /// A histogram.
    Histogram(HistogramValue),
}

impl Value {
    /// The value as a number: of a histogram, how many durations it has.
    #[must_use]
    pub fn number(&self) -> f64 {
        match self {
            Self::Count(count) => whole(*count),
            Self::Number(number) => *number,
            Self::Histogram(histogram) => whole(histogram.count),
        }
    }
}

/// A number of things as a floating-point one.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and close to it beyond")]
pub(super) const fn whole(count: u64) -> f64 {
    count as f64
}

/// The value of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct HistogramValue {
    /// How many durations there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
    /// How many of them each of the [`BUCKETS`] has that no bucket before has. The others were
    /// longer than the last bound.
    pub buckets: [u64; BUCKETS.len()],
}

/// What was observed for a series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Seen {
    /// How many values there were.
    pub count: u64,
    /// Their sum, in the metric's unit.
    pub sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}
