//! When is it told that records of a shard are close to being trimmed, and when again?

use std::time::Duration;

use crate::model::Moment;

/// The pause before it is told the second time. It doubles.
const AGAIN_AFTER_MIN: Duration = Duration::from_mins(1);

/// The longest pause before it is told again.
const AGAIN_AFTER_MAX: Duration = Duration::from_hours(1);

/// How old the oldest record of a shard that is not done may be, as far as its consumer can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the input of one function")]
pub struct Lag {
    /// How far the read that brought the batch in hand, or else the last one, was behind the end of
    /// the shard.
    pub behind: Duration,
    /// When that was known. Since then everything has grown older.
    pub seen: Moment,
}

impl Lag {
    /// How old it is now.
    #[must_use]
    pub fn age(self, now: Moment) -> Duration {
        self.behind.saturating_add(now.since(self.seen))
    }
}

/// Remembers what was told of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct RiskWatch {
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Moment,
    pause: Duration,
}

impl RiskWatch {
    /// Takes in how old records are, if that is known. Returns it if it is to be told: once half of
    /// the retention is reached, then with growing pauses. Below a quarter all is forgotten.
    pub fn observe(
        &mut self,
        age: Option<Duration>,
        retention: Duration,
        now: Moment,
    ) -> Option<Duration> {
        let age = age?;
        if age < retention / 4 {
            self.told = None;
        }
        let (due, pause) = match self.told {
            None => (now, AGAIN_AFTER_MIN),
            Some(Told { at, pause }) => (at + pause, (pause * 2).min(AGAIN_AFTER_MAX)),
        };
        let is_due = age >= retention / 2 && now >= due;
        if is_due {
            self.told = Some(Told { at: now, pause });
        }
        is_due.then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60;
    const RETENTION: Duration = Duration::from_hours(24);

    fn minutes(count: u64) -> Duration {
        Duration::from_mins(count)
    }

    /// Looks every minute at the age, in minutes, that a function of the minute tells.
    #[track_caller]
    fn check(until: u64, age: impl Fn(u64) -> Option<u64>, expected: &[u64]) {
        let mut watch = RiskWatch::default();
        let told = (0..=until).filter(|&minute| {
            let now = Moment::from_origin(minutes(minute));
            watch.observe(age(minute).map(minutes), RETENTION, now).is_some()
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn it_is_told_at_half_of_the_retention_and_then_with_growing_pauses() {
        check(10 * HOUR, |_| Some(12 * HOUR - 1), &[]);
        check(12 * HOUR + 200, Some, &[720, 721, 723, 727, 735, 751, 783, 843, 903]);
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        check(10 * HOUR, |_| None, &[]);
    }

    #[test]
    fn a_lag_that_comes_and_goes_is_not_told_each_time() {
        let swings = |minute| Some(if minute % 2 == 0 { 12 * HOUR } else { 11 * HOUR });
        check(30, swings, &[0, 2, 4, 8, 16]);
    }

    #[test]
    fn a_shard_that_was_well_in_between_is_told_anew() {
        let age = |minute| Some(if (10..20).contains(&minute) { HOUR } else { 13 * HOUR });
        check(24, age, &[0, 1, 3, 7, 20, 21, 23]);
    }

    #[test]
    fn what_is_in_hand_grows_older() {
        let lag = Lag { behind: minutes(10), seen: Moment::from_origin(minutes(5)) };
        assert_eq!(lag.age(Moment::from_origin(minutes(65))), minutes(70));
    }
}
