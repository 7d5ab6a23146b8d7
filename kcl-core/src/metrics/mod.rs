//! Metrics: what a worker counts and measures, one [`Meter`] for each worker.
//!
//! [`CATALOGUE`] lists every metric with its kind, unit and labels. The engine counts in atomics,
//! once for each batch, call or event, never for each record. A [`Snapshot`] is a copy of all
//! series; those of a shard disappear from it as soon as the worker no longer holds its lease.
//! `kcl-metrics` renders snapshots for Prometheus and CloudWatch, `kcl-http` serves them.

mod catalogue;
mod cells;
mod definition;
pub(crate) mod event_counts;
mod family;
mod meter;
pub(crate) mod metered_source;
pub(crate) mod metered_store;
mod period;
pub(crate) mod registry;
pub(crate) mod shard_series;
mod snapshot;
#[cfg(test)]
mod tests;
mod worker_series;

pub use self::catalogue::CATALOGUE;
pub use self::definition::{Dimension, Java, Kind, Label, Level, Metric, Part, Unit};
pub use self::meter::{Health, Meter};
pub use self::period::{Datum, PeriodReader, Statistics, TooManyReaders};
pub use self::snapshot::{BUCKETS, HistogramValue, Sample, Seen, Snapshot, Value};
pub use kcl_proto::worker::health::{Phase, SILENCE_MAX, Verdict};
