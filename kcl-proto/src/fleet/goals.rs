//! How many leases each worker should have, and how the workers divide the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::WorkerId;

/// How many leases each present worker has, and how many it should have.
pub(super) struct Goals<'a> {
    of: BTreeMap<&'a WorkerId, Goal>,
    /// The least and the most leases that a worker should have. They differ by at most one.
    pub(super) fair_share: (usize, usize),
}

#[derive(Clone, Copy, Default)]
struct Goal {
    count: usize,
    share: usize,
}

impl<'a> Goals<'a> {
    /// Divides `total` leases among the workers in `counts`, by how many each one has.
    ///
    /// The shares add up to the total. The larger ones go to the workers that have more, so that
    /// fewer leases move.
    pub(super) fn of(total: usize, counts: &BTreeMap<&'a WorkerId, usize>) -> Self {
        let workers = counts.len().max(1);
        let (floor, larger) = (total / workers, total % workers);
        let mut order: Vec<_> = counts.iter().map(|(worker, count)| (*worker, *count)).collect();
        order.sort_by_key(|(worker, count)| (Reverse(*count), *worker));
        let goal = |(place, (worker, count)): (usize, (&'a WorkerId, usize))| {
            (worker, Goal { count, share: floor + usize::from(place < larger) })
        };
        let of = order.into_iter().enumerate().map(goal).collect();
        Self { of, fair_share: (floor, floor + usize::from(larger > 0)) }
    }

    fn get(&self, worker: &WorkerId) -> Goal {
        self.of.get(worker).copied().unwrap_or_default()
    }

    pub(super) fn count(&self, worker: &WorkerId) -> usize {
        self.get(worker).count
    }

    /// Returns how many leases `worker` lacks.
    pub(super) fn short(&self, worker: &WorkerId) -> usize {
        let goal = self.get(worker);
        goal.share.saturating_sub(goal.count)
    }

    /// Returns how many leases `worker` has above its share.
    pub(super) fn surplus(&self, worker: &WorkerId) -> usize {
        let goal = self.get(worker);
        goal.count.saturating_sub(goal.share)
    }

    /// Returns how many workers divide leases that are left over: `me`, and those that have their
    /// share. The others left these leases untaken, so they are full.
    pub(super) fn takers(&self, me: &WorkerId) -> usize {
        let others =
            self.of.iter().filter(|(worker, goal)| **worker != me && goal.count >= goal.share);
        others.count() + 1
    }

    /// Returns which of `slots` surplus leases are for `me` if all workers that are short divide
    /// them: the first, and the one after the last.
    pub(super) fn part_of(&self, me: &WorkerId, slots: usize) -> (usize, usize) {
        let before: usize =
            self.of.range::<WorkerId, _>(..me).map(|(worker, _)| self.short(worker)).sum();
        let all: usize = self.of.keys().map(|worker| self.short(worker)).sum();
        let cut = |short: usize| short.saturating_mul(slots) / all.max(1);
        (cut(before), cut(before + self.short(me)))
    }
}
