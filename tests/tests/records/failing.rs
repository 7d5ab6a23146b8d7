//! Failure policies for a record that cannot be processed.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kcl_core::ShardContext;
use kcl_core::backend::{DeadLetter, FailedRecord, FileDeadLetter};
use kcl_core::config::{FailurePolicy, OnExhausted};
use kcl_core::error::RunError;
use kcl_core::event::{Event, EventContext, Observer};
use kcl_core::{BoxError, for_each};
use kcl_kinesis::KinesisDeadLetter;
use serde_json::Value;

use crate::stage::{Done, FailsOnPoison, Poison, Stage, crash_once, run_until};

const RECORDS: [&str; 7] = ["a", "b", "c", "poison", "d", "e", "f"];
const NEIGHBOURS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn dead_letter() -> FailurePolicy {
    FailurePolicy::attempts(2, OnExhausted::DeadLetter)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_record_goes_to_the_dead_letter_stream() {
    for poison in [Poison::Fail, Poison::Panic] {
        let stage = Stage::with(&RECORDS).await;
        let done = Done::default();
        let seen = done.clone();
        let worker = stage
            .worker(dead_letter())
            .dead_letter(KinesisDeadLetter::new(&stage.aws, "dead"))
            .processor(move |_| FailsOnPoison { done: seen.clone(), poison })
            .build()
            .unwrap();
        run_until(worker, || done.all().len() >= 6).await;
        assert_eq!(done.all(), NEIGHBOURS, "{poison:?}");
        let letters = stage.records_of("dead").await;
        let letter: Value = serde_json::from_slice(&letters[0]).unwrap();
        assert_eq!(letters.len(), 1, "{poison:?}");
        assert_eq!(
            (&letter["data"], &letter["partition_key"]),
            (&"cG9pc29u".into(), &"key".into())
        );
        assert_eq!(
            (&letter["stream"], &letter["sub_sequence_number"]),
            (&"orders".into(), &0.into())
        );
        assert!(letter["error"].as_str().unwrap().contains("cannot be processed"));
    }
}

/// Fails a few times before it stores records in a file.
#[derive(Debug)]
struct Flaky {
    left: AtomicUsize,
    file: FileDeadLetter,
}

#[async_trait]
impl DeadLetter for Flaky {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        let next = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok() {
            return Err("not now".into());
        }
        self.file.store(failed).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_dead_letter_is_retried_and_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.jsonl");
    let stage = Stage::with(&RECORDS).await;
    let done = Done::default();
    let seen = done.clone();
    let file = FileDeadLetter::new(&path);
    let worker = stage
        .worker(dead_letter())
        .dead_letter(Flaky { left: AtomicUsize::new(4), file })
        .processor(move |_| FailsOnPoison { done: seen.clone(), poison: Poison::Fail })
        .build()
        .unwrap();
    run_until(worker, || done.all().len() >= 6).await;
    assert_eq!(done.all(), NEIGHBOURS);
    let letters = lines(&path);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["data"], "cG9pc29u");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_during_bisection_keeps_stored_progress() {
    let stage = Stage::with(&RECORDS).await;
    let done = Done::default();
    let processor = |done: &Done| {
        let done = done.clone();
        move |_: &ShardContext| FailsOnPoison { done: done.clone(), poison: Poison::Fail }
    };
    // This dead letter never stores the record, so that the worker crashes meanwhile.
    let never = Flaky { left: AtomicUsize::new(usize::MAX), file: FileDeadLetter::new("/") };
    let worker = stage.worker(dead_letter()).dead_letter(never).processor(processor(&done));
    crash_once(worker.build().unwrap(), || done.all().len() >= 3).await;
    assert_eq!(done.all(), ["a", "b", "c"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.jsonl");
    let next = stage.worker(dead_letter()).dead_letter(FileDeadLetter::new(&path));
    run_until(next.processor(processor(&done)).build().unwrap(), || done.all().len() >= 6).await;
    assert_eq!(done.all(), NEIGHBOURS, "no record is repeated or missing");
    assert_eq!(lines(&path).len(), 1);
}

#[derive(Clone, Debug, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Observer for Events {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_policy_skips_the_record_and_reports_it() {
    let stage = Stage::with(&RECORDS).await;
    let (done, events) = (Done::default(), Events::default());
    let seen = done.clone();
    let worker = stage
        .worker(FailurePolicy::attempts(1, OnExhausted::Skip))
        .observer(events.clone())
        .processor(move |_| FailsOnPoison { done: seen.clone(), poison: Poison::Fail })
        .build()
        .unwrap();
    run_until(worker, || done.all().len() >= 6).await;
    assert_eq!(done.all(), NEIGHBOURS);
    let skipped = |event: &&Event| matches!(event, Event::Skipped { skipped: 1, .. });
    assert_eq!(events.0.lock().unwrap().iter().filter(skipped).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_policy_ends_the_worker_with_an_error() {
    let stage = Stage::with(&RECORDS).await;
    let done = Done::default();
    let seen = done.clone();
    let worker = stage
        .worker(FailurePolicy::attempts(1, OnExhausted::StopWorker))
        .processor(move |_| FailsOnPoison { done: seen.clone(), poison: Poison::Panic })
        .build()
        .unwrap();
    let end = tokio::time::timeout(
        std::time::Duration::from_mins(1),
        worker.run_until(std::future::pending()),
    )
    .await
    .unwrap();
    assert!(matches!(end, Err(RunError::RecordsFailed { .. })), "{end:?}");
    assert_eq!(done.all(), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn record_closure_follows_the_same_policy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.jsonl");
    let stage = Stage::with(&RECORDS).await;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let processor = for_each(move |record| {
        let counted = Arc::clone(&counted);
        async move {
            if &record.data[..] == b"poison" {
                return Err("cannot be processed".into());
            }
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let worker = stage.worker(dead_letter()).dead_letter(FileDeadLetter::new(&path));
    let worker = worker.processor_factory(processor).build().unwrap();
    run_until(worker, || count.load(Ordering::SeqCst) >= 6).await;
    assert_eq!(count.load(Ordering::SeqCst), 6);
    assert_eq!(lines(&path).len(), 1);
}

#[tokio::test]
async fn truncated_line_is_followed_by_a_new_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.jsonl");
    fs::write(&path, "{\"cut\": ").unwrap();
    let record =
        kcl_core::Record::new(kcl_core::model::Position::of(7_u128.into()), "key", "data", None);
    let failed = FailedRecord::new("s".into(), "shard".into(), record, "line\nbreak", 3);
    for _ in 0..2 {
        let letters = FileDeadLetter::new(&path);
        letters.store(&failed).await.unwrap();
        letters.store(&failed).await.unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (5, "{\"cut\": "));
    for line in &lines[1..] {
        let letter: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&letter["error"], &letter["attempts"]), (&"line\nbreak".into(), &3.into()));
        assert_eq!(letter["sequence_number"], "7");
    }
}

#[tokio::test]
async fn unwritable_dead_letter_is_an_error() {
    let record =
        kcl_core::Record::new(kcl_core::model::Position::of(7_u128.into()), "key", "data", None);
    let failed = FailedRecord::new("s".into(), "shard".into(), record, "no", 3);
    FileDeadLetter::new("/nowhere/at/all").store(&failed).await.unwrap_err();
    let stage = Stage::with(&[]).await;
    let error = KinesisDeadLetter::new(&stage.aws, "missing").store(&failed).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn too_large_dead_letter_error_names_the_remedy() {
    let stage = Stage::with(&[]).await;
    let letters = KinesisDeadLetter::new(&stage.aws, "dead");
    let letter = |bytes: usize| {
        let position = kcl_core::model::Position::of(7_u128.into());
        let record = kcl_core::Record::new(position, "key", vec![b'x'; bytes], None);
        FailedRecord::new("s".into(), "shard".into(), record, "no", 3)
    };
    letters.store(&letter(780_000)).await.unwrap();
    let error = letters.store(&letter(800_000)).await.unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("UpdateMaxRecordSize") && message.contains("stream dead"),
        "{message}"
    );
    assert!(error.source().is_some(), "the error of Kinesis is the source");
    assert_eq!(stage.records_of("dead").await.len(), 1);
}
