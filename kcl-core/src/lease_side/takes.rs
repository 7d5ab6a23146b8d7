//! Takes leases: the takes that wait, those in flight, and the leases left to other workers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::consumer::backoff::Backoff;
use kcl_proto::fleet::balance::Take;
use kcl_proto::fleet::cooldown::Cooldowns;
use kcl_proto::lease::write::{LeaseWrite, Progress, WriteKind};
use kcl_proto::model::{
    Checkpoint, Conditional, Lease, LeaseCounter, LeaseEnd, LeaseKey, Moment, Timestamp,
};
use tokio::time::sleep;

use crate::backend::LeaseStoreError;
use crate::lease_side::lease_calls::MOVES_MAX;
use crate::lease_side::shared::Shared;

/// The pause before a take whose parents could not be read is made again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a take of unknown outcome counts as made if no scan shows the row.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// The takes of this worker.
#[derive(Debug)]
pub(super) struct Takes {
    shared: Arc<Shared>,
    /// The service's time when this worker started.
    started_at: Timestamp,
    /// What to take next, best first.
    waiting: VecDeque<Take>,
    /// What to take instead, in this order, for each take that is lost.
    alternatives: VecDeque<Take>,
    in_flight: BTreeSet<LeaseKey>,
    /// How many were lost since the last scan ended.
    lost: usize,
    /// Takes that may have been made, and since when: a scan that begins later shows it.
    unknown: BTreeMap<LeaseKey, Moment>,
    /// The counters that takes of unknown outcome require. Such a take may be made, however late,
    /// until the row has another counter.
    may_land: BTreeMap<LeaseKey, LeaseCounter>,
    /// Leases that other workers may take first.
    cooldowns: Cooldowns,
}

/// What the counter that a take sets must exceed.
#[derive(Debug, Default)]
pub(super) struct Floor {
    pub(super) counter: LeaseCounter,
    /// Parents whose counters are unknown: their rows are read first.
    pub(super) unproven: Vec<LeaseKey>,
}

impl Floor {
    /// Reads what is unknown. Returns the counter.
    async fn read(self, shared: &Shared) -> Result<LeaseCounter, LeaseStoreError> {
        let mut floor = self.counter;
        for parent in &self.unproven {
            let row = shared.calls.read_moving(parent).await?;
            floor = floor.max(row.map(|row| row.counter).unwrap_or_default());
        }
        Ok(floor)
    }
}

/// How a take ended.
#[derive(Debug)]
pub(super) enum TakeEnd {
    /// This worker holds the lease, from when the first copy of the write was sent.
    Held { row: Box<Lease>, sent: Moment },
    /// Another worker was first. This is the row, or `None` if it is gone.
    Lost(Option<Box<Lease>>),
    /// The table had no capacity for it.
    Throttled,
    /// A parent could not be read, so the take was not made.
    Unread,
    /// No answer within the time for which a lease so taken would be held.
    Unknown,
}

impl Takes {
    pub(super) fn new(shared: Arc<Shared>, started_at: Timestamp) -> Self {
        Self {
            shared,
            started_at,
            waiting: VecDeque::new(),
            alternatives: VecDeque::new(),
            in_flight: BTreeSet::new(),
            lost: 0,
            unknown: BTreeMap::new(),
            may_land: BTreeMap::new(),
            cooldowns: Cooldowns::default(),
        }
    }

    /// Replaces what to take next, and what instead.
    pub(super) fn plan(&mut self, next: Vec<Take>, alternatives: Vec<Take>) {
        self.waiting = next.into();
        self.alternatives = alternatives.into();
    }

    /// Removes and returns what to take next, or `None` if nothing waits or enough is in flight.
    pub(super) fn next(&mut self) -> Option<Take> {
        if self.in_flight.len() < MOVES_MAX { self.waiting.pop_front() } else { None }
    }

