//! The leases that this worker holds, and those whose consumers still exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kcl_proto::lease::holding::{self, Holding, HoldingTimes, StoreEvery, Taken};
use kcl_proto::model::{Checkpoint, Lease, LeaseKey, Moment, WorkerId};
use tokio::sync::{mpsc, watch};
use tracing::Span;

use crate::lease_side::consumer_watch::{ConsumerHealth, ConsumerWatch};
use crate::lease_side::fleet_view::FleetView;
use crate::lease_side::grant_signs::GrantSigns;
use crate::lease_side::holder::{HINTS_MAX, Held, Hint, Holder, HolderChannels};
use crate::lease_side::inbox::ToMainLoop;
use crate::lease_side::session_link::HolderEnd;
use crate::lease_side::shared::Shared;
use crate::lease_side::stream_facts::StreamFacts;
use crate::messages::Grant;
use crate::metrics::registry::ShownShard;
use crate::report::event::HeldShard;
use crate::tasks::supervisor::{TaskEnd, Tasks};

/// A lease that this worker holds, or whose consumer still exists.
#[derive(Debug)]
struct Entry {
    hints: mpsc::Sender<Hint>,
    /// When batches in hand are cancelled, once the worker stops. A channel of its own: the
    /// receivers of one channel would wake in random order, and a run could not be replayed.
    stop: watch::Sender<Option<Moment>>,
    /// The worker that asks for the lease.
    next: Option<WorkerId>,
    consumer: ConsumerWatch,
    /// Whether no renewal tells what happens to the row: the lease lives by this worker's session.
    is_in_session: bool,
    has_ended: bool,
    /// Its metrics, until the lease is no longer held.
    shown: Option<ShownShard>,
}

/// How a lease that was just taken lives by this worker's session.
#[derive(Debug)]
pub(super) struct InSession {
    pub(super) link: HolderEnd,
    pub(super) lives_until: Moment,
    pub(super) now: Moment,
}

/// The leases of this worker, and the tasks of their holders.
#[derive(Debug)]
pub(super) struct HeldLeases {
    shared: Arc<Shared>,
    stream: StreamFacts,
    main_loop: mpsc::Sender<ToMainLoop>,
    held: BTreeMap<LeaseKey, Entry>,
    tasks: Tasks,
}

