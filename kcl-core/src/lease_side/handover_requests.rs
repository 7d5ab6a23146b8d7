//! What this worker has asked others for: the requests that are open, and those that came to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use kcl_proto::fleet::balance::Ask;
use kcl_proto::fleet::cooldown::Cooldowns;
use kcl_proto::lease::request::AskEnd;
use kcl_proto::model::{Lease, LeaseKey, Moment};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::lease_side::asker;
use crate::lease_side::holder::FromHolder;
use crate::lease_side::shared::Side;
use crate::report::event::Event;

/// An open request for another worker's lease.
#[derive(Clone, Debug, Default)]
struct Request {
    /// Leave nothing of it behind, then end.
    stop: CancellationToken,
    /// End at once.
    abandon: CancellationToken,
}

/// The requests of this worker.
#[derive(Debug)]
pub(super) struct Requests {
    side: Arc<Side>,
    scanner: mpsc::Sender<FromHolder>,
    open: BTreeMap<LeaseKey, Request>,
    refused: Cooldowns,
}

impl Requests {
    /// No request yet. `scanner` gets each row that is read.
    pub(super) fn new(side: Arc<Side>, scanner: mpsc::Sender<FromHolder>) -> Self {
        Self { side, scanner, open: BTreeMap::new(), refused: Cooldowns::default() }
    }

    /// Asks for a lease, unless that is under way. Its end is to be [told](Self::ended).
    pub(super) fn ask(
        &mut self,
        Ask { key, owner }: Ask,
    ) -> Option<impl Future<Output = (LeaseKey, AskEnd)> + Send + 'static> {
        let request = Request::default();
        let Request { stop, abandon } = request.clone();
        if self.open.insert(key.clone(), request).is_some() {
            return None;
        }
        let (side, scanner) = (Arc::clone(&self.side), self.scanner.clone());
        Some(async move {
            let saw = |row: &Lease| {
                // A row that finds no room is read again soon.
                drop(scanner.try_send(FromHolder::Saw { row: Box::new(row.clone()) }));
            };
            let asking = asker::run(side, (key.clone(), owner), stop, saw);
            tokio::select! {
                biased;
                () = abandon.cancelled() => (key, AskEnd::Withdrawn),
                end = asking => (key, end),
            }
        })
    }

    /// A request has ended. One that came to nothing is not made again for an expiry; should the lease
    /// become free, it may be taken.
    pub(super) fn ended(&mut self, key: &LeaseKey, end: &AskEnd, now: Moment) {
        self.open.remove(key);
        if let AskEnd::Refused(reason) = end {
            self.refused.begin(key.clone(), now + self.side.config.lease.expiry);
            self.side.events.emit(&Event::HandOverEnded { key: key.clone(), reason });
        }
    }

    /// Ends a request for a lease whose owner died: from here on the take alone counts.
    pub(super) fn abandon(&self, key: &LeaseKey) {
        if let Some(request) = self.open.get(key) {
            request.abandon.cancel();
        }
    }

    /// Ends all requests, and leaves nothing of them behind.
    pub(super) fn stop(&self) {
        for request in self.open.values() {
            request.stop.cancel();
        }
    }

    /// What is asked for.
    pub(super) fn open(&self) -> BTreeSet<LeaseKey> {
        self.open.keys().cloned().collect()
    }

    /// What was asked for in vain, and is not asked for now.
    pub(super) fn refused(&self, now: Moment) -> BTreeSet<LeaseKey> {
        self.refused.keys(now)
    }

    /// When something may be asked for again.
    pub(super) fn next_chance(&self, now: Moment) -> Option<Moment> {
        self.refused.next_end(now)
    }

    /// Forgets what was long ago.
    pub(super) fn prune(&mut self, now: Moment) {
        self.refused.prune(now);
    }

    /// Whether no request is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
