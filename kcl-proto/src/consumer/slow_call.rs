//! When is a call of the processor slow, and when is that told again?

use std::time::Duration;

use crate::model::Moment;

/// The longest pause before a call that still goes on is told again.
const AGAIN_AFTER_MAX: Duration = Duration::from_hours(1);

/// Remembers what was told of the call in hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowWatch {
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// Which call it was: the one that began then.
    began: Moment,
    taken: Duration,
}

impl SlowWatch {
    /// Takes in when the call in hand began, if there is one. Returns how long it has taken if that
    /// is to be told: once it reaches `slow_after`, then each time it has doubled, and each hour.
    pub fn observe(
        &mut self,
        began: Option<Moment>,
        slow_after: Duration,
        now: Moment,
    ) -> Option<Duration> {
        self.told = self.told.filter(|told| Some(told.began) == began);
        let taken = now.since(began?);
        let due = match self.told {
            None => slow_after,
            Some(Told { taken, .. }) => taken + taken.min(AGAIN_AFTER_MAX),
        };
        let is_due = taken >= due;
        if is_due {
            self.told = began.map(|began| Told { began, taken });
        }
        is_due.then_some(taken)
    }

    /// How long the call in hand had taken when it was told, if it was.
    #[must_use]
    pub fn told(&self) -> Option<Duration> {
        self.told.map(|told| told.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    /// Looks every second from 0 to `until` at calls that begin and end at these seconds; expects
    /// when something was told.
    #[track_caller]
    fn check(calls: &[(u64, u64)], until: u64, expected: &[u64]) {
        let mut watch = SlowWatch::default();
        let mut told = Vec::new();
        for second in 0..=until {
            let call = calls.iter().find(|(began, ended)| (*began..*ended).contains(&second));
            let began = call.map(|(began, _)| at(*began));
            if let Some(taken) = watch.observe(began, Duration::from_mins(1), at(second)) {
                assert_eq!(began.map(|began| began + taken), Some(at(second)));
                told.push(second);
            }
            assert_eq!(
                watch.told().is_some(),
                told.last().is_some_and(|told| { call.is_some_and(|(began, _)| began <= told) })
            );
        }
        assert_eq!(told, expected);
    }

    #[test]
    fn a_call_is_told_when_it_is_slow_and_each_time_it_has_doubled() {
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
    fn a_call_that_never_ends_is_told_every_hour() {
        check(
            &[(0, 30_000)],
            15_000,
            &[60, 120, 240, 480, 960, 1_920, 3_840, 7_440, 11_040, 14_640],
        );
    }
}
