//! When a worker runs housekeeping, which is shard sync and cleanup: one worker of a fleet is
//! enough.
//!
//! There is no election. The present workers queue by their ids: the first one runs every period,
//! and each further one half as often as the one before it. So a fleet of any size runs one to two
//! times per period, and if the first worker is dead or stuck, the second one runs within two
//! periods.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::WorkerId;

/// The largest fraction of the delay that jitter takes away.
const JITTER: f64 = 0.2;

/// How many times the delay doubles at most. A worker further behind runs once it has moved up.
const DOUBLINGS_MAX: usize = 16;

/// Returns how long after its last run, or its start, `me` runs again.
///
/// Draw `chance` from `0.0..1.0` once per run, and call again with the same value whenever the
/// present workers change: workers ahead of this one may be gone.
#[must_use]
pub fn delay(
    me: &WorkerId,
    present: &BTreeSet<WorkerId>,
    period: Duration,
    chance: f64,
) -> Duration {
    let place = present.range::<WorkerId, _>(..me).take(DOUBLINGS_MAX).count();
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
    let doubled = (0..place).fold(period, |delay, _| delay.saturating_mul(2));
    doubled.saturating_sub(doubled.mul_f64(JITTER * chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn worker(number: usize) -> WorkerId {
        WorkerId::new(format!("worker-{number:03}"))
    }

    fn fleet(size: usize) -> BTreeSet<WorkerId> {
        (0..size).map(worker).collect()
    }

    /// Checks after how many periods worker `place` of `size` runs again, without jitter and with
    /// the most.
    #[track_caller]
    fn check(place: usize, size: usize, periods: u32) {
        assert_eq!(delay(&worker(place), &fleet(size), PERIOD, 0.0), PERIOD * periods);
        assert_eq!(delay(&worker(place), &fleet(size), PERIOD, 1.0), PERIOD * periods * 4 / 5);
    }

    #[test]
    fn first_worker_runs_every_period() {
        check(0, 1, 1);
        check(0, 200, 1);
    }

    #[test]
    fn each_further_worker_runs_half_as_often() {
        check(1, 200, 2);
        check(2, 200, 4);
        check(199, 200, 1 << DOUBLINGS_MAX);
    }

    #[test]
    fn fleet_of_any_size_runs_about_twice_per_period() {
        for size in [1, 2, 3, 50, 500] {
            let rate = |place| {
                let delay = delay(&worker(place), &fleet(size), PERIOD, 0.5);
                PERIOD.as_secs_f64() / delay.as_secs_f64()
            };
            let runs: f64 = (0..size).map(rate).sum();
            assert!((1.0..2.3).contains(&runs), "{size} workers run {runs} times");
        }
    }

    #[test]
    fn absent_worker_has_a_place() {
        assert_eq!(delay(&worker(7), &BTreeSet::new(), PERIOD, 0.0), PERIOD);
        let others = fleet(2);
        assert_eq!(delay(&worker(7), &others, PERIOD, 0.0), PERIOD * 4);
    }

    #[test]
    fn place_moves_up_when_earlier_workers_are_gone() {
        let mut present = fleet(3);
        present.remove(&worker(0));
        assert_eq!(delay(&worker(1), &present, PERIOD, 0.0), PERIOD);
    }

    #[test]
    fn invalid_arguments_are_bounded() {
        assert_eq!(delay(&worker(1), &fleet(2), Duration::MAX, 0.0), Duration::MAX);
        assert_eq!(delay(&worker(0), &fleet(1), PERIOD, f64::NAN), PERIOD);
        assert_eq!(delay(&worker(0), &fleet(1), PERIOD, -3.0), PERIOD);
    }
}
