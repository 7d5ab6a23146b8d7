//! How fast a first start creates its leases: as fast as the table takes them.

use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::model::Moment;

/// How many creations are in flight at first.
const AT_ONCE_FIRST: usize = 16;

/// How many creations are in flight at most.
const AT_ONCE_MAX: usize = 64;

/// The pause after creations that were throttled or failed. It is short at first, because a table
/// earns capacity all the time.
const PAUSE: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));

/// How many creations may be in flight, and when the next one may begin.
///
/// The number grows by one whenever that many have succeeded, and halves with a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationPace {
    at_once: usize,
    successes: usize,
    failures: u32,
    resumes_at: Option<Moment>,
}

impl Default for CreationPace {
    fn default() -> Self {
        Self { at_once: AT_ONCE_FIRST, successes: 0, failures: 0, resumes_at: None }
    }
}

impl CreationPace {
    /// Whether another creation may begin while `in_flight` are.
    #[must_use]
    pub fn may_begin(&self, in_flight: usize, now: Moment) -> bool {
        in_flight < self.at_once && self.resumes_at.is_none_or(|at| now >= at)
    }

    /// When creations begin again after a failure; `None` if there was none.
    #[must_use]
    pub const fn resumes_at(&self) -> Option<Moment> {
        self.resumes_at
    }

    /// Notes that a creation succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.successes += 1;
        if self.successes >= self.at_once {
            self.successes = 0;
            self.at_once = (self.at_once + 1).min(AT_ONCE_MAX);
        }
    }

    /// Notes that a creation was throttled or failed. Draw `chance` from `0.0..1.0`. Creations that
    /// fail while others pause count once.
    pub fn failed(&mut self, chance: f64, now: Moment) {
        if self.resumes_at.is_some_and(|at| now < at) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        self.at_once = (self.at_once / 2).max(1);
        self.resumes_at = Some(now + PAUSE.jittered(self.failures, chance));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    /// How many creations may be in flight at a time.
    fn width(pace: &CreationPace, now: Moment) -> usize {
        (0..=AT_ONCE_MAX).find(|in_flight| !pace.may_begin(*in_flight, now)).unwrap()
    }

    #[test]
    fn pace_grows_with_success_up_to_a_limit() {
        let mut pace = CreationPace::default();
        assert_eq!(width(&pace, at(0)), 16);
        (0..16).for_each(|_| pace.succeeded());
        assert_eq!(width(&pace, at(0)), 17);
        (0..10_000).for_each(|_| pace.succeeded());
        assert_eq!(width(&pace, at(0)), 64);
    }

    #[test]
    fn failures_halve_the_pace_and_pause_it_for_longer_and_longer() {
        let mut pace = CreationPace::default();
        pace.failed(1.0, at(100));
        pace.failed(1.0, at(119)); // In flight when the first one failed.
        assert_eq!((width(&pace, at(119)), width(&pace, at(120))), (0, 8));
        pace.failed(1.0, at(120));
        assert_eq!((width(&pace, at(159)), width(&pace, at(160))), (0, 4));
        for _ in 0..20 {
            let resumes_at = pace.resumes_at().unwrap();
            pace.failed(1.0, resumes_at);
        }
        let before = pace.resumes_at().unwrap();
        pace.failed(1.0, before);
        assert_eq!(pace.resumes_at().unwrap().since(before), Duration::from_secs(2));
        assert_eq!(width(&pace, before + Duration::from_secs(2)), 1);
    }

    #[test]
    fn success_ends_the_growth_of_pauses() {
        let mut pace = CreationPace::default();
        pace.failed(1.0, at(0));
        pace.failed(1.0, at(20));
        pace.succeeded();
        pace.failed(1.0, at(1_000));
        assert_eq!(pace.resumes_at(), Some(at(1_020)));
    }
}
