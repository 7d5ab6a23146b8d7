//! CloudWatch's embedded metric format: lines of a log from which CloudWatch takes metrics, with
//! the names of the Java KCL. It needs neither a call nor a permission.
//!
//! Source: CloudWatch user guide, "Specification: Embedded metric format".

use std::collections::BTreeMap;

use kcl_core::metrics::{Level, PeriodReader, Statistics};
use kcl_core::model::Timestamp;
use serde_json::{Map, Value, json};

use crate::java::{self, JavaDatum};

/// How many metrics a line has at most.
const METRICS_MAX: usize = 100;

/// How many values a metric of a line has at most.
const VALUES_MAX: usize = 100;

/// Ends the reader's period and returns it as lines, one for each set of dimensions. `now` is the
/// time that they bear. Write each line to the log that CloudWatch reads, such as standard output.
///
/// A set of values is written as its extremes and its mean, the mean as often as there are others,
/// and up to 100 values: sums, averages and extremes are right, numbers of values are right up to
/// that.
#[must_use]
pub fn lines(reader: &mut PeriodReader, level: Level, now: Timestamp) -> Vec<String> {
    let data = java::of_period(&reader.take(), reader.worker_name(), level);
    let mut sets = BTreeMap::<_, Vec<JavaDatum>>::new();
    for datum in data {
        sets.entry(datum.dimensions.clone()).or_default().push(datum);
    }
    let namespace = reader.application();
    let parts = sets.iter().flat_map(|(dimensions, data)| {
        data.chunks(METRICS_MAX).map(move |data| line(namespace, dimensions, data, now))
    });
    parts.collect()
}

fn line(
    namespace: &str,
    dimensions: &[(&'static str, String)],
    data: &[JavaDatum],
    now: Timestamp,
) -> String {
    let names: Vec<_> = dimensions.iter().map(|(name, _)| *name).collect();
    let metrics: Vec<_> =
        data.iter().map(|datum| json!({ "Name": datum.name, "Unit": datum.unit })).collect();
    let about = json!({
        "Timestamp": now.epoch_millis(),
        "CloudWatchMetrics": [
            { "Namespace": namespace, "Dimensions": [names], "Metrics": metrics }
        ],
    });
    let mut line = Map::new();
    line.insert("_aws".to_owned(), about);
    line.extend(dimensions.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    line.extend(data.iter().map(|datum| (datum.name.to_owned(), values(datum.statistics))));
    Value::Object(line).to_string()
}

/// Values with the sum, the extremes and, up to the limit, the number of these.
fn values(statistics: Statistics) -> Value {
    let Statistics { count, sum, min, max, .. } = statistics;
    if count <= 1.0 {
        return json!(sum);
    }
    let mut values = vec![min, max];
    let others = count - 2.0;
    if others >= 1.0 {
        let mean = (sum - min - max) / others;
        while values.len() < VALUES_MAX
            && f64::from(u8::try_from(values.len()).unwrap_or(0)) < count
        {
            values.push(mean);
        }
    }
    json!(values)
}
