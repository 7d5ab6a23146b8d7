//! The messages between a lease's holder (lease side) and its consumer (data side).

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::consumer::under_way::Delivered;
use kcl_proto::model::{
    Checkpoint, ChildShard, Lease, LeaseCounter, Moment, PendingCheckpoint, StreamName,
    StreamStart, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::report::error::CheckpointError;

/// How many messages a holder keeps waiting before senders wait.
pub(crate) const FROM_CONSUMER_MAX: usize = 64;

/// The name of the wait for acknowledgements, which is reported like a call.
pub(crate) const ACKNOWLEDGEMENTS: &str = "acknowledgements";

/// A lease just came to be held: what its consumer needs.
#[derive(Debug)]
pub(crate) struct Grant {
    /// The stream.
    pub(crate) stream: StreamName,
    /// Which stream of that name, and how it began.
    pub(crate) start: Arc<StreamStart>,
    /// How long the stream keeps records.
    pub(crate) retention: Duration,
    /// The row as the take left it.
    pub(crate) lease: Lease,
    /// The counter that the take set.
    pub(crate) token: LeaseCounter,
    /// Until when the consumer may poll the application's futures; moves with each renewal.
    pub(crate) deadline: watch::Receiver<Moment>,
    /// What the consumer shall do.
    pub(crate) order: watch::Receiver<Order>,
    /// What the consumer has done, for the next renewal to store. Only the newest counts.
    pub(crate) progress: watch::Sender<Done>,
    /// How the consumer is doing, for whoever asks. Only the newest counts.
    pub(crate) vitals: watch::Sender<Vitals>,
    /// What the consumer asks for or reports.
    pub(crate) holder: mpsc::Sender<FromConsumer>,
    /// Dropped when the consumer is gone, whatever the reason. Nothing is ever sent.
    pub(crate) alive: oneshot::Sender<()>,
}

/// What a consumer shall do. Orders only ever move down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Process.
    Run,
    /// Finish the batch in hand, start no other, call `shutdown_requested`, then report
    /// [`FromConsumer::Drained`]. At `until` the application's future is dropped.
    Drain {
        /// When the time is up.
        until: Moment,
    },
    /// The lease is gone: cancel the application's future, drop it, call `lease_lost`, end.
    Lost {
        /// When the drain's time was up: from then on the lease may be another's.
        until: Option<Moment>,
    },
}

impl Order {
    /// The order after a loss.
    pub(crate) const fn lost(self) -> Self {
        match self {
            Self::Run => Self::Lost { until: None },
            Self::Drain { until } => Self::Lost { until: Some(until) },
            Self::Lost { .. } => self,
        }
    }
}

/// What is done and may be checkpointed by the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Up to where; none if nothing is.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// About how many records that are.
    pub(crate) records: u64,
    /// When the consumer was last at the end of its shard.
    pub(crate) caught_up_at: Option<Timestamp>,
}

/// How a consumer is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// How far it is behind the end of the shard, if that is known.
    pub(crate) lag: Option<Lag>,
    /// The call of the application's code that has not ended yet.
    pub(crate) call: Option<Calling>,
    /// The oldest batch that is acknowledged record by record and not done.
    pub(crate) under_way: Option<Delivered>,
}

impl Vitals {
    /// How old the oldest record that is not done may be.
    pub(crate) fn oldest(&self) -> Option<Lag> {
        self.under_way.map(|batch| batch.lag).or(self.lag)
    }

    /// What has gone on for longest: a call, or the wait for acknowledgements.
    pub(crate) fn longest(&self) -> Option<Calling> {
        let since = self.under_way.and_then(|batch| batch.at);
        let wait = since.map(|since| Calling { name: ACKNOWLEDGEMENTS, since });
        self.call.into_iter().chain(wait).min_by_key(|call| call.since)
    }

    /// How far its shard is behind, for people: while records are under way, how old they are.
    pub(crate) fn behind(&self, now: Moment) -> Option<Duration> {
        let under_way = self.under_way.map(|batch| batch.lag.age(now));
        under_way.or_else(|| self.lag.map(|lag| lag.behind))
    }
}

/// Where a consumer tells how it is doing.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    /// See [`Grant::progress`].
    pub(crate) progress: watch::Sender<Done>,
    /// See [`Grant::vitals`].
    pub(crate) vitals: watch::Sender<Vitals>,
}

/// A call of the application's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calling {
    /// Which, such as `process_records`.
    pub(crate) name: &'static str,
    /// Since when.
    pub(crate) since: Moment,
}

/// What a consumer asks of its holder or tells it.
#[derive(Debug)]
pub(crate) enum FromConsumer {
    /// Store this checkpoint now.
    Checkpoint {
        /// Up to where.
        checkpoint: Checkpoint,
        /// Answered once it is stored, or cannot be.
        reply: oneshot::Sender<Result<(), CheckpointError>>,
    },
    /// Store this checkpoint as prepared now.
    Prepare {
        /// Up to where, and the application's state.
        pending: PendingCheckpoint,
        /// Answered once it is stored. Dropped if it cannot be.
        reply: oneshot::Sender<()>,
    },
    /// The shard is finished and the application agrees: create the children's leases, store
    /// `SHARD_END`, and give up the lease. The children cover the shard's hash range.
    ShardEnded {
        /// The children.
        children: Vec<ChildShard>,
    },
    /// What [`Order::Drain`] asked for is done; the final progress stands in [`Grant::progress`].
    Drained,
    /// The consumer cannot go on and gives the lease up: release it.
    GaveUp,
}
