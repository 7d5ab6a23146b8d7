//! What a consumer decides for its whole worker: never to take a shard again, or to stop.

use std::collections::BTreeSet;

use kcl_proto::model::{LeaseKey, Position, ShardId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::report::error::RunError;

/// What the consumers of a worker refused. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    /// A cell that consumers write and the scanner reads when it plans.
    refused: watch::Sender<Refused>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Refused {
    leases: BTreeSet<LeaseKey>,
    work: Option<RefusedAt>,
}

/// Where a worker refused to go on.
#[derive(Clone, Debug)]
pub(crate) struct RefusedAt {
    pub(crate) shard: ShardId,
    pub(crate) call: &'static str,
    /// None for a call without records.
    pub(crate) position: Option<Position>,
    pub(crate) error: String,
}

impl Refusals {
    /// Nothing is refused yet. `stop` stops the worker.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { refused: watch::Sender::default(), stop }
    }

    /// Has this worker not take the lease again.
    pub(crate) fn refuse_lease(&self, key: LeaseKey) {
        self.refused.send_modify(|refused| {
            refused.leases.insert(key);
        });
    }

    /// Stops the worker. The first reason counts.
    pub(crate) fn refuse_work(&self, at: RefusedAt) {
        self.refused.send_modify(|refused| {
            refused.work.get_or_insert(at);
        });
        self.stop.cancel();
    }

    /// The leases that this worker must not take again.
    pub(crate) fn leases(&self) -> BTreeSet<LeaseKey> {
        self.refused.borrow().leases.clone()
    }

    /// Why the worker stopped, if it refused to go on.
    pub(crate) fn error(&self) -> Option<RunError> {
        let RefusedAt { shard, call, position, error } = self.refused.borrow().work.clone()?;
        Some(match position {
            Some(position) => RunError::RecordsFailed { shard, position, error },
            None => RunError::ProcessorFailed { shard, call, error },
        })
    }
}
