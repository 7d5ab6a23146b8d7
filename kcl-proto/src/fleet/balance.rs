//! Who takes which lease, and who asks whom for one, so that all workers hold about the same number.
//!
//! Every worker computes the same goal from its own scan: how many leases each present worker shall
//! hold. The goals add up to the number of leases, they differ by at most one, and those who hold more
//! keep the larger ones. A worker short of its goal takes free leases, then asks for surplus
//! ones; the surplus is divided among all who are short, so that they do not ask for the same. Each such
//! move is from a worker to one with at least two leases less: moves end, and none is undone.
//!
//! A scan is no snapshot. Plans of different workers may disagree for a while; conditional writes
//! protect, and the next plans make up for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Lease, LeaseCounter, LeaseKey, TakeReason, WorkerId};

/// What a worker knows of its fleet.
#[derive(Clone, Copy, Debug)]
pub struct Fleet<'a> {
    /// The worker that plans.
    pub me: &'a WorkerId,
    /// The rows of one scan.
    pub leases: &'a BTreeMap<LeaseKey, Lease>,
    /// Which of them can be worked on: only these count.
    pub workable: &'a BTreeSet<LeaseKey>,
    /// Which of them are expired, and for how long they have been silent.
    pub expired: &'a BTreeMap<LeaseKey, Duration>,
    /// The workers that are there. `me` always counts as one of them.
    pub present: &'a BTreeSet<WorkerId>,
    /// What `me` holds, whatever the scan says.
    pub held: &'a BTreeSet<LeaseKey>,
    /// What `me` must neither take nor ask for now.
    pub blocked: &'a BTreeSet<LeaseKey>,
    /// What `me` must not ask for now, since it was refused: it may take it.
    pub refused: &'a BTreeSet<LeaseKey>,
    /// What `me` has asked for: the requests that are still open.
    pub asked: &'a BTreeSet<LeaseKey>,
    /// What has been free for more than one scan.
    pub leftover: &'a BTreeSet<LeaseKey>,
}

/// What a worker is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many leases it holds at most.
    pub leases_max: Option<usize>,
    /// How many requests it has open at most.
    pub hand_overs_max: usize,
}

/// What to take and what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a plan does nothing by itself"]
pub struct BalancePlan {
    /// To be taken now, the best first. May contain leases of `asked` whose holder is dead: that
    /// request is over.
    pub take: Vec<Take>,
    /// To be taken instead, in this order, for each take that is lost.
    pub spare: Vec<Take>,
    /// To be asked for now.
    pub ask: Vec<Ask>,
    /// How many leases each worker shall have: at least, at most.
    pub fair_share: (usize, usize),
    /// How many count as this worker's before it takes anything: held or arriving, not leaving.
    pub mine: usize,
}

/// A lease to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Which.
    pub key: LeaseKey,
    /// Its counter as sighted.
    pub counter: LeaseCounter,
    /// Its number of ownership changes, once it is taken.
    pub owner_switches: u64,
    /// Why it can be taken.
    pub why: TakeReason,
}

/// A lease to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which.
    pub key: LeaseKey,
    /// Who owns it.
    pub owner: WorkerId,
}

/// Plans what a worker takes and asks for.
pub fn plan(fleet: &Fleet<'_>, limits: &Limits) -> BalancePlan {
    let ledger = Ledger::of(fleet);
    let goals = Goals::of(&ledger);
    let mine = goals.held(fleet.me);
    let occupied = fleet.held.len() + ledger.arriving;
    let room = limits.leases_max.map_or(usize::MAX, |max| max.saturating_sub(occupied));
    let wanted = goals.short(fleet.me).min(room);

    let mut free = ledger.free.clone();
    free.sort_by_cached_key(|lease| (rank(fleet.me, &lease.key), &lease.key));
    let (for_share, rest) = free.split_at(wanted.min(free.len()));
    let (leftover, rest): (Vec<&Lease>, Vec<&Lease>) =
        rest.iter().partition(|lease| fleet.leftover.contains(&lease.key));
    let extra = leftover.len().div_ceil(goals.takers(fleet.me)).min(room - for_share.len());
    let (above_share, spare_leftover) = leftover.split_at(extra.min(leftover.len()));

    let take = |lease: &&Lease| take(fleet, lease);
    let spare_rest = if wanted > 0 { rest } else { Vec::new() };
    let requests_max = limits.hand_overs_max.saturating_sub(fleet.asked.len());
    let asks = (wanted - for_share.len()).min(requests_max);
    BalancePlan {
        take: [&ledger.arrived, for_share, above_share].into_iter().flatten().map(take).collect(),
        spare: spare_leftover.iter().chain(&spare_rest).map(take).collect(),
        ask: asks_for(fleet, &ledger, &goals, asks),
        fair_share: goals.fair_share,
        mine,
    }
}

