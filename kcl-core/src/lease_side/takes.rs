//! Takes leases: the takes in flight, their alternatives, and the leases left to other workers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::fleet::balance::Take;
use kcl_proto::fleet::cooldown::Cooldowns;
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{Conditional, Lease, LeaseEnd, LeaseKey, Moment};
use tokio::time::sleep;

use crate::lease_side::shared::Shared;

/// The pause before a take of unknown outcome is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(200);

/// The takes of this worker.
#[derive(Debug)]
pub(super) struct Takes {
    shared: Arc<Shared>,
    in_flight: BTreeSet<LeaseKey>,
    /// What to take instead, in this order, for each take that is lost.
    alternatives: VecDeque<Take>,
    /// Leases that other workers may take first.
    cooldowns: Cooldowns,
}

/// How a take ended.
#[derive(Debug)]
pub(super) enum TakeEnd {
    /// This worker holds the lease, from when the first copy of the write was sent.
    Held { row: Box<Lease>, sent: Moment },
    /// Another worker was first. This is the row, or `None` if it is gone.
    Lost(Option<Box<Lease>>),
    /// No answer within the time for which a lease so taken would be held.
    Unknown,
}

impl Takes {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (in_flight, alternatives) = (BTreeSet::new(), VecDeque::new());
        Self { shared, in_flight, alternatives, cooldowns: Cooldowns::default() }
    }

    /// Returns the job of a new take, or `None` if one for that lease is in flight.
    pub(super) fn begin(
        &mut self,
        take: Take,
    ) -> Option<impl Future<Output = (Take, TakeEnd)> + Send + 'static> {
        if !self.in_flight.insert(take.key.clone()) {
            return None;
        }
        let write = LeaseWrite {
            key: take.key.clone(),
            worker: self.shared.me.clone(),
            number: self.shared.write_numbers().draw(),
            kind: WriteKind::Take {
                counter: take.counter,
                expiry: self.shared.config.lease.expiry,
                owner_switches: take.owner_switches,
            },
        };
        let shared = Arc::clone(&self.shared);
        Some(async move {
            let end = run(&shared, &write).await;
            (take, end)
        })
    }

    /// Notes that a take has ended.
    pub(super) fn ended(&mut self, key: &LeaseKey) {
        self.in_flight.remove(key);
    }

    /// Replaces the alternatives.
    pub(super) fn set_alternatives(&mut self, alternatives: Vec<Take>) {
        self.alternatives = alternatives.into();
    }

    /// Removes and returns the next alternative.
    pub(super) fn next_alternative(&mut self) -> Option<Take> {
        self.alternatives.pop_front()
    }

    /// Leaves a lease to other workers for a while if its ownership ended because this worker could
    /// not process the shard.
    pub(super) fn cool_down(&mut self, key: LeaseKey, how: LeaseEnd, now: Moment) {
        match how {
            LeaseEnd::Released | LeaseEnd::Expired => {
                self.cooldowns.begin(key, now + self.shared.config.lease.expiry / 3);
            }
            LeaseEnd::HandedOver | LeaseEnd::ShardEnded | LeaseEnd::Lost | LeaseEnd::Kept => {
                self.cooldowns.begin(key, now);
            }
        }
    }

    /// The leases that must not be taken: in flight, or left to other workers.
    pub(super) fn blocked(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let mut blocked = self.cooldowns.keys(now);
        blocked.extend(self.in_flight.iter().cloned());
        blocked
    }

    /// When the next lease may be taken again.
    pub(super) fn next_chance(&self, now: Moment) -> Option<Moment> {
        self.cooldowns.next_end(now)
    }

    /// Drops cooldowns that have ended.
    pub(super) fn prune(&mut self, now: Moment) {
        self.cooldowns.prune(now);
    }

    /// Whether no take is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }
}

/// Makes a take. The identical write is sent again while its outcome is unknown.
async fn run(shared: &Shared, write: &LeaseWrite) -> TakeEnd {
    let sent = shared.clock.now();
    let time = shared.config.lease.expiry / 10 * 9;
    loop {
        match shared.store.write(write).await {
            Ok(Conditional::Applied(row)) => return TakeEnd::Held { row: Box::new(row), sent },
            Ok(Conditional::Lost { found: Some(row) }) if write.made(&row) => {
                return TakeEnd::Held { row: Box::new(as_taken(row, shared)), sent };
            }
            Ok(Conditional::Lost { found }) => return TakeEnd::Lost(found.map(Box::new)),
            Err(error) => {
                let is_over = shared.clock.now().since(sent) >= time;
                let retry_in = (!is_over).then_some(RESEND_AFTER);
                shared.events.call_failed("take a lease", &error, retry_in);
                if is_over {
                    return TakeEnd::Unknown;
                }
                sleep(RESEND_AFTER).await;
            }
        }
    }
}

/// The row as the take left it. The holder learns from its next write if another worker has asked
/// for the lease since.
fn as_taken(mut row: Lease, shared: &Shared) -> Lease {
    row.owner = Some(shared.me.clone());
    row.checkpoint_owner = None;
    row
}
