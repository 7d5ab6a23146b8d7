//! What is wrong with a configuration: all of it at once.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// A configuration that cannot work. Names every setting that must change, its value, and what it
/// must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
pub struct ConfigError {
    settings: Vec<InvalidSetting>,
}

/// A setting that must change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidSetting {
    /// The setting, such as `lease.expiry`.
    pub setting: &'static str,
    /// Its value as text; `None` if it is not set.
    pub value: Option<String>,
    /// What it must be. Together with the setting and the value it reads as a sentence.
    pub reason: String,
}

impl InvalidSetting {
    /// A setting whose value cannot work.
    #[must_use]
    pub fn new(setting: &'static str, value: impl fmt::Debug, reason: impl Into<String>) -> Self {
        Self { setting, value: Some(format!("{value:?}")), reason: reason.into() }
    }

    /// A setting that is required and not set.
    #[must_use]
    pub fn missing(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting, value: None, reason: reason.into() }
    }

    /// Returns the settings whose time is zero.
    pub fn zero_times(
        times: impl IntoIterator<Item = (&'static str, Duration)>,
    ) -> impl Iterator<Item = Self> {
        let zero = times.into_iter().filter(|(_, time)| time.is_zero());
        zero.map(|(setting, time)| Self::new(setting, time, "must be more than 0"))
    }

    /// Returns the setting if `value` is less than `min`.
    pub(super) fn below<T: PartialOrd + fmt::Debug + Copy>(
        setting: &'static str,
        value: T,
        min: T,
    ) -> Option<Self> {
        let reason = || format!("must be at least {min:?}");
        (value < min).then(|| Self::new(setting, value, reason()))
    }

    /// Returns the setting if `value` is less than `min` or more than `max`.
    pub(super) fn outside<T: PartialOrd + fmt::Debug + Copy>(
        setting: &'static str,
        value: T,
        min: T,
        max: T,
    ) -> Option<Self> {
        let reason = || format!("must be between {min:?} and {max:?}");
        (value < min || value > max).then(|| Self::new(setting, value, reason()))
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} ({value}) {}", self.setting, self.reason),
            None => write!(f, "{} {}", self.setting, self.reason),
        }
    }
}

impl ConfigError {
    /// Returns the settings that must change.
    #[must_use]
    pub fn settings(&self) -> &[InvalidSetting] {
        &self.settings
    }

    pub(crate) fn unless_empty(settings: Vec<InvalidSetting>) -> Result<(), Self> {
        if settings.is_empty() { Ok(()) } else { Err(Self { settings }) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration: ")?;
        for (index, setting) in self.settings.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{setting}")?;
        }
        Ok(())
    }
}