/// Whose a lease is, as far as balance is concerned.
enum Standing<'a> {
    /// Mine: held, or asked for.
    Mine,
    /// Mine, and only to be taken: it was handed over, or the holder that I asked is dead.
    Arrived,
    /// Another's, who can be asked for it.
    Askable(&'a WorkerId),
    /// Another's, or on its way there.
    Theirs(&'a WorkerId),
    /// Anybody's.
    Free,
    /// Of somebody who is absent and whose lease is not expired yet: to be waited for.
    Waiting,
}

fn standing<'a>(fleet: &Fleet<'a>, lease: &'a Lease) -> Standing<'a> {
    let is_me = |worker: &WorkerId| worker == fleet.me;
    let is_other = |worker: &WorkerId| !is_me(worker) && fleet.present.contains(worker);
    let is_expired = fleet.expired.contains_key(&lease.key);
    let (owner, outgoing) = (lease.owner.as_ref(), lease.checkpoint_owner.as_ref());
    if fleet.held.contains(&lease.key) {
        return match (owner, outgoing) {
            (Some(next), Some(outgoing)) if is_me(outgoing) && is_other(next) => {
                Standing::Theirs(next)
            }
            (Some(_) | None, _) => Standing::Mine,
        };
    }
    if fleet.asked.contains(&lease.key) {
        return if is_expired { Standing::Arrived } else { Standing::Mine };
    }
    match (owner, outgoing) {
        (None, _) => Standing::Free,
        (Some(owner), outgoing) if is_me(owner) => {
            if outgoing.is_none() || is_expired {
                Standing::Arrived
            } else {
                Standing::Mine
            }
        }
        (Some(owner), Some(_)) if is_expired => {
            // The holder is dead. Its lease belongs to who asked for it, unless that one delays.
            let is_awaited = is_other(owner) && !fleet.leftover.contains(&lease.key);
            if is_awaited { Standing::Theirs(owner) } else { Standing::Free }
        }
        (Some(_), None) if is_expired => Standing::Free,
        (Some(owner), Some(_)) if is_other(owner) => Standing::Theirs(owner),
        (Some(_), Some(outgoing)) if is_other(outgoing) => Standing::Theirs(outgoing),
        (Some(owner), None) if is_other(owner) => Standing::Askable(owner),
        (Some(_), Some(_) | None) => Standing::Waiting,
    }
}

/// All workable leases, by whose they are.
struct Ledger<'a> {
    total: usize,
    /// How many leases each present worker has.
    counts: BTreeMap<&'a WorkerId, usize>,
    /// What each other present worker can be asked for.
    askable: BTreeMap<&'a WorkerId, Vec<&'a Lease>>,
    /// Mine, and not held yet.
    arriving: usize,
    /// Mine, and to be taken at once.
    arrived: Vec<&'a Lease>,
    /// To be taken by anybody, me included.
    free: Vec<&'a Lease>,
}

impl<'a> Ledger<'a> {
    fn of(fleet: &Fleet<'a>) -> Self {
        let workers = fleet.present.iter().chain([fleet.me]);
        let mut ledger = Self {
            total: 0,
            counts: workers.map(|worker| (worker, 0)).collect(),
            askable: BTreeMap::new(),
            arriving: 0,
            arrived: Vec::new(),
            free: Vec::new(),
        };
        for lease in fleet.leases.values().filter(|lease| fleet.workable.contains(&lease.key)) {
            ledger.enter(fleet, lease);
        }
        ledger
    }

    fn enter(&mut self, fleet: &Fleet<'a>, lease: &'a Lease) {
        let is_blocked = fleet.blocked.contains(&lease.key);
        let standing = standing(fleet, lease);
        self.total += 1;
        let owner = match &standing {
            Standing::Mine | Standing::Arrived => Some(fleet.me),
            Standing::Askable(owner) | Standing::Theirs(owner) => Some(*owner),
            Standing::Free | Standing::Waiting => None,
        };
        if let Some(count) = owner.and_then(|owner| self.counts.get_mut(owner)) {
            *count += 1;
        }
        match standing {
            Standing::Mine => self.arriving += usize::from(!fleet.held.contains(&lease.key)),
            Standing::Arrived => {
                self.arriving += 1;
                self.arrived.extend((!is_blocked).then_some(lease));
            }
            Standing::Askable(owner) => self.askable.entry(owner).or_default().push(lease),
            Standing::Free => self.free.extend((!is_blocked).then_some(lease)),
            Standing::Theirs(_) | Standing::Waiting => {}
        }
    }
}

/// How many leases each present worker has, and how many it shall have.
struct Goals<'a> {
    of: BTreeMap<&'a WorkerId, Goal>,
    fair_share: (usize, usize),
}

#[derive(Clone, Copy, Default)]
struct Goal {
    held: usize,
    shall: usize,
}