    /// Returns the job of a new take, which sets a counter above `floor` and stores `adopt`, or
    /// `None` if one for that lease is in flight.
    pub(super) fn begin(
        &mut self,
        take: Take,
        floor: Floor,
        adopt: Option<Progress>,
    ) -> Option<impl Future<Output = (Take, TakeEnd)> + Send + 'static> {
        if !self.in_flight.insert(take.key.clone()) {
            return None;
        }
        // Each owner, and each start after a crash, would skip what came since the last.
        let start_at = (take.checkpoint == Checkpoint::Latest).then_some(self.started_at);
        let shared = Arc::clone(&self.shared);
        let number = shared.write_numbers().draw();
        Some(async move {
            let key = take.key.clone();
            let floor = match floor.read(&shared).await {
                Ok(floor) => floor,
                Err(error) => {
                    shared.events.lease_call_failed(&key, "read a parent's lease", &error, None);
                    let is_throttled = error.is_throttled();
                    let end = if is_throttled { TakeEnd::Throttled } else { TakeEnd::Unread };
                    return (take, end);
                }
            };
            let kind = WriteKind::Take {
                counter: take.counter,
                last_write: take.last_write.clone().into(),
                floor,
                expiry: shared.config.lease.expiry,
                owner_switches: take.owner_switches,
                start_at,
                lives_by: shared.config.lease.liveness,
                adopt: adopt.map(Box::new),
            };
            let write = LeaseWrite { key, worker: shared.me.clone(), number, kind };
            (take, run(&shared, &write).await)
        })
    }

    /// Notes that a take has ended. An alternative replaces one that was lost.
    pub(super) fn ended(&mut self, take: &Take, end: &TakeEnd, now: Moment) {
        let key = &take.key;
        self.in_flight.remove(key);
        match end {
            TakeEnd::Held { .. } => {}
            TakeEnd::Unread => self.cooldowns.begin(key.clone(), now + READ_AGAIN_AFTER),
            TakeEnd::Lost(_) => {
                self.lost = self.lost.saturating_add(1);
                self.waiting.extend(self.alternatives.pop_front());
            }
            TakeEnd::Throttled => {
                self.waiting.clear();
                self.shared.suffered(now);
            }
            TakeEnd::Unknown => {
                self.unknown.insert(key.clone(), now);
                self.may_land.insert(key.clone(), take.counter);
            }
        }
    }

    /// Notes that a scan which began at `began` has ended.
    pub(super) fn scan_ended(&mut self, began: Moment, now: Moment) {
        self.unknown.retain(|_, since| *since >= began);
        self.lost = 0;
        self.cooldowns.prune(now);
    }

    /// Forgets takes of unknown outcome by the counters that rows have now.
    pub(super) fn settle(
        &mut self,
        counter: impl Fn(&LeaseKey) -> Option<LeaseCounter>,
        now: Moment,
    ) {
        self.may_land.retain(|key, required| counter(key).is_none_or(|now| now <= *required));
        let may_land = &self.may_land;
        self.unknown.retain(|key, since| may_land.contains_key(key) && now < *since + UNKNOWN_FOR);
    }

    /// The leases whose rows may come to name this worker, however late.
    pub(super) fn may_land(&self) -> impl Iterator<Item = &LeaseKey> {
        self.may_land.keys()
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

    /// The leases whose takes are in flight, or may have been made.
    pub(super) fn taking(&self) -> BTreeSet<LeaseKey> {
        self.in_flight.iter().chain(self.unknown.keys()).cloned().collect()
    }

    /// Whether a take of the lease is in flight, or may have been made.
    pub(super) fn is_taking(&self, key: &LeaseKey) -> bool {
        self.in_flight.contains(key) || self.unknown.contains_key(key)
    }

    /// The leases that are left to other workers.
    pub(super) fn cooling(&self, now: Moment) -> BTreeSet<LeaseKey> {
        self.cooldowns.keys(now)
    }

    /// When the next lease may be taken again.
    pub(super) fn next_chance(&self, now: Moment) -> Option<Moment> {
        self.cooldowns.next_end(now)
    }

    /// How many takes were lost since the last scan ended.
    pub(super) const fn lost(&self) -> usize {
        self.lost
    }

    /// Whether takes wait for room.
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
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
    let mut may_be_made = false;
    for pause in Backoff::TAKE.pauses() {
        match shared.calls.write_moving(write).await {
            Ok(Conditional::Applied(row)) => return TakeEnd::Held { row: Box::new(row), sent },
            Ok(Conditional::Lost { found: Some(row) }) if write.made(&row) => {
                return TakeEnd::Held { row: Box::new(as_taken(row, shared)), sent };
            }
            Ok(Conditional::Lost { found }) => return TakeEnd::Lost(found.map(Box::new)),
            Err(error) if error.is_throttled() && !may_be_made => {
                shared.events.lease_call_failed(&write.key, "take a lease", &error, None);
                return TakeEnd::Throttled;
            }
            Err(error) => {
                let is_over = shared.clock.now().since(sent) >= time;
                let retry_in = (!is_over).then_some(pause);
                shared.events.lease_call_failed(&write.key, "take a lease", &error, retry_in);
                if is_over {
                    break;
                }
                may_be_made = true;
                sleep(pause).await;
            }
        }
    }
    TakeEnd::Unknown
}

/// The row as the take left it. The holder learns from its next write if another worker has asked
/// for the lease since.
fn as_taken(mut row: Lease, shared: &Shared) -> Lease {
    row.owner = Some(shared.me.clone());
    row.checkpoint_owner = None;
    row
}
