//! The holders of this worker's leases, as the scanner knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kcl_proto::consumer::retention_warning::{Lag, RiskWatch};
use kcl_proto::consumer::slow_call::SlowWatch;
use kcl_proto::lease::holding::{Holding, HoldingTimes, StoreEvery};
use kcl_proto::model::{Lease, LeaseKey, Moment, StreamStart, WorkerId};
use tokio::sync::{mpsc, watch};

use crate::lease_side::fleet_view::View;
use crate::lease_side::holder::{FromHolder, Holder, HolderParts, TO_HOLDER_MAX, ToHolder};
use crate::lease_side::shared::Side;
use crate::messages::{Calling, Grant, Vitals};
use crate::report::event::Event;
use crate::report::event::{HeldShard, SlowCall};
use crate::report::log::shard_span;
use crate::tasks::supervisor::{TaskEnd, Tasks};

/// How long a shard that came to be held may take until its first read tells how far it is behind.
const FIRST_READ_TIME: Duration = Duration::from_mins(1);

/// A lease that this worker holds, or whose consumer is still here.
#[derive(Debug)]
struct Held {
    to_holder: mpsc::Sender<ToHolder>,
    next: Option<WorkerId>,
    vitals: watch::Receiver<Vitals>,
    slow: SlowWatch,
    risk: RiskWatch,
    /// When it came to be held.
    since: Moment,
    /// How far the shard may be behind if it is never read: as long as nobody was at its end.
    unread: Option<Lag>,
    has_ended: bool,
}

/// The holders of this worker's leases.
#[derive(Debug)]
pub(super) struct Holders {
    side: Arc<Side>,
    start: Arc<StreamStart>,
    retention: Duration,
    scanner: mpsc::Sender<FromHolder>,
    held: BTreeMap<LeaseKey, Held>,
    tasks: Tasks,
}

impl Holders {
    /// No holder yet. `scanner` is where they report.
    pub(super) fn new(
        side: Arc<Side>,
        (start, retention): (StreamStart, Duration),
        scanner: mpsc::Sender<FromHolder>,
    ) -> Self {
        let (held, tasks) = (BTreeMap::new(), Tasks::default());
        Self { side, start: Arc::new(start), retention, scanner, held, tasks }
    }

    /// Starts the holder of a lease whose take was first sent at `sent`. Without a consumer for the
    /// grant, it releases the lease.
    pub(super) fn hold(&mut self, row: Lease, sent: Moment) -> Grant {
        let key = row.key.clone();
        let lease = &self.side.config.lease;
        let times = HoldingTimes {
            expiry: lease.expiry,
            renew_every: lease.renewal(),
            hand_over: lease.hand_over,
            store_every: StoreEvery::of(self.side.config.delivery.checkpoints),
        };
        let numbers = self.side.write_numbers();
        let holding = Holding::new(self.side.me.clone(), times, numbers, (row, sent));
        let (to_holder, inbox) = mpsc::channel(TO_HOLDER_MAX);
        let parts = HolderParts {
            me: self.side.me.clone(),
            store: Arc::clone(&self.side.store),
            clock: Arc::clone(&self.side.clock),
            events: self.side.events.clone(),
            scanner: self.scanner.clone(),
            stream: self.start.stream.clone(),
            start: Arc::clone(&self.start),
            retention: self.retention,
        };
        let (holder, grant) = Holder::new(parts, holding, self.side.write_numbers(), inbox);
        let span = shard_span(&self.start.stream, &key.shard());
        self.tasks.spawn("holder", span, holder.run());
        let vitals = grant.vitals.subscribe();
        let (slow, risk) = (SlowWatch::default(), RiskWatch::default());
        let since = self.side.clock.now();
        let time_of_day = self.side.clock.time_of_day();
        let behind = grant.lease.caught_up_at.map(|at| time_of_day.since(at));
        let unread = behind.map(|behind| Lag { behind, seen: since });
        let next = None;
        let held = Held { to_holder, next, vitals, slow, risk, since, unread, has_ended: false };
        self.held.insert(key, held);
        grant
    }

