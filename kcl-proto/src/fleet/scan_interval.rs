//! How often to scan the table so that the whole fleet stays within a budget of reads.

use std::time::Duration;

use crate::model::Moment;

/// The shortest period of scans while nothing moves, before jitter, unless a fifth of an expiry is
/// shorter.
const AT_REST_MIN: Duration = Duration::from_secs(1);

/// The shortest period of scans while leases move, before jitter.
const MOVING_MIN: Duration = Duration::from_millis(250);

/// How much of the budget scans may use while leases move.
const MOVING_BUDGET: f64 = 2.0;

/// The price of a lost take in read units. The database bills it as a write unit, which costs five
/// times a read unit.
const LOST_TAKE_UNITS: f64 = 5.0;

/// How many takes are lost at least until a scan counts as outdated: fewer happen wherever workers
/// start together.
const LOST_TAKES_MIN: usize = 8;

/// The longest period of scans in seconds.
const PERIOD_MAX_SECONDS: f64 = 3_600.0;

/// The largest fraction of the period that jitter takes away or adds.
const JITTER: f64 = 0.2;

/// What the scans of a fleet cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScanCost {
    /// How many workers scan.
    pub workers: usize,
    /// The cost of one scan, in read units.
    pub units: f64,
    /// The read units that the fleet may spend on scans each second.
    pub budget: usize,
    /// How soon after its expiry a crash should be noticed: within a fifth of it.
    pub expiry: Duration,
}

/// How long to wait after a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanPauses {
    /// While no lease moves.
    pub at_rest: Duration,
    /// While leases move: a worker joins or leaves, or a lease changes its owner.
    pub moving: Duration,
}

impl ScanPauses {
    /// The pauses of a fleet whose scans cost nothing.
    pub const SHORTEST: Self = Self { at_rest: AT_REST_MIN, moving: MOVING_MIN };
}

impl ScanCost {
    /// Returns how long to wait after a scan. `chance` is from `0.0..1.0`: jitter spreads the scans
    /// of a fleet.
    ///
    /// The shortest periods are shortened by jitter, so that no scan is late; a period that the
    /// budget demands is lengthened, so that the fleet stays within it.
    #[must_use]
    pub fn pauses(self, chance: f64) -> ScanPauses {
        let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
        let affordable = self.period() * JITTER.mul_add(chance, 1.0);
        let pause = |min: Duration, affordable: f64| {
            let seconds = affordable.clamp(0.0, PERIOD_MAX_SECONDS);
            min.mul_f64(JITTER.mul_add(-chance, 1.0)).max(Duration::from_secs_f64(seconds))
        };
        ScanPauses {
            at_rest: pause(AT_REST_MIN.min(self.expiry / 5), affordable),
            moving: pause(MOVING_MIN, affordable / MOVING_BUDGET),
        }
    }

    /// Returns the budget with which scans at rest are at most `longest` apart.
    #[must_use]
    pub fn budget_for(self, longest: Duration) -> usize {
        let needed = self.period() * count(self.budget) * (1.0 + JITTER) / longest.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let needed = needed.ceil() as usize;
        needed.max(1)
    }

    /// Returns how many seconds apart the scans of one worker are if all scans together use up the
    /// budget.
    fn period(self) -> f64 {
        let period = count(self.workers) * self.units / count(self.budget);
        if period.is_nan() { 0.0 } else { period.max(0.0) }
    }
}

/// Whether scans `at_rest` apart are too rare to notice a crash about an expiry later: they must be
/// at most half of an `expiry` apart.
#[must_use]
pub fn is_too_rare(at_rest: Duration, expiry: Duration) -> bool {
    // An expiry of a second is met by the shortest period.
    at_rest > (expiry / 2).max(AT_REST_MIN)
}

/// Whether what a scan of `units` read units showed is outdated, because `lost` takes were lost since:
/// then another scan costs less than to find out by more takes what is free.
#[must_use]
pub fn is_outdated(units: f64, lost: usize) -> bool {
    lost >= LOST_TAKES_MIN && count(lost) * LOST_TAKE_UNITS >= units
}

