//! What a processor has in flight proceeds while its shard waits for something else.

use std::collections::VecDeque;
use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::config::{FailurePolicy, OnExhausted};
use kcl_core::event::Event;
use kcl_core::model::{Checkpoint, Position};
use kcl_core::{Ack, BoxError, RecordBatch, RecordProcessor};
use kcl_sim::story::Story;
use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// Keeps its records in hand for five seconds each, and takes no others meanwhile. What it cannot
/// read it refuses.
#[derive(Debug, Default)]
struct OneAtATime {
    in_hand: VecDeque<(Instant, Ack)>,
}

impl RecordProcessor for OneAtATime {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        if batch.iter().any(|record| &*record.data == b"poison") {
            return Err("unreadable".into());
        }
        if !self.in_hand.is_empty() {
            return Err("busy".into());
        }
        let due = Instant::now() + SECOND * 5;
        self.in_hand.extend(batch.into_acks().into_iter().map(|(_, ack)| (due, ack)));
        Ok(())
    }

    async fn background(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        while let Some((due, _)) = self.in_hand.front() {
            sleep_until(*due).await;
            if let Some((_, ack)) = self.in_hand.pop_front() {
                ack.done();
            }
        }
        Ok(())
    }
}

fn one_record_a_batch() -> Story {
    let story = Story::new(1);
    story.configure(|config| config.retrieval.records_max = 1);
    story
}

fn is_done(story: &Story, last: Position) -> bool {
    story.find(0).is_some_and(|lease| lease.checkpoint >= Checkpoint::After(last))
}

#[test]
fn refused_batch_does_not_stop_the_one_before() {
    let story = one_record_a_batch();
    let last = Position::of(story.put(0, ["a", "b", "c"]));
    let worker = story.start_with("w", |_: &ShardContext| OneAtATime::default());
    story.until("done", SECOND * 60, |story| is_done(story, last));
    let busy = |event: &Event| matches!(event, Event::BatchFailed { .. }).then_some(());
    assert!(story.journal.event(busy).is_some());
    worker.stop().unwrap();
}

#[test]
fn failing_dead_letter_does_not_stop_others_in_flight() {
    let story = one_record_a_batch();
    story.configure(|config| {
        config.delivery.failure = FailurePolicy::attempts(1, OnExhausted::DeadLetter);
    });
    let first = Position::of(story.put(0, ["a"]));
    let last = Position::of(story.put(0, ["poison", "b"]));
    story.fail_dead_letters(12);
    let worker = story.start_with("w", |_: &ShardContext| OneAtATime::default());
    story.until("a is done", SECOND * 25, |story| is_done(story, first));
    assert_eq!(story.dead_letters(), [""; 0], "it fails still");
    story.until("done", SECOND * 200, |story| is_done(story, last));
    assert_eq!(story.dead_letters(), ["poison"]);
    worker.stop().unwrap();
}
