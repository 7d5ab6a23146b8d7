//! Which leases a worker takes and which it asks for, so that all workers hold about the same
//! number.
//!
//! Every worker computes the same goals from its own scan: how many leases each present worker
//! should hold. The goals add up to the number of leases and differ by at most one; the workers
//! that hold more get the larger ones. A worker short of its goal takes free leases, then asks for
//! surplus leases. The workers that are short divide the surplus, so that they do not ask for the
//! same leases. Each move goes to a worker with at least two leases less: moves end, and none is
//! undone.
//!
//! A scan is not a snapshot. Plans of different workers may disagree for a while; conditional
//! writes protect the leases, and later plans correct the counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::candidate::{Candidate, Claim, Part};
use crate::fleet::goals::Goals;
use crate::fleet::workers::Workers;
use crate::model::{Checkpoint, LeaseCounter, LeaseKey, TakeReason, WorkerId, WriteStamp};

/// What a worker knows about its fleet.
#[derive(Clone, Copy, Debug)]
pub struct Fleet<'a> {
    /// The workers.
    pub workers: Workers<'a>,
    /// The leases that can be worked on, each once, in the order of their keys. Only these count.
    pub candidates: &'a [Candidate<'a>],
    /// How many leases the planning worker holds or takes right now, candidates or not.
    pub held: usize,
    /// How many of its requests are open, for candidates or not.
    pub requests: usize,
}

/// How much a worker may hold and request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most leases that it holds, or `None` for no maximum.
    pub leases_max: Option<usize>,
    /// The most requests that it has open.
    pub requests_max: usize,
}

/// What to take and what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a plan does nothing by itself"]
pub struct BalancePlan {
    /// The leases to take now, best first. May contain a lease that this worker has asked for and
    /// whose holder is dead: that request is over.
    pub take: Vec<Take>,
    /// The leases to take instead, in this order, one for each take that loses its race.
    pub alternatives: Vec<Take>,
    /// The leases to ask for now.
    pub ask: Vec<Ask>,
    /// The least and the most leases that a worker should have.
    pub fair_share: (usize, usize),
    /// How many leases count for this worker before it takes any: held or arriving, not leaving.
    pub mine: usize,
}

/// A lease to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The lease's key.
    pub key: LeaseKey,
    /// The counter that the row had when it was scanned.
    pub counter: LeaseCounter,
    /// The last write that the row had when it was scanned.
    pub last_write: Option<WriteStamp>,
    /// The number of ownership changes once the lease is taken.
    pub owner_switches: u64,
    /// The checkpoint that the row had when it was scanned.
    pub checkpoint: Checkpoint,
    /// Why it can be taken.
    pub why: TakeReason,
}

/// A lease to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The lease's key.
    pub key: LeaseKey,
    /// The owner to ask.
    pub owner: WorkerId,
}

/// Plans what a worker takes and what it asks for. Takes `O(n log n)` for `n` candidates.
pub fn plan(fleet: &Fleet<'_>, limits: &Limits) -> BalancePlan {
    let me = fleet.workers.me;
    let ledger = Ledger::of(fleet);
    let goals = Goals::of(fleet.candidates.len(), &ledger.counts);
    let (arrived, room) = ledger.room(fleet, limits);
    let short = goals.short(me).min(room);

    let mut free = ledger.free.clone();
    free.sort_by_cached_key(|free| (rank(me, &free.lease.key), &free.lease.key));
    let (for_share, rest) = free.split_at(short.min(free.len()));
    let (leftover, rest): (Vec<&Candidate<'_>>, Vec<&Candidate<'_>>) =
        rest.iter().partition(|free| free.state.is_leftover);
    let extra = leftover.len().div_ceil(goals.takers(me)).min(room - for_share.len());
    let (above_share, other_leftover) = leftover.split_at(extra.min(leftover.len()));

    let take = |candidate: &&Candidate<'_>| take(candidate, me);
    let other_free = if short > 0 { rest } else { Vec::new() };
    let requests_left = limits.requests_max.saturating_sub(fleet.requests);
    let asks = (short - for_share.len()).min(requests_left);
    BalancePlan {
        take: [&arrived, for_share, above_share].into_iter().flatten().map(take).collect(),
        alternatives: other_leftover.iter().chain(&other_free).map(take).collect(),
        ask: asks_for(me, &ledger, &goals, asks),
        fair_share: goals.fair_share,
        mine: goals.count(me),
    }
}

