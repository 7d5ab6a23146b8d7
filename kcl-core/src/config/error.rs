//! What is wrong with a configuration: all of it at once.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// A configuration that cannot work. Names every setting that must change, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

/// One setting that must change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// The setting, such as `lease.expiry`.
    pub setting: &'static str,
    /// What it is, and what it must be.
    pub problem: String,
}

impl Mistake {
    /// A setting, and what it must be. Both together read as a sentence.
    #[must_use]
    pub fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self { setting, problem: problem.into() }
    }

    /// A mistake for each of these times that is zero.
    pub fn of_zero_times(
        times: impl IntoIterator<Item = (&'static str, Duration)>,
    ) -> impl Iterator<Item = Self> {
        let zero = times.into_iter().filter(|(_, time)| time.is_zero());
        zero.map(|(setting, _)| Self::new(setting, "must be more than 0"))
    }
}

impl ConfigError {
    /// The settings that must change.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    pub(crate) fn unless_empty(mistakes: Vec<Mistake>) -> Result<(), Self> {
        if mistakes.is_empty() { Ok(()) } else { Err(Self { mistakes }) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration: ")?;
        for (index, mistake) in self.mistakes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", mistake.setting, mistake.problem)?;
        }
        Ok(())
    }
}

/// Notes a mistake unless `value` lies between `min` and `max`.
pub(super) fn check_duration(
    mistakes: &mut Vec<Mistake>,
    setting: &'static str,
    value: Duration,
    (min, max): (Duration, Duration),
) {
    if value < min || value > max {
        let problem = format!("({value:?}) must be between {min:?} and {max:?}");
        mistakes.push(Mistake { setting, problem });
    }
}

/// Notes a mistake unless `value` lies between `min` and `max`.
pub(super) fn check_count(
    mistakes: &mut Vec<Mistake>,
    setting: &'static str,
    value: usize,
    (min, max): (usize, usize),
) {
    if value < min || value > max {
        let problem = format!("({value}) must be between {min} and {max}");
        mistakes.push(Mistake { setting, problem });
    }
}
