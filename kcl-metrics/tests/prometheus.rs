//! The exposition of a worker in a story, read by a parser of its own.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::metrics::{CATALOGUE, Kind, Level};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker, WorkerHandle};
use kcl_metrics::Prometheus;
use kcl_sim::memory::{MemoryLeaseStore, MemoryStream};
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(30);

struct Idle;

impl RecordProcessor for Idle {
    async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A family of the exposition: its type, and the labels and values of its series.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    series: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads text in version 0.0.4 of Prometheus' format, strictly: types before series, no series
/// twice, no family in two places, numbers that parse.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let (mut current, mut helped) = (String::new(), String::new());
    let mut seen = BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split(' ').next().unwrap().to_owned();
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(helped, name, "help precedes the type");
            assert!(!families.contains_key(name), "{name} is in two places");
            name.clone_into(&mut current);
            families.entry(current.clone()).or_default().kind = kind.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series.to_owned()), "twice: {series}");
        let (name, labels) = series.split_once('{').expect("every series has labels");
        let labels = labels.strip_suffix('}').unwrap();
        let labels = labels.split("\",").map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let base = match families[&current].kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap(),
            _ => name,
        };
        assert_eq!(base, current, "a series below the type of another family");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let family = families.get_mut(&current).unwrap();
        family.series.push((name.to_owned(), labels.collect(), value));
    }
    families
}

#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the worker")]
fn start(
    name: &str,
    stream: &MemoryStream,
    table: &MemoryLeaseStore,
) -> (WorkerHandle, JoinHandle<()>) {
    let worker = Worker::builder("orders")
        .worker_name(name)
        .records(stream.clone())
        .leases(table.clone())
        .processor(|_: &ShardContext| Idle)
        .build()
        .unwrap();
    let handle = worker.handle();
    let run = tokio::spawn(async move {
        worker.run_until(std::future::pending()).await.unwrap();
    });
    (handle, run)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = SystemClock.now();
    while !holds() {
        assert!(SystemClock.now().since(start) < LIMIT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn shards(families: &BTreeMap<String, Family>) -> BTreeSet<String> {
    let series = families.values().flat_map(|family| &family.series);
    series.filter_map(|(_, labels, _)| labels.get("shard").cloned()).collect()
}

#[tokio::test]
async fn exposition_is_what_the_catalogue_says() {
    let stream = MemoryStream::new("orders-stream", 2, Arc::new(SystemClock));
    let (handle, run) = start("ann", &stream, &MemoryLeaseStore::new());
    let prometheus = Prometheus::new([handle.meter()]);
    until("two shards are read", || {
        let lags = parse(&prometheus.text()).remove("kcl_lag_seconds");
        lags.is_some_and(|lags| lags.series.len() == 4)
    })
    .await;
    let families = parse(&prometheus.text());
    for metric in CATALOGUE {
        let family = families.get(metric.name).unwrap_or_else(|| panic!("no {}", metric.name));
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(family.kind, kind, "{}", metric.name);
        for (_, labels, _) in &family.series {
            let names: BTreeSet<_> = labels.keys().map(String::as_str).collect();
            let own = metric.labels.iter().map(|label| label.name);
            let mut expected: BTreeSet<_> = own.chain(["application", "stream"]).collect();
            if names.contains("le") {
                expected.insert("le");
            }
            assert_eq!(names, expected, "{}", metric.name);
            assert_eq!(labels["application"], "orders");
            assert_eq!(labels["stream"], "orders-stream");
        }
    }
    assert_eq!(families.len(), CATALOGUE.len());
    let calls = &families["kcl_call_seconds"].series;
    let initialize = |suffix: &str, le: Option<&str>| {
        let is_it = |(name, labels, _): &&(String, BTreeMap<String, String>, f64)| {
            name.ends_with(suffix)
                && labels["call"] == "initialize"
                && labels.get("le").map(String::as_str) == le
        };
        calls.iter().find(is_it).map(|series| series.2)
    };
    assert_eq!(initialize("_count", None), Some(2.0));
    assert_eq!(initialize("_bucket", Some("+Inf")), Some(2.0));
    assert_eq!(initialize("_bucket", Some("60")), Some(2.0));
    handle.shut_down();
    run.await.unwrap();
}

#[tokio::test]
async fn series_of_a_moved_shard_are_gone_at_the_next_scrape() {
    let stream = MemoryStream::new("orders-stream", 2, Arc::new(SystemClock));
    let table = MemoryLeaseStore::new();
    let (one, first) = start("one", &stream, &table);
    let text = |handle: &WorkerHandle| Prometheus::new([handle.meter()]).text();
    until("the first holds both", || shards(&parse(&text(&one))).len() == 2).await;
    let (other, second) = start("other", &stream, &table);
    until("the second holds one", || shards(&parse(&text(&other))).len() == 1).await;
    let (kept, moved) = (shards(&parse(&text(&one))), shards(&parse(&text(&other))));
    assert_eq!(kept.len(), 1);
    assert!(kept.is_disjoint(&moved));
    let both = parse(&Prometheus::new([one.meter(), other.meter()]).text());
    let workers = both["kcl_leases_held"].series.iter().map(|it| it.1["worker"].clone());
    assert_eq!(workers.collect::<Vec<_>>(), ["one", "other"]);
    let summary = Prometheus::new([one.meter()]).with_level(Level::Summary).text();
    assert!(shards(&parse(&summary)).is_empty());
    assert_eq!(parse(&summary).len(), CATALOGUE.len());
    one.shut_down();
    other.shut_down();
    first.await.unwrap();
    second.await.unwrap();
    assert!(shards(&parse(&text(&one))).is_empty(), "a stopped worker holds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn scrape_of_a_thousand_shards_is_small() {
    let stream = MemoryStream::new("orders-stream", 1_000, Arc::new(SystemClock));
    let (handle, run) = start("ann", &stream, &MemoryLeaseStore::new());
    let held = || {
        let snapshot = handle.meter().snapshot();
        snapshot.value("kcl_leases_held", &[]).map(kcl_core::metrics::Value::number)
    };
    until("all are held", || held() == Some(1_000.0)).await;
    let prometheus = Prometheus::new([handle.meter()]);
    let began = SystemClock.now();
    let text = prometheus.text();
    let time = SystemClock.now().since(began);
    println!("{} bytes in {time:?}", text.len());
    assert!(text.len() <= 3_000_000, "{} bytes", text.len());
    assert_eq!(shards(&parse(&text)).len(), 1_000);
    handle.shut_down();
    run.await.unwrap();
}
