//! This worker's requests for leases of other workers.
//!
//! Each open request is one job. It carries out the effects of the state machine
//! [`Asking`](kcl_proto::lease::request::HandoverRequest) and returns their outcomes to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kcl_proto::fleet::balance::Ask;
use kcl_proto::fleet::cooldown::Cooldowns;
use kcl_proto::lease::request::{HandoverRequest, RequestEffect, RequestEnd, RequestInput, Target};
use kcl_proto::lease::write::LeaseWrite;
use kcl_proto::model::{LeaseKey, Moment, WorkerId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backend::LeaseStoreError;
use crate::lease_side::inbox::ToMainLoop;
use crate::lease_side::shared::Shared;
use crate::report::event::Event;
use crate::tasks::sleep::sleep_until;

/// The requests of this worker.
#[derive(Debug)]
pub(super) struct HandoverRequests {
    shared: Arc<Shared>,
    main_loop: mpsc::Sender<ToMainLoop>,
    open: BTreeMap<LeaseKey, Open>,
    refused: Cooldowns,
}

/// An open request.
#[derive(Debug)]
struct Open {
    owner: WorkerId,
    cancel: Cancel,
}

/// The two ways to end an open request early.
#[derive(Clone, Debug, Default)]
struct Cancel {
    /// Removes the request from the row first.
    withdraw: CancellationToken,
    /// Leaves the row as it is.
    abandon: CancellationToken,
}

impl HandoverRequests {
    /// An empty set of requests. `main_loop` receives each row that a request reads.
    pub(super) fn new(shared: Arc<Shared>, main_loop: mpsc::Sender<ToMainLoop>) -> Self {
        Self { shared, main_loop, open: BTreeMap::new(), refused: Cooldowns::default() }
    }

    /// Returns the job of a new request, or `None` if one for that lease is open. Pass the job's
    /// outcome to [`ended`](Self::ended).
    pub(super) fn begin(
        &mut self,
        Ask { key, owner }: Ask,
    ) -> Option<impl Future<Output = (LeaseKey, RequestEnd)> + Send + 'static> {
        let cancel = Cancel::default();
        let Cancel { withdraw, abandon } = cancel.clone();
        let open = Open { owner: owner.clone(), cancel };
        if self.open.insert(key.clone(), open).is_some() {
            return None;
        }
        let (shared, main_loop) = (Arc::clone(&self.shared), self.main_loop.clone());
        Some(async move {
            let now = shared.clock.now();
            let target = Target { key: key.clone(), owner: owner.clone() };
            let (asking, first) =
                HandoverRequest::new(shared.me.clone(), target, shared.write_numbers(), now);
            let request = Request {
                shared,
                main_loop,
                asking,
                owner,
                has_session: false,
                withdraw,
                failure: None,
            };
            tokio::select! {
                biased;
                () = abandon.cancelled() => (key, RequestEnd::Withdrawn),
                end = request.run(first) => (key, end),
            }
        })
    }

    /// Notes that a request has ended. A refused one is not repeated for an expiry; the lease may
    /// still be taken if it becomes free.
    pub(super) fn ended(&mut self, key: &LeaseKey, end: &RequestEnd, now: Moment) {
        self.open.remove(key);
        if let RequestEnd::Refused(reason) = end {
            self.refused.begin(key.clone(), now + self.shared.config.lease.expiry);
            self.shared.events.emit(&Event::HandoverEnded { key: key.clone(), reason });
        }
    }

    /// Ends the request for a lease whose owner died: the take replaces it.
    pub(super) fn abandon(&self, key: &LeaseKey) {
        if let Some(open) = self.open.get(key) {
            open.cancel.abandon.cancel();
        }
    }

    /// Withdraws every request.
    pub(super) fn withdraw_all(&self) {
        for open in self.open.values() {
            open.cancel.withdraw.cancel();
        }
    }

    /// The leases of open requests.
    pub(super) fn open(&self) -> BTreeSet<LeaseKey> {
        self.open.keys().cloned().collect()
    }

    /// The owners that were asked.
    pub(super) fn owners(&self) -> impl Iterator<Item = &WorkerId> {
        self.open.values().map(|open| &open.owner)
    }

    /// The leases whose owners refused, for as long as no new request is due.
    pub(super) fn refused(&self, now: Moment) -> BTreeSet<LeaseKey> {
        self.refused.keys(now)
    }

    /// When a refused lease may be requested again.
    pub(super) fn next_chance(&self, now: Moment) -> Option<Moment> {
        self.refused.next_end(now)
    }

    /// Drops refusals that have expired.
    pub(super) fn prune(&mut self, now: Moment) {
        self.refused.prune(now);
    }

    /// Whether no request is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// The job of one request.
struct Request {
    shared: Arc<Shared>,
    main_loop: mpsc::Sender<ToMainLoop>,
    asking: HandoverRequest,
    owner: WorkerId,
    /// Whether the owner holds the lease by its session: no renewal shows it the request.
    has_session: bool,
    withdraw: CancellationToken,
    /// The call that failed last, until it is reported.
    failure: Option<CallFailure>,
}

struct CallFailure {
    doing: &'static str,
    error: LeaseStoreError,
}

impl Request {
    /// Runs the request until it ends.
    async fn run(mut self, first: RequestEffect) -> RequestEnd {
        let mut next = Some(first);
        let mut is_stopping = false;
        loop {
            let input = match next.take() {
                Some(RequestEffect::Ended(end)) => return end,
                Some(RequestEffect::Begun) => {
                    self.begun();
                    continue;
                }
                Some(RequestEffect::Read) => self.read().await,
                Some(RequestEffect::Write(write)) => self.write(&write).await,
                None => tokio::select! {
                    biased;
                    () = self.withdraw.cancelled(), if !is_stopping => {
                        is_stopping = true;
                        RequestInput::Stop
                    }
                    () = sleep_until(&*self.shared.clock, self.asking.wake_at()) => RequestInput::Tick,
                },
            };
            let now = self.shared.clock.now();
            if !is_stopping && self.withdraw.is_cancelled() {
                is_stopping = true;
                drop(self.asking.on(RequestInput::Stop, now));
            }
            let congestion = *self.shared.congestion.borrow();
            if let Some(until) = congestion.ends_at(now) {
                drop(self.asking.on(RequestInput::Rest { until }, now));
            }
            next = self.asking.on(input, now);
            if let Some(CallFailure { doing, error }) = self.failure.take() {
                let retry_in = next.is_none().then(|| self.asking.wake_at() - now);
                let key = self.asking.key();
                self.shared.events.lease_call_failed(key, doing, &error, retry_in);
            }
        }
    }

    async fn write(&mut self, write: &LeaseWrite) -> RequestInput {
        match self.shared.calls.write_moving(write).await {
            Ok(outcome) => RequestInput::Answered(outcome),
            Err(error) => {
                let is_throttled = error.is_throttled();
                if is_throttled {
                    self.shared.suffered(self.shared.clock.now());
                }
                self.failure = Some(CallFailure { doing: "ask for a lease", error });
                if is_throttled { RequestInput::Throttled } else { RequestInput::Unanswered }
            }
        }
    }

    /// Notes that the row carries the request.
    fn begun(&self) {
        let (key, owner) = (self.asking.key().clone(), self.owner.clone());
        if self.has_session {
            let (key, owner) = (key.clone(), owner.clone());
            // An owner that is not told sees the request in a scan.
            drop(self.main_loop.try_send(ToMainLoop::RequestBegun { key, owner }));
        }
        self.shared.events.emit(&Event::HandoverBegun { key, owner });
    }

    async fn read(&mut self) -> RequestInput {
        match self.shared.calls.read_moving(self.asking.key()).await {
            Ok(row) => {
                if let Some(row) = row.clone() {
                    self.has_session = row.session_holder() == Some(&self.owner);
                    // A row that finds no room is read again soon.
                    drop(self.main_loop.try_send(ToMainLoop::RowKnown { row: Box::new(row) }));
                }
                RequestInput::Read(row)
            }
            Err(error) => {
                self.failure = Some(CallFailure { doing: "read a lease", error });
                RequestInput::Unread
            }
        }
    }
}
