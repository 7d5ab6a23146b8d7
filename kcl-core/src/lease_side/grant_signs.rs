//! How a held shard is doing at any moment, for metrics: also while its holder or consumer hangs.

use std::time::Duration;

use kcl_proto::consumer::progress::Done;
use kcl_proto::model::Moment;
use tokio::sync::watch;

use crate::messages::{Grant, Vitals};
use crate::metrics::shard_series::{LiveShard, ShardSigns};

/// What a holder and a consumer publish about a shard.
#[derive(Debug)]
pub(super) struct GrantSigns {
    vitals: watch::Receiver<Vitals>,
    progress: watch::Receiver<Done>,
    deadline: watch::Receiver<Moment>,
    slow_after: Duration,
}

impl GrantSigns {
    /// Of a newly held shard. Calls that run for `slow_after` are slow.
    pub(super) fn new(grant: &Grant, slow_after: Duration) -> Self {
        Self {
            vitals: grant.vitals.subscribe(),
            progress: grant.progress.subscribe(),
            deadline: grant.deadline.clone(),
            slow_after,
        }
    }
}

impl LiveShard for GrantSigns {
    fn signs(&self, now: Moment) -> ShardSigns {
        let vitals = *self.vitals.borrow();
        let call = vitals.longest();
        ShardSigns {
            records: self.progress.borrow().records,
            behind: vitals.lag.map(|lag| lag.behind),
            age: vitals.oldest().map(|lag| lag.age(now)),
            is_slow: call.is_some_and(|call| now.since(call.since) >= self.slow_after),
            headroom: self.deadline.borrow().since(now),
        }
    }
}
