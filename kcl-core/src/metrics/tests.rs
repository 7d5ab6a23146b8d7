//! Snapshots, periods and the catalogue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::{Checkpoint, LeaseEnd, LeaseKey, Moment, ShardId, Timestamp, WorkerId};
use tokio::sync::watch;

use crate::MemoryBudget;
use crate::backend::{Clock, Fetched, SourceError};
use crate::metrics::event_counts::EventCounts;
use crate::metrics::registry::{FleetCounts, Registry, ShownShard};
use crate::metrics::shard_series::{BatchOutcome, LiveShard, ShardSeries, ShardSigns};
use crate::metrics::{BUCKETS, CATALOGUE, Datum, Kind, Meter, Statistics, Unit, Value};
use crate::report::event::{Event, EventContext, Observer as _, WorkerState, WorkerStatus};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Moment {
        Moment::at_secs(100)
    }

    fn time_of_day(&self) -> Timestamp {
        Timestamp::default()
    }
}

#[derive(Debug)]
struct Live(ShardSigns);

impl LiveShard for Live {
    fn signs(&self, _: Moment) -> ShardSigns {
        self.0
    }
}

/// A registry, and the sender of its worker's status.
fn registry() -> (Arc<Registry>, watch::Sender<WorkerStatus>) {
    let memory = MemoryBudget::new(1 << 20);
    let status = watch::Sender::new(WorkerStatus {
        worker: WorkerId::new("ann:1"),
        state: WorkerState::Running,
        held: Vec::new(),
        leases: 0,
        memory: memory.usage(),
        last_error: None,
    });
    let names = ("orders".to_owned(), "ann".to_owned());
    (Arc::new(Registry::new(names, Arc::new(Noon), memory, status.subscribe())), status)
}

fn show(registry: &Arc<Registry>, shard: &str, records: u64) -> (Arc<ShardSeries>, ShownShard) {
    let series = registry.shard(ShardId::new(shard));
    let signs = ShardSigns {
        records,
        behind: Some(SECOND),
        age: Some(SECOND * 3),
        is_slow: true,
        headroom: SECOND * 7,
    };
    (Arc::clone(&series), registry.show(series, Box::new(Live(signs))))
}

#[test]
fn catalogue_is_well_formed() {
    let names: BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), CATALOGUE.len(), "a name occurs twice");
    for metric in CATALOGUE {
        let name = metric.name.strip_prefix("kcl_").expect("the prefix");
        let base = name.strip_suffix("_total");
        assert_eq!(base.is_some(), metric.kind == Kind::Counter, "{name}");
        let base = base.unwrap_or(name);
        assert_eq!(base.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}");
        assert_eq!(base.ends_with("bytes"), metric.unit == Unit::Bytes, "{name}");
        assert!(metric.fixed_labels().count() <= 2, "{name} has too many labels");
        assert!(metric.kind != Kind::Histogram || !metric.is_per_shard(), "{name} is too large");
    }
}

#[test]
fn snapshot_has_every_metric_in_the_order_of_the_catalogue() {
    let (registry, _status) = registry();
    let _shown = (show(&registry, "shard-1", 5), show(&registry, "shard-2", 7));
    registry.counted(FleetCounts { mine: 2, others: 1, free: 4, ended: 3, workers: 2 });
    registry.pulse();
    let snapshot = Meter::new(registry).snapshot();
    let mut names: Vec<_> = snapshot.samples.iter().map(|sample| sample.metric.name).collect();
    names.dedup();
    let expected: Vec<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
    assert_eq!(names, expected);
    for sample in &snapshot.samples {
        let name = sample.metric.name;
        assert_eq!(sample.shard().is_some(), sample.metric.is_per_shard(), "{name}");
        for ((label, value), defined) in sample.labels().zip(sample.metric.labels) {
            assert!(
                defined.is_shard() || defined.values.contains(&value),
                "{name} has no {label} {value:?}"
            );
        }
        let is_histogram = matches!(sample.value, Value::Histogram(_));
        assert_eq!(is_histogram, sample.metric.kind == Kind::Histogram, "{name}");
    }
    assert_eq!(snapshot.value("kcl_records_total", &["shard-2"]), Some(&Value::Count(7)));
    assert_eq!(snapshot.value("kcl_leases", &["free"]), Some(&Value::Count(4)));
    assert_eq!(snapshot.value("kcl_worker_state", &["running"]), Some(&Value::Count(1)));
    assert_eq!(snapshot.value("kcl_worker_state", &["stopped"]), Some(&Value::Count(0)));
    assert_eq!(snapshot.value("kcl_slow_calls", &[]), Some(&Value::Count(2)));
    let headroom = snapshot.value("kcl_deadline_headroom_seconds", &[]);
    assert_eq!(headroom, Some(&Value::Number(7.0)));
}