impl<'a> Goals<'a> {
    /// Fair shares that add up to the total; the larger ones go to who holds more, to move less.
    fn of(ledger: &Ledger<'a>) -> Self {
        let workers = ledger.counts.len().max(1);
        let (floor, larger) = (ledger.total / workers, ledger.total % workers);
        let mut order: Vec<_> = ledger.counts.iter().collect();
        order.sort_by_key(|(worker, held)| (Reverse(**held), **worker));
        let goal = |(place, (worker, held)): (usize, (&&'a WorkerId, &usize))| {
            (*worker, Goal { held: *held, shall: floor + usize::from(place < larger) })
        };
        let of = order.into_iter().enumerate().map(goal).collect();
        Self { of, fair_share: (floor, floor + usize::from(larger > 0)) }
    }

    fn get(&self, worker: &WorkerId) -> Goal {
        self.of.get(worker).copied().unwrap_or_default()
    }

    fn held(&self, worker: &WorkerId) -> usize {
        self.get(worker).held
    }

    fn short(&self, worker: &WorkerId) -> usize {
        let goal = self.get(worker);
        goal.shall.saturating_sub(goal.held)
    }

    fn surplus(&self, worker: &WorkerId) -> usize {
        let goal = self.get(worker);
        goal.held.saturating_sub(goal.shall)
    }

    /// How many workers divide what is left over: those who have their share, and `me`. The others
    /// had their chance: they are full.
    fn takers(&self, me: &WorkerId) -> usize {
        let others =
            self.of.iter().filter(|(worker, goal)| **worker != me && goal.held >= goal.shall);
        others.count() + 1
    }

    /// Which of `slots` surplus leases are for `me`, if all who are short divide them.
    fn part_of(&self, me: &WorkerId, slots: usize) -> (usize, usize) {
        let before: usize =
            self.of.range::<WorkerId, _>(..me).map(|(worker, _)| self.short(worker)).sum();
        let all: usize = self.of.keys().map(|worker| self.short(worker)).sum();
        let cut = |short: usize| short.saturating_mul(slots) / all.max(1);
        (cut(before), cut(before + self.short(me)))
    }
}

/// The first `asks_max` requests for this worker's part of the surplus.
fn asks_for(
    fleet: &Fleet<'_>,
    ledger: &Ledger<'_>,
    goals: &Goals<'_>,
    asks_max: usize,
) -> Vec<Ask> {
    if asks_max == 0 {
        return Vec::new();
    }
    // One lease of each owner, then a second one of each: several owners drain at once.
    let mut slots: Vec<(usize, &WorkerId, &Lease)> = Vec::new();
    let mut instead: BTreeMap<&WorkerId, Vec<&Lease>> = BTreeMap::new();
    for (owner, leases) in &ledger.askable {
        let mut leases = leases.clone();
        leases.sort_by_cached_key(|lease| (rank(owner, &lease.key), &lease.key));
        let rest = leases.split_off(goals.surplus(owner).min(leases.len()));
        slots.extend(leases.into_iter().enumerate().map(|(turn, lease)| (turn, *owner, lease)));
        instead.insert(owner, rest);
    }
    slots.sort_by_key(|(turn, owner, _)| (*turn, *owner));
    let (from, to) = goals.part_of(fleet.me, slots.len());
    let may_ask =
        |lease: &&Lease| !fleet.blocked.contains(&lease.key) && !fleet.refused.contains(&lease.key);
    let pick = |(_, owner, lease): (usize, &WorkerId, &Lease)| {
        let mut other = || {
            let rest = instead.get_mut(owner)?;
            std::iter::from_fn(|| rest.pop()).find(may_ask)
        };
        let lease = Some(lease).filter(may_ask).or_else(&mut other)?;
        Some(Ask { key: lease.key.clone(), owner: owner.clone() })
    };
    let part = slots.into_iter().take(to).skip(from);
    part.filter_map(pick).take(asks_max).collect()
}

fn take(fleet: &Fleet<'_>, lease: &Lease) -> Take {
    let is_handed_over = lease.owner.as_ref() == Some(fleet.me) && lease.checkpoint_owner.is_none();
    let silent_for = fleet.expired.get(&lease.key);
    let why = match (&lease.owner, silent_for) {
        (None, _) => TakeReason::Unowned,
        (Some(_), Some(silent_for)) if !is_handed_over => {
            TakeReason::Expired { silent_for: *silent_for }
        }
        (Some(_), Some(_) | None) => TakeReason::HandedOver,
    };
    let former = if is_handed_over {
        lease.last_write.as_ref().map(|stamp| &stamp.worker)
    } else {
        lease.holder()
    };
    let switches = u64::from(former.is_some_and(|former| former != fleet.me));
    Take {
        key: lease.key.clone(),
        counter: lease.counter,
        owner_switches: lease.owner_switches.saturating_add(switches),
        why,
    }
}

/// A number that orders leases differently for every worker: FNV-1a, mixed as `SplitMix64` does.
fn rank(worker: &WorkerId, key: &LeaseKey) -> u64 {
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
