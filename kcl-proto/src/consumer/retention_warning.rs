//! When to warn that unprocessed records are about to be trimmed, and how often to repeat the
//! warning.

use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::model::Moment;

/// An upper bound of the age of a shard's oldest record that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How far the read of the batch in hand, or else the last read, was behind the end of the
    /// shard.
    pub behind: Duration,
    /// When that read took place. The records have grown older since.
    pub seen: Moment,
}

impl Lag {
    /// The age of the record at `now`.
    #[must_use]
    pub fn age(self, now: Moment) -> Duration {
        self.behind.saturating_add(now.since(self.seen))
    }
}

/// The warnings about one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct RiskWatch {
    last: Option<Warning>,
}

#[derive(Clone, Copy, Debug)]
struct Warning {
    at: Moment,
    /// The pause before it is repeated.
    pause: Duration,
}

impl RiskWatch {
    /// Returns `age` if a warning is due: at half of the retention, then after growing pauses. An
    /// age below a quarter resets the pauses. `age` is `None` if it is not known.
    pub fn observe(
        &mut self,
        age: Option<Duration>,
        retention: Duration,
        now: Moment,
    ) -> Option<Duration> {
        let age = age?;
        if age < retention / 4 {
            self.last = None;
        }
        let (due, pause) = match self.last {
            None => (now, Backoff::WARNING.pause(1)),
            Some(Warning { at, pause }) => (at + pause, Backoff::WARNING.after(pause)),
        };
        let is_due = age >= retention / 2 && now >= due;
        if is_due {
            self.last = Some(Warning { at: now, pause });
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

    /// Observes an age, in minutes, every minute; expects warnings at these minutes.
    #[track_caller]
    fn check(until: u64, age: impl Fn(u64) -> Option<u64>, expected: &[u64]) {
        let mut watch = RiskWatch::default();
        let warned = (0..=until).filter(|&minute| {
            let now = Moment::from_origin(minutes(minute));
            watch.observe(age(minute).map(minutes), RETENTION, now).is_some()
        });
        assert_eq!(warned.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn warns_at_half_of_the_retention_then_less_often() {
        check(10 * HOUR, |_| Some(12 * HOUR - 1), &[]);
        check(12 * HOUR + 200, Some, &[720, 721, 723, 727, 735, 751, 783, 843, 903]);
    }

    #[test]
    fn unknown_age_gives_no_warning() {
        check(10 * HOUR, |_| None, &[]);
    }

    #[test]
    fn swinging_lag_is_not_reported_each_time() {
        let swings = |minute| Some(if minute % 2 == 0 { 12 * HOUR } else { 11 * HOUR });
        check(30, swings, &[0, 2, 4, 8, 16]);
    }

    #[test]
    fn recovered_shard_is_reported_anew() {
        let age = |minute| Some(if (10..20).contains(&minute) { HOUR } else { 13 * HOUR });
        check(24, age, &[0, 1, 3, 7, 20, 21, 23]);
    }

    #[test]
    fn lag_grows_with_time() {
        let lag = Lag { behind: minutes(10), seen: Moment::from_origin(minutes(5)) };
        assert_eq!(lag.age(Moment::from_origin(minutes(65))), minutes(70));
    }
}