/// Plans what a worker takes and what it asks for if lookouts plan for the fleet: what was handed
/// over to it, and the leases that it is `assigned`.
pub fn follow(fleet: &Fleet<'_>, limits: &Limits, assigned: &BTreeSet<LeaseKey>) -> BalancePlan {
    let me = fleet.workers.me;
    let ledger = Ledger::of(fleet);
    let goals = Goals::of(fleet.candidates.len(), &ledger.counts);
    let (arrived, mut room) = ledger.room(fleet, limits);
    let mut requests_left = limits.requests_max.saturating_sub(fleet.requests);
    let mut plan = BalancePlan {
        take: arrived.iter().map(|candidate| take(candidate, me)).collect(),
        alternatives: Vec::new(),
        ask: Vec::new(),
        fair_share: goals.fair_share,
        mine: goals.count(me),
    };
    for candidate in fleet.candidates.iter().filter(|it| assigned.contains(&it.lease.key)) {
        let owner = candidate.lease.owner.as_ref();
        let is_takeable = match candidate.claim(fleet.workers) {
            Claim::Free => candidate.may_be_taken(),
            Claim::Askable(_) | Claim::Waiting => false,
            Claim::Mine | Claim::Arrived | Claim::Theirs(_) => continue,
        };
        if room == 0 {
            break;
        }
        if is_takeable {
            room -= 1;
            plan.take.push(take(candidate, me));
        } else if let Some(owner) = owner
            && candidate.lease.checkpoint_owner.is_none()
            && candidate.may_be_asked_for()
            && requests_left > 0
        {
            (room, requests_left) = (room - 1, requests_left - 1);
            plan.ask.push(Ask { key: candidate.lease.key.clone(), owner: owner.clone() });
        }
    }
    plan
}

/// All candidates, by the worker that they count for.
struct Ledger<'a> {
    /// How many leases each present worker has.
    counts: BTreeMap<&'a WorkerId, usize>,
    /// What each other present worker can be asked for.
    askable: BTreeMap<&'a WorkerId, Vec<&'a Candidate<'a>>>,
    /// How many count for this worker although it neither holds, takes nor requests them yet.
    arriving: usize,
    /// The leases that count for this worker and that it has only to take.
    arrived: Vec<&'a Candidate<'a>>,
    /// The leases that any worker may take.
    free: Vec<&'a Candidate<'a>>,
}

impl<'a> Ledger<'a> {
    fn of(fleet: &Fleet<'a>) -> Self {
        let mut ledger = Self {
            counts: fleet.workers.iter().map(|worker| (worker, 0)).collect(),
            askable: BTreeMap::new(),
            arriving: 0,
            arrived: Vec::new(),
            free: Vec::new(),
        };
        for candidate in fleet.candidates {
            ledger.enter(candidate, fleet.workers);
        }
        ledger
    }

    fn enter(&mut self, candidate: &'a Candidate<'a>, workers: Workers<'a>) {
        let takeable = candidate.may_be_taken().then_some(candidate);
        match candidate.claim(workers) {
            Claim::Mine => {
                self.count(workers.me);
                self.arriving += usize::from(candidate.state.part == Part::None);
            }
            Claim::Arrived => {
                self.count(workers.me);
                self.arriving += usize::from(candidate.state.part == Part::None);
                self.arrived.extend(takeable);
            }
            Claim::Askable(owner) => {
                self.count(owner);
                self.askable.entry(owner).or_default().push(candidate);
            }
            Claim::Theirs(worker) => self.count(worker),
            Claim::Free => self.free.extend(takeable),
            Claim::Waiting => {}
        }
    }