#[test]
fn series_of_a_shard_that_moved_away_disappear() {
    let (registry, _status) = registry();
    let meter = Meter::new(Arc::clone(&registry));
    let shards = || {
        let samples = meter.snapshot().samples;
        samples.iter().filter_map(|it| it.shard().cloned()).collect::<BTreeSet<_>>()
    };
    let (_, one) = show(&registry, "shard-1", 5);
    let (_, _other) = show(&registry, "shard-2", 5);
    assert_eq!(shards(), BTreeSet::from(["shard-1".into(), "shard-2".into()]));
    drop(one);
    assert_eq!(shards(), BTreeSet::from(["shard-2".into()]));
}

#[test]
fn end_of_a_former_ownership_leaves_the_present_one() {
    let (registry, _status) = registry();
    let (_, former) = show(&registry, "shard-1", 5);
    let (_, _present) = show(&registry, "shard-1", 1);
    drop(former);
    let records = Meter::new(registry).snapshot().value("kcl_records_total", &["shard-1"]).copied();
    assert_eq!(records, Some(Value::Count(1)));
}

#[test]
fn what_a_shard_does_is_counted() {
    let (registry, _status) = registry();
    let (series, _shown) = show(&registry, "shard-1", 5);
    series.call_ended("process_records", SECOND * 2);
    series.call_ended("dead letter", SECOND);
    series.call_ended("acknowledgements", SECOND);
    series.batch_ended(BatchOutcome::Ok { bytes: 70 });
    series.batch_ended(BatchOutcome::Error);
    series.read_ended(&Ok(Fetched::new(Vec::new(), Some(SECOND), None)), SECOND);
    series.read_ended(&Err(SourceError::Expired), SECOND);
    series.waited_for_memory(SECOND / 2);
    let snapshot = Meter::new(registry).snapshot();
    let number = |name, labels: &[&str]| snapshot.value(name, labels).map(Value::number);
    assert_eq!(number("kcl_process_seconds_total", &["shard-1"]), Some(2.0));
    assert_eq!(number("kcl_call_seconds", &["process_records"]), Some(1.0));
    assert_eq!(number("kcl_call_seconds", &["dead_letter"]), Some(1.0));
    assert_eq!(number("kcl_bytes_total", &["shard-1"]), Some(70.0));
    assert_eq!(number("kcl_batches_total", &["shard-1", "ok"]), Some(1.0));
    assert_eq!(number("kcl_batches_total", &["shard-1", "error"]), Some(1.0));
    assert_eq!(number("kcl_batches_total", &["shard-1", "panic"]), Some(0.0));
    assert_eq!(number("kcl_reads_total", &["shard-1", "empty"]), Some(1.0));
    assert_eq!(number("kcl_reads_total", &["shard-1", "expired"]), Some(1.0));
    assert_eq!(number("kcl_read_seconds_total", &["shard-1"]), Some(2.0));
    assert_eq!(number("kcl_memory_wait_seconds_total", &[]), Some(0.5));
}

#[test]
fn durations_fall_into_their_buckets() {
    let (registry, _status) = registry();
    let (series, _shown) = show(&registry, "shard-1", 5);
    for millis in [1, 2, 60_000, 60_001] {
        series.call_ended("initialize", Duration::from_millis(millis));
    }
    let snapshot = Meter::new(registry).snapshot();
    let Some(Value::Histogram(calls)) = snapshot.value("kcl_call_seconds", &["initialize"]) else {
        panic!("there is no histogram");
    };
    let mut expected = [0; BUCKETS.len()];
    (expected[0], expected[1], expected[13]) = (1, 1, 1);
    assert_eq!((calls.count, calls.buckets), (4, expected));
    assert!((calls.sum - 120.004).abs() < 1e-9, "{}", calls.sum);
}

