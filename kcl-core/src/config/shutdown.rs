//! Settings of shutting down.

use std::time::Duration;

use crate::config::error::InvalidSetting;

/// How a worker stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ShutdownConfig {
    /// How long batches in hand may take to finish after a stop was requested. Then they are
    /// cancelled, and the next owner delivers them again.
    ///
    /// Default: 20 s, below the 30 s that most schedulers allow. From 100 ms to 1 h.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub drain: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain: Duration::from_secs(20) }
    }
}

impl ShutdownConfig {
    /// Sets [`drain`](Self::drain).
    #[must_use]
    pub const fn with_drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    pub(super) fn validate(&self) -> Option<InvalidSetting> {
        let (min, max) = (Duration::from_millis(100), Duration::from_hours(1));
        InvalidSetting::outside("shutdown.drain", self.drain, min, max)
    }
}