/// When to read the page of a scan again that failed `failures` times in a row. Pages read before
/// are not read again, so a retry costs no more than the page itself.
#[must_use]
pub fn retry_at(failures: u32, chance: f64, now: Moment) -> Moment {
    now + crate::consumer::backoff::Backoff::SCAN.jittered(failures, chance)
}

/// Returns a count as a floating-point number of at least one.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cost(workers: usize, units: f64, budget: usize) -> ScanCost {
        ScanCost { workers, units, budget, expiry: Duration::from_secs(10) }
    }

    /// Checks the pauses at rest without and with the most jitter, in milliseconds.
    #[track_caller]
    fn check(cost: ScanCost, without: u128, with: u128) {
        let millis = |chance| cost.pauses(chance).at_rest.as_millis();
        assert_eq!((millis(0.0), millis(1.0)), (without, with));
    }

    #[test]
    fn small_fleet_scans_about_every_second() {
        check(cost(1, 0.5, 100), 1_000, 800);
        check(cost(10, 5.0, 100), 1_000, 800);
    }

    #[test]
    fn fleet_with_a_short_expiry_scans_more_often() {
        let expiry = Duration::from_millis(2_500);
        check(ScanCost { expiry, ..cost(3, 0.5, 100) }, 500, 400);
        check(ScanCost { expiry, ..cost(200, 610.0, 100) }, 1_220_000, 1_464_000);
    }

    #[test]
    fn large_fleet_shares_its_budget() {
        check(cost(50, 10.0, 100), 5_000, 6_000);
        check(cost(200, 610.0, 100), 1_220_000, 1_464_000);
        check(cost(50, 10.0, 500), 1_000, 1_200);
    }

    #[test]
    fn moving_fleet_scans_four_times_a_second_if_the_budget_allows() {
        assert_eq!(cost(3, 1.0, 100).pauses(0.0).moving, Duration::from_millis(250));
        assert_eq!(cost(3, 1.0, 100).pauses(1.0).moving, Duration::from_millis(200));
        assert_eq!(cost(50, 10.0, 100).pauses(0.0).moving, Duration::from_millis(2_500));
    }

    #[test]
    fn scan_is_outdated_once_lost_takes_cost_as_much() {
        assert!(!is_outdated(1_000.0, 199));
        assert!(is_outdated(1_000.0, 200));
        assert!(!is_outdated(0.5, 7), "as always where workers start together");
        assert!(is_outdated(0.5, 8));
    }

    #[test]
    fn needed_budget_makes_scans_frequent_enough() {
        let (fleet, longest) = (cost(20, 1_000.0, 100), Duration::from_secs(5));
        assert!(is_too_rare(fleet.pauses(0.0).at_rest, longest * 2));
        let budget = fleet.budget_for(longest);
        assert_eq!(budget, 4_800);
        for chance in [0.0, 0.5, 1.0] {
            let enough = ScanCost { budget, ..fleet }.pauses(chance).at_rest;
            assert!(!is_too_rare(enough, longest * 2), "{enough:?}");
        }
        assert!(!is_too_rare(ScanPauses::SHORTEST.at_rest, Duration::from_secs(1)));
    }

    #[test]
    fn invalid_arguments_are_bounded() {
        check(cost(0, 0.0, 0), 1_000, 800);
        check(cost(1, f64::NAN, 1), 1_000, 800);
        check(cost(1, -5.0, 1), 1_000, 800);
        check(cost(usize::MAX, f64::INFINITY, 0), 3_600_000, 3_600_000);
        assert_eq!(cost(1, 0.0, 1).pauses(f64::NAN).at_rest, Duration::from_secs(1));
        assert_eq!(cost(1, 0.0, 1).pauses(7.0).at_rest, Duration::from_millis(800));
        assert_eq!(cost(1, f64::NAN, 1).budget_for(Duration::from_secs(5)), 1);
    }

    #[test]
    fn failed_page_is_read_again_ever_later() {
        let pause = |failures| retry_at(failures, 1.0, Moment::at_secs(0)) - Moment::at_secs(0);
        assert_eq!(pause(1), Duration::from_millis(500));
        assert_eq!(pause(3), Duration::from_secs(2));
        assert_eq!(pause(99), Duration::from_secs(2));
    }
}
