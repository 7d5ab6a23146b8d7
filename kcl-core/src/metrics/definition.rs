//! What the catalogue says about one metric.

/// A metric, as the [catalogue](super::CATALOGUE) defines it.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name in Prometheus' form, such as `kcl_records_total`. It never changes.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// Its labels, beside those of every metric: `application` and `stream`.
    pub labels: &'static [Label],
    /// What it counts or measures, and when.
    pub when: &'static str,
    /// The metrics of the Java KCL that say the same.
    pub java: &'static [Java],
}

impl Metric {
    /// Whether each held shard has series of its own.
    #[must_use]
    pub fn is_per_shard(&self) -> bool {
        self.labels.iter().any(Label::is_shard)
    }

    /// The labels with fixed values.
    pub(crate) fn fixed_labels(&self) -> impl Iterator<Item = &'static Label> {
        self.labels.iter().filter(|label| !label.is_shard())
    }
}

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All its values. Empty for `shard`, whose values are the ids of the held shards.
    pub values: &'static [&'static str],
}

impl Label {
    /// The label whose values are the ids of the held shards.
    pub(super) const SHARD: Self = Self { name: "shard", values: &[] };

    /// A label with fixed values.
    pub(super) const fn of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values }
    }

    /// Whether its values are the ids of the held shards.
    #[must_use]
    pub const fn is_shard(&self) -> bool {
        self.values.is_empty()
    }
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the kinds that every system of metrics has")]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// Durations, counted in buckets.
    Histogram,
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "base units only")]
pub enum Unit {
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// A metric of the Java KCL in CloudWatch.
///
/// Source: the operations, names, dimensions and levels of amazon-kinesis-client 3.5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Java {
    /// The value of the dimension `Operation`.
    pub operation: &'static str,
    /// The name.
    pub name: &'static str,
    /// The level from which Java publishes it.
    pub level: Level,
    /// The second dimension, or `None` if there is only `Operation`.
    pub dimension: Option<Dimension>,
    /// Which series of the metric it adds up, and how.
    pub part: Part,
}

/// Java's levels of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "Java has these")]
pub enum Level {
    /// Metrics that operators need.
    Summary,
    /// Metrics for a closer look, too.
    Detailed,
}

/// A dimension of Java's beside `Operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "Java has these for a single stream")]
pub enum Dimension {
    /// `ShardId`.
    Shard,
    /// `WorkerIdentifier`.
    Worker,
}

/// Which series of a metric one of Java's metrics adds up, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "renderers handle each")]
pub enum Part {
    /// All.
    All,
    /// Those whose first fixed label has one of these values.
    Only(&'static [&'static str]),
    /// 1 for each count of the series with an `outcome` among these, 0 for each other: a ratio of
    /// successes.
    Success {
        /// The value of the first fixed label, if the metric has another one than `outcome`.
        of: Option<&'static str>,
        /// The outcomes that are successes.
        outcomes: &'static [&'static str],
    },
}

/// A metric of Java's without a second dimension.
pub(super) const fn java(
    operation: &'static str,
    name: &'static str,
    level: Level,
    part: Part,
) -> Java {
    Java { operation, name, level, dimension: None, part }
}

/// A metric of Java's for each shard.
pub(super) const fn per_shard(
    operation: &'static str,
    name: &'static str,
    level: Level,
    part: Part,
) -> Java {
    Java { operation, name, level, dimension: Some(Dimension::Shard), part }
}

/// A metric of Java's for each worker.
pub(super) const fn per_worker(
    operation: &'static str,
    name: &'static str,
    level: Level,
    part: Part,
) -> Java {
    Java { operation, name, level, dimension: Some(Dimension::Worker), part }
}

/// The share of successes of a metric whose only fixed label is `outcome`.
pub(super) const fn success(outcomes: &'static [&'static str]) -> Part {
    Part::Success { of: None, outcomes }
}

/// The share of successes of one operation on the table. Java counts a lost condition as one.
pub(super) const fn table_success(operation: &'static str) -> Part {
    Part::Success { of: Some(operation), outcomes: &["ok", "lost"] }
}
