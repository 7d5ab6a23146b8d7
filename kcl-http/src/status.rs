//! The document of `/status`.

use std::collections::BTreeMap;

use kcl_core::WorkerHandle;
use kcl_core::metrics::{Sample, Snapshot};
use serde_json::{Map, Value, json};

/// The version of the document. Members are only added.
const SCHEMA: u32 = 1;

/// What each worker holds and does.
pub(crate) fn document(workers: &[WorkerHandle]) -> Value {
    json!({ "schema": SCHEMA, "workers": workers.iter().map(worker).collect::<Vec<_>>() })
}

fn worker(handle: &WorkerHandle) -> Value {
    let (status, snapshot) = (handle.status(), handle.meter().snapshot());
    let shards = shards(&snapshot);
    let held = status.held.iter().map(|held| {
        let shard = held.key.shard();
        let numbers = shards.get(shard.as_str()).cloned().unwrap_or_default();
        json!({
            "shard": shard.as_str(),
            "checkpoint": held.checkpoint.map(|checkpoint| checkpoint.to_string()),
            "slow_call": held.slow.as_ref().map(|slow| {
                json!({ "name": slow.call, "seconds": slow.taken.as_secs_f64() })
            }),
            "numbers": numbers,
        })
    });
    json!({
        "application": snapshot.application,
        "stream": snapshot.stream.as_ref().map(ToString::to_string),
        "worker": status.worker.to_string(),
        "state": status.state.to_string(),
        "held": held.collect::<Vec<_>>(),
        "leases": status.leases,
        "memory": { "used": status.memory.used, "budget": status.memory.budget },
        "last_error": status.last_error,
    })
}

/// The series of each shard, by the metric's name without `kcl_` and the values of its labels.
fn shards(snapshot: &Snapshot) -> BTreeMap<&str, Map<String, Value>> {
    let mut shards = BTreeMap::<_, Map<String, Value>>::new();
    for sample in &snapshot.samples {
        if let Some(shard) = sample.shard() {
            let value = json!(sample.value.number());
            shards.entry(shard.as_str()).or_default().insert(name(sample), value);
        }
    }
    shards
}

/// The name of a series, such as `lag_seconds.done`.
fn name(sample: &Sample) -> String {
    let name = sample.metric.name.trim_start_matches("kcl_");
    let labels = sample.labels().filter(|label| label.0 != "shard");
    labels.fold(name.to_owned(), |name, (_, value)| name + "." + value)
}
