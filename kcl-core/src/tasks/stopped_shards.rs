//! The shards that this worker stopped by policy, and the failure that stops the worker itself.

use std::collections::BTreeSet;

use kcl_proto::model::{LeaseKey, Position, ShardId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The shards that a worker's consumers stopped. Clones share the same state.
#[derive(Clone, Debug)]
pub(crate) struct StoppedShards {
    /// Consumers write it; the lease side reads it when it plans.
    state: watch::Sender<State>,
    worker: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    leases: BTreeSet<LeaseKey>,
    failure: Option<FatalFailure>,
}

/// The failure for which the policy stops the worker.
#[derive(Clone, Debug)]
pub(crate) struct FatalFailure {
    pub(crate) shard: ShardId,
    pub(crate) call: &'static str,
    /// `None` for a call without records.
    pub(crate) position: Option<Position>,
    pub(crate) error: String,
}

impl StoppedShards {
    /// An empty set. [`stop_worker`](Self::stop_worker) cancels `worker`.
    pub(crate) fn new(worker: CancellationToken) -> Self {
        Self { state: watch::Sender::default(), worker }
    }

    /// Keeps this worker from taking the lease again.
    pub(crate) fn insert(&self, key: LeaseKey) {
        self.state.send_modify(|state| {
            state.leases.insert(key);
        });
    }

    /// Stops the worker. The first failure is the one that the worker returns.
    pub(crate) fn stop_worker(&self, failure: FatalFailure) {
        self.state.send_modify(|state| {
            state.failure.get_or_insert(failure);
        });
        self.worker.cancel();
    }

    /// The leases that this worker must not take again.
    pub(crate) fn leases(&self) -> BTreeSet<LeaseKey> {
        self.state.borrow().leases.clone()
    }

    /// The failure that stopped the worker, or `None` if none did.
    pub(crate) fn failure(&self) -> Option<FatalFailure> {
        self.state.borrow().failure.clone()
    }
}