    /// Whether the lease is held, or its consumer is still here.
    pub(super) fn contains(&self, key: &LeaseKey) -> bool {
        self.held.contains_key(key)
    }

    /// Whether nothing is held, and no consumer is here.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The leases that are held.
    pub(super) fn keys(&self) -> BTreeSet<LeaseKey> {
        let held = self.held.iter().filter(|(_, held)| !held.has_ended);
        held.map(|(key, _)| key.clone()).collect()
    }

    /// Looks how the consumers of the held leases are doing, and tells of calls that do not end.
    pub(super) fn look(&mut self, view: &View, now: Moment) -> Vec<HeldShard> {
        let slow_after = self.side.config.delivery.slow_after;
        let mut shards = Vec::new();
        for (key, held) in self.held.iter_mut().filter(|(_, held)| !held.has_ended) {
            let vitals = *held.vitals.borrow();
            let call = vitals.longest();
            let unread = held.unread.filter(|_| now.since(held.since) >= FIRST_READ_TIME);
            let age = vitals.oldest().or(unread).map(|lag| lag.age(now));
            if let Some(age) = held.risk.observe(age, self.retention, now) {
                let (shard, retention) = (key.shard(), self.retention);
                self.side.events.emit(&Event::DataAtRisk { shard, age, retention });
            }
            let taken = held.slow.observe(call.map(|call| call.since), slow_after, now);
            if let (Some(taken), Some(Calling { name, .. })) = (taken, call) {
                let shard = key.shard();
                self.side.events.emit(&Event::ProcessorSlow { shard, call: name, taken });
            }
            let slow = held.slow.reported().zip(call);
            shards.push(HeldShard {
                key: key.clone(),
                checkpoint: view.row(key).map(|row| row.checkpoint),
                behind_latest: vitals.behind(now),
                slow: slow.map(|(taken, call)| SlowCall { call: call.name, taken }),
            });
        }
        shards
    }

    /// The leases that are held no longer, whose consumers are still here.
    pub(super) fn lingering(&self) -> impl Iterator<Item = &LeaseKey> {
        self.held.iter().filter(|(_, held)| held.has_ended).map(|(key, _)| key)
    }

    /// Somebody asks for a lease.
    pub(super) fn asked(&mut self, key: &LeaseKey, next: WorkerId, moved_at: Option<Moment>) {
        if let Some(held) = self.held.get_mut(key) {
            held.next = Some(next);
            drop(held.to_holder.try_send(ToHolder::NextOwnerMoved(moved_at)));
        }
    }

    /// A lease is held no longer.
    pub(super) fn ended(&mut self, key: &LeaseKey) {
        if let Some(held) = self.held.get_mut(key) {
            held.has_ended = true;
        }
    }

    /// A lease's consumer is gone too.
    pub(super) fn gone(&mut self, key: &LeaseKey) {
        self.held.remove(key);
    }

    /// Tells the holders what a scan showed. One that has no room for a hint gets the next one.
    pub(super) fn hint(&self, view: &View) {
        for (key, held) in &self.held {
            let Some(row) = view.row(key) else { continue };
            if row.checkpoint_owner.as_ref() == Some(&self.side.me) {
                drop(held.to_holder.try_send(ToHolder::HandOverHinted));
            }
            if let Some(next) = &held.next {
                let moved_at = view.last_moved(next);
                drop(held.to_holder.try_send(ToHolder::NextOwnerMoved(moved_at)));
            }
        }
    }

    /// Tells every holder to let go until then.
    pub(super) fn stop(&self, until: Moment) -> Vec<BoxFuture<'static, ()>> {
        let tell = |held: &Held| -> BoxFuture<'static, ()> {
            let to_holder = held.to_holder.clone();
            Box::pin(async move {
                drop(to_holder.send(ToHolder::Stop { until }).await); // Gone ones need no word.
            })
        };
        self.held.values().map(tell).collect()
    }

    /// Waits for a holder's task to end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn task_ended(&mut self) -> TaskEnd {
        self.tasks.ended().await
    }
}
