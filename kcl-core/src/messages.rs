//! The messages between a lease's holder (lease side) and its consumer (data side).

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::consumer::progress::{Done, UnfinishedBatch};
use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::model::{
    Checkpoint, ChildShard, Lease, LeaseCounter, Moment, PendingCheckpoint, StreamName, StreamStart,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::shard_series::ShardSeries;
use crate::report::error::CheckpointError;
use crate::retention::Retention;

/// How many messages of its consumer a holder queues.
pub(crate) const FROM_CONSUMER_MAX: usize = 64;

/// The name of the wait for acknowledgements, which is reported like a call.
pub(crate) const ACKNOWLEDGEMENTS: &str = "acknowledgements";

/// A newly held lease, for its consumer.
#[derive(Debug)]
pub(crate) struct Grant {
    /// The stream.
    pub(crate) stream: StreamName,
    /// How the application began to consume the stream.
    pub(crate) start: Arc<StreamStart>,
    /// How long the stream retains records.
    pub(crate) retention: Retention,
    /// The row that the take wrote.
    pub(crate) lease: Arc<Lease>,
    /// The counter that the take wrote.
    pub(crate) token: LeaseCounter,
    /// Until when the consumer may poll the application's futures. Each renewal moves it.
    pub(crate) deadline: watch::Receiver<Moment>,
    /// The holder's order.
    pub(crate) order: watch::Receiver<Order>,
    /// What is done, for the next renewal to store.
    pub(crate) progress: watch::Sender<Done>,
    /// The state of the consumer, for status and warnings.
    pub(crate) vitals: watch::Sender<Vitals>,
    /// What the consumer counts and measures.
    pub(crate) series: Arc<ShardSeries>,
    /// The consumer's requests and reports. Boxed: a channel has room for 32 from the start.
    pub(crate) holder: mpsc::Sender<Box<FromConsumer>>,
    /// Dropped with the consumer. Nothing is sent.
    pub(crate) alive: oneshot::Sender<()>,
}

/// An order of the holder. Orders only move down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Process.
    Run,
    /// Finish the batch in hand, start no other, call `shutdown_requested`, and report
    /// [`FromConsumer::Drained`]. The application's future is dropped at `until`.
    Drain {
        /// The end of the drain.
        until: Moment,
    },
    /// The lease is gone: cancel and drop the application's future, call `lease_lost`, and end.
    Lost {
        /// The end of the drain: afterwards another worker may hold the lease.
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

/// The state of a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// How far it is behind the end of the shard, or `None` if that is not known.
    pub(crate) lag: Option<Lag>,
    /// The running call of the application's code.
    pub(crate) call: Option<Calling>,
    /// The oldest batch of detached records that are not all done.
    pub(crate) unfinished: Option<UnfinishedBatch>,
}

impl Vitals {
    /// An upper bound of the age of the oldest record that is not done.
    pub(crate) fn oldest(&self) -> Option<Lag> {
        self.unfinished.map(|batch| batch.lag).or(self.lag)
    }

    /// The longest running call, or wait for acknowledgements.
    pub(crate) fn longest(&self) -> Option<Calling> {
        let since = self.unfinished.and_then(|batch| batch.since);
        let wait = since.map(|since| Calling { name: ACKNOWLEDGEMENTS, since });
        self.call.into_iter().chain(wait).min_by_key(|call| call.since)
    }

    /// How far the shard is behind, for people: the age of the unfinished records, if there are
    /// any.
    pub(crate) fn behind(&self, now: Moment) -> Option<Duration> {
        let unfinished = self.unfinished.map(|batch| batch.lag.age(now));
        unfinished.or_else(|| self.lag.map(|lag| lag.behind))
    }
}

/// Where a consumer reports.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    /// See [`Grant::progress`].
    pub(crate) progress: watch::Sender<Done>,
    /// See [`Grant::vitals`].
    pub(crate) vitals: watch::Sender<Vitals>,
    /// See [`Grant::series`].
    pub(crate) series: Arc<ShardSeries>,
}

/// A running call of the application's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calling {
    /// Its name, such as `process_records`.
    pub(crate) name: &'static str,
    /// When it began.
    pub(crate) since: Moment,
}

/// A request or report of a consumer.
#[derive(Debug)]
pub(crate) enum FromConsumer {
    /// Store this checkpoint now.
    Checkpoint {
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// Answered once it is stored, or cannot be.
        reply: oneshot::Sender<Result<(), CheckpointError>>,
    },
    /// Store this prepared checkpoint now.
    Prepare {
        /// The checkpoint, and the application's state.
        pending: PendingCheckpoint,
        /// Answered once it is stored. Dropped if it cannot be.
        reply: oneshot::Sender<()>,
    },
    /// Every record of the shard is done, and the processor returned `Ok` for its end: create the
    /// children's leases, store `SHARD_END`, and release the lease.
    ShardEnded {
        /// The children, which cover the shard's hash range.
        children: Vec<ChildShard>,
    },
    /// The drain is complete. [`Grant::progress`] holds the final progress.
    Drained,
    /// The consumer cannot process the shard: release the lease.
    Failed,
}
