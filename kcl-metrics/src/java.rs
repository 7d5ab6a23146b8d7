//! What happened in a period, as the Java KCL's metrics: the same operations, names, dimensions
//! and units, so that alarms and dashboards of a Java fleet stay.

use std::collections::BTreeMap;

use kcl_core::metrics::{Datum, Dimension, Java, Level, Part, Statistics, Unit};

/// A value of one of the Java KCL's metrics.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JavaDatum {
    /// The name.
    pub name: &'static str,
    /// The dimensions with their values, `Operation` first.
    pub dimensions: Vec<(&'static str, String)>,
    /// The unit, as CloudWatch names it.
    pub unit: &'static str,
    /// The values of the period.
    pub statistics: Statistics,
}

/// Returns Java's metrics of a period, in order. `worker` is the value of `WorkerIdentifier`;
/// `level` says which of them, as Java's `metricsLevel` does.
#[must_use]
pub fn of_period(period: &[Datum], worker: &str, level: Level) -> Vec<JavaDatum> {
    let mut sums = BTreeMap::<Key, Sum>::new();
    for datum in period {
        for java in datum.sample.metric.java.iter().filter(|java| java.level <= level) {
            let Some(values) = values(java, datum) else { continue };
            let shard = datum.sample.shard().map(ToString::to_string);
            let second = match java.dimension {
                None => None,
                Some(Dimension::Shard) => shard.map(|shard| ("ShardId", shard)),
                Some(Dimension::Worker) => Some(("WorkerIdentifier", worker.to_owned())),
            };
            let unit = unit(datum.sample.metric.unit);
            let key = Key { operation: java.operation, second, name: java.name };
            sums.entry(key).and_modify(|sum| sum.add(values)).or_insert(Sum { unit, values });
        }
    }
    sums.into_iter().filter_map(|(key, sum)| sum.datum(key)).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    operation: &'static str,
    second: Option<(&'static str, String)>,
    name: &'static str,
}

/// The series that one of Java's metrics adds up.
#[derive(Clone, Copy, Debug)]
struct Sum {
    unit: &'static str,
    values: Values,
}

/// What a series contributes.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// Values that Java observes one by one.
    Observed(Statistics),
    /// A part of one value that Java observes.
    Part(f64),
    /// How many operations succeeded, and how many did not.
    Operations { succeeded: f64, failed: f64 },
}

impl Sum {
    const fn add(&mut self, other: Values) {
        self.values = match (self.values, other) {
            (Values::Observed(one), Values::Observed(other)) => Values::Observed(one.and(other)),
            (Values::Part(one), Values::Part(other)) => Values::Part(one + other),
            (
                Values::Operations { succeeded, failed },
                Values::Operations { succeeded: others_succeeded, failed: others_failed },
            ) => Values::Operations {
                succeeded: succeeded + others_succeeded,
                failed: failed + others_failed,
            },
            (one, _) => one, // A metric of Java's has one source.
        };
    }

    fn datum(self, key: Key) -> Option<JavaDatum> {
        let statistics = match self.values {
            Values::Observed(statistics) => statistics,
            Values::Part(sum) => Statistics::of(sum),
            Values::Operations { succeeded, failed } => Statistics::successes(succeeded, failed)?,
        };
        let Key { operation, second, name } = key;
        let dimensions = [("Operation", operation.to_owned())].into_iter().chain(second).collect();
        Some(JavaDatum { name, dimensions, unit: self.unit, statistics })
    }
}

/// What a series contributes to one of Java's metrics, if it does.
fn values(java: &Java, datum: &Datum) -> Option<Values> {
    let sample = &datum.sample;
    let fixed = || sample.labels().filter(|label| label.0 != "shard").map(|label| label.1);
    match java.part {
        Part::All => Some(observed(datum)),
        Part::Only(values) => {
            fixed().next().is_some_and(|value| values.contains(&value)).then(|| observed(datum))
        }
        Part::Success { of, outcomes } => {
            let outcome = sample.label("outcome")?;
            if of.is_some_and(|of| fixed().next() != Some(of)) {
                return None;
            }
            let count = datum.statistics.sum;
            Some(if outcomes.contains(&outcome) {
                Values::Operations { succeeded: count, failed: 0.0 }
            } else {
                Values::Operations { succeeded: 0.0, failed: count }
            })
        }
    }
}

fn observed(datum: &Datum) -> Values {
    let statistics = match datum.sample.metric.unit {
        Unit::Seconds => datum.statistics.times(1_000.0),
        Unit::Count | Unit::Bytes => datum.statistics,
    };
    if datum.sample.seen.is_some() {
        Values::Observed(statistics)
    } else {
        Values::Part(statistics.sum)
    }
}

/// Java measures times in milliseconds.
const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "Count",
        Unit::Bytes => "Bytes",
        Unit::Seconds => "Milliseconds",
    }
}
