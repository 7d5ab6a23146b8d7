//! Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt;

use kcl_core::metrics::{
    BUCKETS, CATALOGUE, HistogramValue, Kind, Level, Meter, Metric, Sample, Snapshot, Value,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The content type of [`Prometheus::text`].
pub const CONTENT_TYPE: &str = prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// The metrics of workers as text for Prometheus.
///
/// It is also a [`Collector`], for programs that have a `prometheus_client` registry of their own.
///
/// ```no_run
/// # fn f(handle: &kcl_core::WorkerHandle) {
/// let text = kcl_metrics::Prometheus::new([handle.meter()]).text();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Prometheus {
    meters: Vec<Meter>,
    level: Level,
}

impl Prometheus {
    /// The metrics of these workers. If there are several, each series has the label `worker` with
    /// the worker's name: give workers of one application different names.
    #[must_use]
    pub fn new(meters: impl IntoIterator<Item = Meter>) -> Self {
        Self { meters: meters.into_iter().collect(), level: Level::Detailed }
    }

    /// Sets how many series there are. Default: [`Level::Detailed`], with some thirty for each held
    /// shard. [`Level::Summary`] has those of the whole worker: counts of all its shards are added
    /// up, and of lags the greatest one is shown.
    #[must_use]
    pub const fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Returns the text, in version 0.0.4 of the format: [`CONTENT_TYPE`].
    #[must_use]
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        // Writing to memory does not fail.
        encode(&mut text, &registry).unwrap_or_default();
        text
    }
}

impl Collector for Prometheus {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshots: Vec<_> = self.meters.iter().map(Meter::snapshot).collect();
        let mut series = series(&snapshots, self.level);
        for metric in CATALOGUE {
            let Some(series) = series.remove(metric.name) else { continue };
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, metric.when, None, kind)?;
            for (labels, value) in series {
                put(family.encode_family(&labels)?, metric, value)?;
            }
        }
        Ok(())
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// The series of each metric.
fn series(
    snapshots: &[Snapshot],
    level: Level,
) -> BTreeMap<&'static str, Vec<(Labels<'_>, Value)>> {
    let has_several = snapshots.len() > 1;
    let mut all = BTreeMap::<_, Vec<(Labels<'_>, Value)>>::new();
    for snapshot in snapshots {
        let worker = has_several.then_some(("worker", snapshot.worker_name.as_str()));
        let stream = snapshot.stream.as_ref().map(|stream| ("stream", stream.as_str()));
        let common = [Some(("application", snapshot.application.as_str())), stream, worker];
        let own = common.into_iter().flatten();
        match level {
            Level::Detailed => {
                for sample in &snapshot.samples {
                    let labels = own.clone().chain(sample.labels()).collect();
                    all.entry(sample.metric.name).or_default().push((labels, sample.value));
                }
            }
            Level::Summary => {
                for ((metric, labels), value) in summary(&snapshot.samples) {
                    let labels = own.clone().chain(labels).collect();
                    all.entry(metric).or_default().push((labels, value));
                }
            }
        }
    }
    all
}

/// The series without the label `shard`.
fn summary(samples: &[Sample]) -> BTreeMap<(&'static str, Labels<'_>), Value> {
    let mut all = BTreeMap::<_, Value>::new();
    for sample in samples {
        let labels = sample.labels().filter(|label| label.0 != "shard").collect();
        let is_gauge = sample.metric.kind == Kind::Gauge;
        all.entry((sample.metric.name, labels))
            .and_modify(|sum| {
                *sum = match (*sum, sample.value) {
                    (Value::Count(one), Value::Count(other)) => Value::Count(one + other),
                    (one, other) if is_gauge => Value::Number(one.number().max(other.number())),
                    (one, other) => Value::Number(one.number() + other.number()),
                };
            })
            .or_insert(sample.value);
    }
    all
}

fn put(mut encoder: MetricEncoder<'_>, metric: &Metric, value: Value) -> Result<(), fmt::Error> {
    match (value, metric.kind) {
        (Value::Histogram(HistogramValue { count, sum, buckets, .. }), _) => {
            let bounded: u64 = buckets.iter().sum();
            let rest = (f64::INFINITY, count.saturating_sub(bounded));
            let buckets: Vec<_> = BUCKETS.into_iter().zip(buckets).chain([rest]).collect();
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
        (Value::Count(count), Kind::Counter) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(&count, None)
        }
        (Value::Count(count), Kind::Gauge | Kind::Histogram) => encoder.encode_gauge(&count),
        (Value::Number(number), Kind::Counter) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(&number, None)
        }
        (Value::Number(number), Kind::Gauge | Kind::Histogram) => encoder.encode_gauge(&number),
    }
}
