//! The calls of a fleet to its table: which are made in vain, and what scans cost.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// The time over which takes and scans are counted.
const WINDOW: Duration = Duration::from_secs(30);

/// The most takes within that time that a fleet at rest loses.
const LOST_TAKES_MAX: usize = 30;

/// By how much they may exceed it while leases move.
const MOVING: f64 = 2.0;

/// What a worker that starts reads of the table beyond the budget, in scans: to see whether a Java
/// fleet is alive, for its first plan, and for its first turn of housekeeping. The first of these
/// and perhaps the last one are consistent, and cost twice as much.
const SCANS_AT_START: f64 = 6.0;

/// The calls of a fleet to its table.
#[derive(Debug, Default)]
pub(crate) struct CallFacts {
    /// Since when nothing changes. `None` while something does.
    rests_since: Option<Time>,
    lost_takes: VecDeque<Time>,
    scans: ScanFacts,
    /// From when on no lease of a live worker expires. `None` if calls fail.
    kept_from: Option<Time>,
    /// Whether no call fails or waits, so that leases are renewed in half an expiry.
    is_prompt: bool,
    /// How long a write may wait in its worker before it is sent.
    wait_max: Duration,
}

/// What scans cost.
#[derive(Debug, Default)]
struct ScanFacts {
    budget: Option<ScanBudget>,
    /// What was spent within the window: when, and how many units.
    spent: VecDeque<(Time, f64)>,
    /// When workers have started within the window.
    starts: VecDeque<Time>,
}

/// What scans may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScanBudget {
    /// Read units a second, of the whole fleet.
    pub(crate) units: f64,
    /// Read units of one scan.
    pub(crate) scan: f64,
    /// The most workers that scan.
    pub(crate) workers: f64,
}

impl CallFacts {
    /// Nothing changes from then on. Takes that were planned before are over by then.
    pub(crate) fn rests_from(&mut self, since: Time) {
        self.rests_since = Some(since);
        self.lost_takes.clear();
    }

    /// Something changes.
    pub(crate) const fn is_disturbed(&mut self) {
        self.rests_since = None;
    }

    /// Enough calls succeed from then on for no lease to expire. If all do, and none waits, renewals
    /// are prompt.
    pub(crate) const fn succeed_from(&mut self, since: Time, are_prompt: bool) {
        (self.kept_from, self.is_prompt) = (Some(since), are_prompt);
    }

    /// Calls fail.
    pub(crate) const fn fail(&mut self) {
        self.kept_from = None;
    }

    /// Whether a lease may not expire at `now` whose deadline lies this `time` after the renewal that
    /// it rests on. A later renewal may have been sent while calls failed, and be answered too late.
    pub(super) fn keeps(&self, now: Time, time: Duration) -> bool {
        self.kept_from.is_some_and(|since| now >= since + time)
    }

    /// Whether a lease that was renewed at `last` is to be renewed in half an expiry.
    pub(super) fn renews(&self, last: Time) -> bool {
        self.is_prompt && self.kept_from.is_some_and(|since| last >= since)
    }

    /// Writes wait this long in their workers at most: only so many are in flight at once.
    pub(crate) const fn limit_wait(&mut self, most: Duration) {
        self.wait_max = most;
    }

    /// How long a write may wait in its worker before it is sent.
    pub(super) const fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// Limits what scans cost.
    pub(crate) const fn limit_scans(&mut self, budget: ScanBudget) {
        self.scans.budget = Some(budget);
    }

    /// A worker starts.
    pub(crate) fn starts(&mut self, now: Time) {
        self.scans.starts.push_back(now);
    }

    /// A take is lost. Returns how many were lost within the window, if these are too many.
    pub(super) fn lost_take(&mut self, now: Time) -> Option<usize> {
        self.rests_since.filter(|since| now >= *since)?;
        self.lost_takes.push_back(now);
        while self.lost_takes.front().is_some_and(|at| now - *at > WINDOW) {
            self.lost_takes.pop_front();
        }
        Some(self.lost_takes.len()).filter(|lost| *lost > LOST_TAKES_MAX)
    }

    /// A scan reads a page. Returns what was spent within the window and what may be, if it is too
    /// much.
    pub(super) fn scanned(&mut self, now: Time, units: f64) -> Option<(f64, f64)> {
        let scans = &mut self.scans;
        let budget = scans.budget?;
        scans.spent.push_back((now, units));
        while scans.spent.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            scans.spent.pop_front();
        }
        while scans.starts.front().is_some_and(|at| now - *at > 2 * WINDOW) {
            scans.starts.pop_front();
        }
        let spent: f64 = scans.spent.iter().map(|(_, units)| units).sum();
        let rests = self.rests_since.is_some_and(|since| now >= since + WINDOW);
        let factor = if rests { 1.0 } else { MOVING };
        let starts = f64::from(u32::try_from(scans.starts.len()).unwrap_or(u32::MAX));
        let beyond = (budget.workers + starts * SCANS_AT_START) * budget.scan;
        let may = (factor * budget.units).mul_add(WINDOW.as_secs_f64(), beyond);
        (spent > may).then_some((spent, may))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    #[test]
    fn takes_are_lost_while_something_changes() {
        let mut calls = CallFacts::default();
        let lose = |calls: &mut CallFacts, second| {
            (0..40).filter_map(|_| calls.lost_take(at(second))).next()
        };
        assert_eq!(lose(&mut calls, 1), None);
        calls.rests_from(at(10));
        assert_eq!(lose(&mut calls, 9), None);
        assert_eq!(lose(&mut calls, 11), Some(31));
        calls.is_disturbed();
        assert_eq!(lose(&mut calls, 12), None);
    }

    #[test]
    fn lease_whose_renewal_was_sent_while_calls_failed_may_expire() {
        let mut calls = CallFacts::default();
        let expires = |calls: &CallFacts, second| !calls.keeps(at(second), Duration::from_secs(9));
        assert!(expires(&calls, 20));
        calls.succeed_from(at(10), false);
        assert_eq!([18, 19, 30].map(|second| expires(&calls, second)), [true, false, false]);
        calls.fail();
        assert!(expires(&calls, 40));
    }

    #[test]
    fn scans_keep_to_their_budget() {
        let mut calls = CallFacts::default();
        calls.limit_scans(ScanBudget { units: 10.0, scan: 20.0, workers: 2.0 });
        let spent = |calls: &mut CallFacts, from: u64| {
            (from..from + 60).filter_map(|second| calls.scanned(at(second), 20.0)).next()
        };
        assert_eq!(spent(&mut calls, 0), None, "20 a second, as leases move");
        calls.rests_from(at(60));
        assert_eq!(spent(&mut calls, 60), Some((620.0, 340.0)));
    }
}