    /// Returns the leases that this worker has only to take, as far as it may, and for how many
    /// others it has room.
    fn room(&self, fleet: &Fleet<'a>, limits: &Limits) -> (Vec<&'a Candidate<'a>>, usize) {
        let beside = |occupied: usize| {
            limits.leases_max.map_or(usize::MAX, |max| max.saturating_sub(occupied))
        };
        let occupied = fleet.held + fleet.requests;
        (self.arrived_within(beside(occupied)), beside(occupied + self.arriving))
    }

    /// The leases that this worker has only to take, as far as it may. Those that it has asked for
    /// count as requests. It may have taken others since it lost one whose row still names it.
    fn arrived_within(&self, room: usize) -> Vec<&'a Candidate<'a>> {
        let (asked, own): (Vec<_>, Vec<_>) =
            self.arrived.iter().copied().partition(|arrived| arrived.state.part == Part::Requests);
        asked.into_iter().chain(own.into_iter().take(room)).collect()
    }

    fn count(&mut self, worker: &WorkerId) {
        if let Some(count) = self.counts.get_mut(worker) {
            *count += 1;
        }
    }
}

/// Returns the first `asks_max` requests for `me`'s part of the surplus.
fn asks_for(me: &WorkerId, ledger: &Ledger<'_>, goals: &Goals<'_>, asks_max: usize) -> Vec<Ask> {
    if asks_max == 0 {
        return Vec::new();
    }
    // One lease of each owner, then a second one of each: several owners drain at once.
    let mut slots: Vec<(usize, &WorkerId, &Candidate<'_>)> = Vec::new();
    let mut substitutes: BTreeMap<&WorkerId, Vec<&Candidate<'_>>> = BTreeMap::new();
    for (owner, leases) in &ledger.askable {
        let mut leases = leases.clone();
        leases.sort_by_cached_key(|asked| (rank(owner, &asked.lease.key), &asked.lease.key));
        let rest = leases.split_off(goals.surplus(owner).min(leases.len()));
        slots.extend(leases.into_iter().enumerate().map(|(turn, lease)| (turn, *owner, lease)));
        substitutes.insert(owner, rest);
    }
    slots.sort_by_key(|(turn, owner, _)| (*turn, *owner));
    let (from, to) = goals.part_of(me, slots.len());
    let pick = |(_, owner, candidate): (usize, &WorkerId, &Candidate<'_>)| {
        let is_allowed = |candidate: &&Candidate<'_>| candidate.may_be_asked_for();
        let mut substitute = || {
            let rest = substitutes.get_mut(owner)?;
            std::iter::from_fn(|| rest.pop()).find(is_allowed)
        };
        let asked = Some(candidate).filter(is_allowed).or_else(&mut substitute)?;
        Some(Ask { key: asked.lease.key.clone(), owner: owner.clone() })
    };
    let part = slots.into_iter().take(to).skip(from);
    part.filter_map(pick).take(asks_max).collect()
}

fn take(candidate: &Candidate<'_>, me: &WorkerId) -> Take {
    Take {
        key: candidate.lease.key.clone(),
        counter: candidate.lease.counter,
        last_write: candidate.lease.last_write.clone(),
        owner_switches: candidate.owner_switches_after_take(me),
        checkpoint: candidate.lease.checkpoint,
        why: candidate.take_reason(me),
    }
}

/// Returns a number that orders leases differently for each worker: FNV-1a, mixed as by
/// `SplitMix64`.
pub(super) fn rank(worker: &WorkerId, key: &LeaseKey) -> u64 {
    let text = worker.as_str().bytes().chain([0]).chain(key.as_str().bytes());
    let hash = text.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
