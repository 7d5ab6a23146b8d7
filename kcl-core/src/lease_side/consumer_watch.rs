//! Watches how the consumer of one held lease is doing.

use std::time::Duration;

use kcl_proto::consumer::retention_warning::{Lag, RiskWatch};
use kcl_proto::consumer::slow_call::SlowWatch;
use kcl_proto::model::{LeaseKey, Moment};
use tokio::sync::watch;

use crate::lease_side::shared::Shared;
use crate::messages::{Calling, Grant, Vitals};
use crate::report::event::{Event, SlowCall};
use crate::retention::Retention;

/// How long a newly held shard may take until its first read reports how far it is behind.
const FIRST_READ_TIME: Duration = Duration::from_mins(1);

/// Watches one consumer.
#[derive(Debug)]
pub(super) struct ConsumerWatch {
    vitals: watch::Receiver<Vitals>,
    slow: SlowWatch,
    risk: RiskWatch,
    retention: Retention,
    held_since: Moment,
    /// How far the shard may be behind if it is never read: as long as no consumer was at its end.
    unread: Option<Lag>,
}

/// How a consumer is doing.
#[derive(Debug)]
pub(super) struct ConsumerHealth {
    /// See [`HeldShard::behind_latest`](crate::report::event::HeldShard::behind_latest).
    pub(super) behind_latest: Option<Duration>,
    /// The call that takes long.
    pub(super) slow: Option<SlowCall>,
}

impl ConsumerWatch {
    pub(super) fn new(grant: &Grant, shared: &Shared) -> Self {
        let held_since = shared.clock.now();
        let time_of_day = shared.clock.time_of_day();
        let behind = grant.lease.caught_up_at.map(|at| time_of_day.since(at));
        Self {
            vitals: grant.vitals.subscribe(),
            slow: SlowWatch::default(),
            risk: RiskWatch::default(),
            retention: grant.retention.clone(),
            held_since,
            unread: behind.map(|behind| Lag { behind, seen: held_since }),
        }
    }

    /// Returns how the consumer is doing. Emits an event if records may be trimmed soon, and if a
    /// call takes long.
    pub(super) fn observe(
        &mut self,
        key: &LeaseKey,
        shared: &Shared,
        now: Moment,
    ) -> ConsumerHealth {
        let vitals = *self.vitals.borrow();
        let call = vitals.longest();
        let unread = self.unread.filter(|_| now.since(self.held_since) >= FIRST_READ_TIME);
        let age = vitals.oldest().or(unread).map(|lag| lag.age(now));
        let retention = self.retention.get();
        if let Some(age) = self.risk.observe(age, retention, now) {
            let shard = key.shard();
            shared.events.emit(&Event::DataAtRisk { shard, age, retention });
        }
        let slow_after = shared.config.delivery.slow_after;
        let taken = self.slow.observe(call.map(|call| call.since), slow_after, now);
        if let (Some(taken), Some(Calling { name, .. })) = (taken, call) {
            let shard = key.shard();
            shared.events.emit(&Event::ProcessorSlow { shard, call: name, taken });
        }
        let slow = self.slow.reported().zip(call);
        ConsumerHealth {
            behind_latest: vitals.behind(now),
            slow: slow.map(|(taken, call)| SlowCall { call: call.name, taken }),
        }
    }
}