fn of<'a>(data: &'a [Datum], name: &str, shard: &str) -> Option<&'a Datum> {
    let is_it = |datum: &&Datum| {
        datum.sample.metric.name == name
            && datum.sample.shard().is_none_or(|it| it.as_str() == shard)
    };
    data.iter().find(is_it)
}

#[test]
fn period_has_differences_and_its_own_extremes() {
    let (registry, _status) = registry();
    let (series, _shown) = show(&registry, "shard-1", 5);
    let mut reader = Meter::new(registry).periods().unwrap();
    series.call_ended("process_records", SECOND * 2);
    series.call_ended("process_records", SECOND * 4);
    series.batch_ended(BatchOutcome::Ok { bytes: 70 });
    let name = "kcl_process_seconds_total";
    let first = of(&reader.take(), name, "shard-1").unwrap().statistics;
    assert_eq!(first, Statistics { count: 2.0, sum: 6.0, min: 2.0, max: 4.0 });
    series.call_ended("process_records", SECOND);
    series.batch_ended(BatchOutcome::Ok { bytes: 7 });
    let second = reader.take();
    assert_eq!(of(&second, name, "shard-1").unwrap().statistics, Statistics::of(1.0));
    let bytes = of(&second, "kcl_bytes_total", "shard-1").unwrap().statistics;
    assert_eq!(bytes, Statistics::of(7.0));
    let third = reader.take();
    assert_eq!(of(&third, name, "shard-1"), None, "no call ended");
}

#[test]
fn period_has_the_last_counts_of_a_shard_that_moved_away() {
    let (registry, _status) = registry();
    let meter = Meter::new(Arc::clone(&registry));
    let (mut one, mut other) = (meter.periods().unwrap(), meter.periods().unwrap());
    meter.periods().unwrap_err();
    let (series, shown) = show(&registry, "shard-1", 5);
    series.batch_ended(BatchOutcome::Ok { bytes: 70 });
    drop(shown);
    let (_, _again) = show(&registry, "shard-1", 2);
    let records = |data: Vec<Datum>| {
        let of_it = data.into_iter().filter(|it| it.sample.metric.name == "kcl_records_total");
        of_it.map(|it| it.statistics.sum).sum::<f64>()
    };
    let series = |data: &[Datum]| {
        data.iter().filter(|it| it.sample.metric.name == "kcl_records_total").count()
    };
    let first = one.take();
    assert_eq!(series(&first), 2);
    assert!((records(first) - 7.0).abs() < 1e-9);
    assert_eq!(series(&one.take()), 1, "it is forgotten once it was read");
    assert!(records(one.take()).abs() < 1e-9, "each count is in one period");
    assert!((records(other.take()) - 7.0).abs() < 1e-9, "each reader gets it");
    drop(one);
    meter.periods().unwrap();
}

#[test]
fn events_are_counted() {
    let (registry, _status) = registry();
    let (_, _shown) = show(&registry, "shard-1", 5);
    let counts = EventCounts::new(Arc::clone(&registry));
    let context = EventContext {
        time: Timestamp::default(),
        application: "orders".to_owned(),
        worker: WorkerId::new("ann:1"),
        stream: None,
    };
    let (shard, key) = (ShardId::new("shard-1"), LeaseKey::new("shard-1"));
    let (how, checkpoint) = (LeaseEnd::Expired, Checkpoint::TrimHorizon);
    let (attempt, error, retry_in) = (1, "no".to_owned(), SECOND);
    for event in [
        Event::BatchFailed { shard: shard.clone(), attempt, error, retry_in },
        Event::LeaseEnded { key, how, checkpoint },
        Event::Stalled { shard },
    ] {
        counts.on_event(&event, &context);
    }
    let snapshot = Meter::new(registry).snapshot();
    let number = |name, labels: &[&str]| snapshot.value(name, labels).map(Value::number);
    assert_eq!(number("kcl_retries_total", &["shard-1", "batch"]), Some(1.0));
    assert_eq!(number("kcl_lease_ends_total", &["expired"]), Some(1.0));
    assert_eq!(number("kcl_lease_ends_total", &["lost"]), Some(0.0));
    assert_eq!(number("kcl_stalled_total", &[]), Some(1.0));
}
