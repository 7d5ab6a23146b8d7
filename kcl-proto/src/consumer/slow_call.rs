//! When to report a slow processor call, and how often to repeat the report.

use std::time::Duration;

use crate::model::Moment;

/// The longest pause before a call that is still running is reported again.
const AGAIN_AFTER_MAX: Duration = Duration::from_hours(1);

/// The reports about the call that is running.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowWatch {
    last: Option<Report>,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    /// When the call began.
    began: Moment,
    taken: Duration,
}

impl SlowWatch {
    /// Returns how long the call that began at `began` has been running if a report is due: at
    /// `slow_after`, then whenever that has doubled, at least every hour. `began` is `None` while
    /// no call runs.
    pub fn observe(
        &mut self,
        began: Option<Moment>,
        slow_after: Duration,
        now: Moment,
    ) -> Option<Duration> {
        self.last = self.last.filter(|last| Some(last.began) == began);
        let taken = now.since(began?);
        let due = match self.last {
            None => slow_after,
            Some(Report { taken, .. }) => taken + taken.min(AGAIN_AFTER_MAX),
        };
        let is_due = taken >= due;
        if is_due {
            self.last = began.map(|began| Report { began, taken });
        }
        is_due.then_some(taken)
    }

    /// How long the running call had taken at its last report, or `None` if it was not reported.
    #[must_use]
    pub fn reported(&self) -> Option<Duration> {
        self.last.map(|last| last.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    /// Observes calls that begin and end at these seconds, every second up to `until`; expects
    /// reports at these seconds.
    #[track_caller]
    fn check(calls: &[(u64, u64)], until: u64, expected: &[u64]) {
        let mut watch = SlowWatch::default();
        let mut reported = Vec::new();
        for second in 0..=until {
            let call = calls.iter().find(|(began, ended)| (*began..*ended).contains(&second));
            let began = call.map(|(began, _)| at(*began));
            if let Some(taken) = watch.observe(began, Duration::from_mins(1), at(second)) {
                assert_eq!(began.map(|began| began + taken), Some(at(second)));
                reported.push(second);
            }
            assert_eq!(
                watch.reported().is_some(),
                reported.last().is_some_and(|last| call.is_some_and(|(began, _)| began <= last))
            );
        }
        assert_eq!(reported, expected);
    }

    #[test]
    fn slow_call_is_reported_at_each_doubling() {
        check(&[(5, 64)], 100, &[]);
        check(&[(5, 66)], 100, &[65]);
        check(&[(5, 1_000)], 1_000, &[65, 125, 245, 485, 965]);
    }

    #[test]
    fn each_call_counts_for_itself() {
        check(&[(0, 50), (50, 100), (100, 161)], 200, &[160]);
        check(&[(0, 70), (70, 140)], 200, &[60, 130]);
    }

    #[test]
    fn endless_call_is_reported_every_hour() {
        check(
            &[(0, 30_000)],
            15_000,
            &[60, 120, 240, 480, 960, 1_920, 3_840, 7_440, 11_040, 14_640],
        );
    }
}