impl HeldLeases {
    /// No lease yet. Holders report to `main_loop`.
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: StreamFacts,
        main_loop: mpsc::Sender<ToMainLoop>,
    ) -> Self {
        let tasks = Tasks::until(shared.crash.clone());
        Self { shared, stream, main_loop, held: BTreeMap::new(), tasks }
    }

    /// Starts the holder of a lease whose take was first sent at `sent`. The holder releases the
    /// lease if the grant is dropped.
    pub(super) fn hold(&mut self, row: Lease, sent: Moment, session: Option<InSession>) -> Grant {
        let key = row.key.clone();
        let lease = &self.shared.config.lease;
        let times = HoldingTimes {
            expiry: lease.expiry,
            renew_first: lease.renewal().mul_f64(self.shared.chance.draw()),
            renew_every: lease.renewal().mul_f64(self.shared.chance.draw_near_one()),
            throttled: (lease.expiry / 10).mul_f64(self.shared.chance.draw_near_one()),
            handover: lease.handover,
            store_every: StoreEvery::of(self.shared.config.delivery.checkpoints),
            row_every: lease.row_every.map(|it| it.mul_f64(self.shared.chance.draw_near_one())),
        };
        let numbers = self.shared.write_numbers();
        let (me, is_in_session) = (self.shared.me.clone(), session.is_some());
        let held = match session {
            None => Held {
                holding: Holding::new(me, times, numbers, Taken { row, sent }),
                session: None,
            },
            Some(InSession { link, lives_until, now }) => {
                let taken = holding::InSession { row, lives_until, now };
                let holding = Holding::in_session(me, times, numbers, taken);
                Held { holding, session: Some(link) }
            }
        };
        let (hints, inbox) = mpsc::channel(HINTS_MAX);
        let (stop, stops) = watch::channel(None);
        let main_loop = self.main_loop.clone();
        let channels = HolderChannels { hints: inbox, stop: stops, main_loop };
        let (holder, grant) = Holder::new(Arc::clone(&self.shared), channels, held, &self.stream);
        self.tasks.spawn("holder", Span::none(), Box::new(holder).run());
        let signs = GrantSigns::new(&grant, self.shared.config.delivery.slow_after);
        let shown = self.shared.registry.show(Arc::clone(&grant.series), Box::new(signs));
        let entry = Entry {
            hints,
            stop,
            next: None,
            consumer: ConsumerWatch::new(&grant, &self.shared),
            is_in_session,
            has_ended: false,
            shown: Some(shown),
        };
        self.held.insert(key, entry);
        grant
    }

    /// Continues as another incarnation of this worker. Consumers of the former one may exist.
    pub(super) fn reborn(&mut self, shared: Arc<Shared>) {
        self.shared = shared;
    }

    /// Whether the lease is held, or its consumer still exists.
    pub(super) fn contains(&self, key: &LeaseKey) -> bool {
        self.held.contains_key(key)
    }

    /// Whether no lease is held, and no consumer exists.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The leases that are held.
    pub(super) fn keys(&self) -> BTreeSet<LeaseKey> {
        let held = self.held.iter().filter(|(_, held)| !held.has_ended);
        held.map(|(key, _)| key.clone()).collect()
    }

    /// The leases that are no longer held, and whose consumers still exist.
    pub(super) fn lingering(&self) -> impl Iterator<Item = &LeaseKey> {
        self.held.iter().filter(|(_, held)| held.has_ended).map(|(key, _)| key)
    }

    /// Returns how the consumers of the held leases are doing. Emits the events that are due.
    pub(super) fn observe(
        &mut self,
        checkpoint: impl Fn(&LeaseKey) -> Option<Checkpoint>,
        now: Moment,
    ) -> Vec<HeldShard> {
        let held = self.held.iter_mut().filter(|(_, held)| !held.has_ended);
        held.map(|(key, held)| {
            let ConsumerHealth { behind_latest, slow } =
                held.consumer.observe(key, &self.shared, now);
            HeldShard { key: key.clone(), checkpoint: checkpoint(key), behind_latest, slow }
        })
        .collect()
    }

    /// Notes that the worker `next` asks for a lease.
    pub(super) fn asked(&mut self, key: &LeaseKey, next: WorkerId, moved_at: Option<Moment>) {
        if let Some(held) = self.held.get_mut(key) {
            held.next = Some(next);
            drop(held.hints.try_send(Hint::NextOwnerMoved(moved_at)));
        }
    }

    /// Notes that a lease is no longer held.
    pub(super) fn ended(&mut self, key: &LeaseKey) {
        if let Some(held) = self.held.get_mut(key) {
            held.has_ended = true;
            held.shown = None;
        }
    }

    /// Notes that a lease's consumer is gone too.
    pub(super) fn gone(&mut self, key: &LeaseKey) {
        self.held.remove(key);
    }

    /// Has the holder of a lease read its row.
    pub(super) fn row_changed(&self, key: &LeaseKey) {
        if let Some(held) = self.held.get(key) {
            drop(held.hints.try_send(Hint::Changed));
        }
    }

    /// Passes on to the holders what a scan showed.
    pub(super) fn hint(&self, fleet: &FleetView) {
        for (key, held) in &self.held {
            let (row, me) = (fleet.row(key), Some(&self.shared.me));
            let is_asked_for = row.is_some_and(|row| row.checkpoint_owner.as_ref() == me);
            let is_lost = row.is_none_or(|row| row.holder() != me);
            if is_asked_for || held.is_in_session && is_lost {
                drop(held.hints.try_send(Hint::Changed));
            }
            if let Some(next) = &held.next {
                let moved_at = fleet.last_moved(next);
                drop(held.hints.try_send(Hint::NextOwnerMoved(moved_at)));
            }
        }
    }

    /// The workers that have asked for leases.
    pub(super) fn next_owners(&self) -> impl Iterator<Item = &WorkerId> {
        self.held.values().filter_map(|held| held.next.as_ref())
    }

    /// Has the holders of `surplus` leases drain their consumers until `until`, then release their
    /// leases.
    pub(super) fn release(&self, surplus: usize, until: Moment) {
        let held = self.held.values().filter(|held| !held.has_ended);
        for held in held.take(surplus) {
            held.stop.send_if_modified(|stop| stop.replace(until).is_none());
        }
    }

    /// Has every holder drain its consumer until `until`, then release its lease.
    pub(super) fn stop(&self, until: Moment) {
        for held in self.held.values() {
            held.stop.send_replace(Some(until));
        }
    }

    /// Waits for a holder's task to end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn task_ended(&mut self) -> TaskEnd {
        self.tasks.ended().await
    }
}
