//! Counts events where they happen: before the queue, which may drop some.

use std::sync::Arc;

use kcl_proto::model::{LeaseEnd, ShardId, TakeReason};

use crate::metrics::cells::Counter;
use crate::metrics::family::Family;
use crate::metrics::registry::Registry;
use crate::metrics::shard_series::{ShardSeries, add};
use crate::report::event::{Event, EventContext, Observer};

/// Counts the events of one worker.
#[derive(Debug)]
pub(crate) struct EventCounts(Arc<Registry>);

impl EventCounts {
    pub(crate) const fn new(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    fn of_shard(&self, shard: &ShardId, count: impl FnOnce(&ShardSeries)) {
        if let Some(series) = self.0.held(shard) {
            count(&series);
        }
    }

    fn one(family: &Family<Counter>, values: &[&str]) {
        add(family, values, 1);
    }
}

impl Observer for EventCounts {
    #[expect(clippy::wildcard_enum_match_arm, reason = "most events are not counted")]
    fn on_event(&self, event: &Event, _: &EventContext) {
        let series = &self.0.series;
        match event {
            Event::LeaseTaken { why, .. } => Self::one(&series.takes, &[taken(*why)]),
            Event::LeaseEnded { how, .. } => Self::one(&series.lease_ends, &[ended(*how)]),
            Event::HandoverBegun { .. } => Self::one(&series.hand_overs, &["begun"]),
            Event::HandoverAsked { .. } => Self::one(&series.hand_overs, &["asked"]),
            Event::HandoverEnded { .. } => Self::one(&series.hand_overs, &["failed"]),
            Event::BatchFailed { shard, .. } => {
                self.of_shard(shard, |it| Self::one(&it.retries, &["batch"]));
            }
            Event::RecordFailed { shard, .. } => {
                self.of_shard(shard, |it| Self::one(&it.retries, &["record"]));
            }
            Event::ProcessorFailed { shard, .. } => {
                self.of_shard(shard, |it| Self::one(&it.retries, &["call"]));
            }
            Event::DeadLettered { shard, .. } => {
                self.of_shard(shard, |it| Self::one(&it.set_aside, &["dead_letter"]));
            }
            Event::Skipped { shard, .. } => {
                self.of_shard(shard, |it| Self::one(&it.set_aside, &["skipped"]));
            }
            Event::DeadLetterFailed { shard, .. } => {
                self.of_shard(shard, |it| Self::one(&it.dead_letter_failures, &[]));
            }
            Event::ShardStopped { .. } => Self::one(&series.stopped_shards, &[]),
            Event::Stalled { .. } => Self::one(&series.stalled, &[]),
            Event::DataLost { .. } => Self::one(&series.lost, &[]),
            Event::DataAtRisk { .. } => Self::one(&series.at_risk, &[]),
            Event::LeaseCreated { .. } => Self::one(&series.leases_created, &[]),
            Event::LeaseDeleted { .. } => Self::one(&series.leases_deleted, &[]),
            Event::ShardEnded { .. } => Self::one(&series.shards_ended, &[]),
            Event::UnreadableRow { .. } => Self::one(&series.unreadable_rows, &[]),
            Event::HashKeysUncovered { .. } => Self::one(&series.uncovered, &[]),
            Event::WaitingForJava { .. }
            | Event::CreatingLeases { .. }
            | Event::CallFailed { .. } => self.0.waits_for(event.to_string()),
            _ => {}
        }
    }
}

const fn taken(why: TakeReason) -> &'static str {
    match why {
        TakeReason::Unowned => "unowned",
        TakeReason::Expired { .. } => "expired",
        TakeReason::HolderDead => "holder_dead",
        TakeReason::HandedOver => "handed_over",
    }
}

const fn ended(how: LeaseEnd) -> &'static str {
    match how {
        LeaseEnd::Released => "released",
        LeaseEnd::HandedOver => "handed_over",
        LeaseEnd::ShardEnded => "shard_ended",
        LeaseEnd::Lost => "lost",
        LeaseEnd::Expired => "expired",
        LeaseEnd::Kept => "kept",
    }
}
