//! Settings of shutting down.

use std::time::Duration;

use crate::config::error::{Mistake, check_duration};

/// How a worker stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownConfig {
    /// How long batches in hand may take to finish once a shutdown was asked for. Then they are
    /// cancelled, and the next owner delivers them again.
    ///
    /// Default: 20 s, below the 30 s that most schedulers allow. From 100 ms to 1 h.
    pub drain: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain: Duration::from_secs(20) }
    }
}

impl ShutdownConfig {
    pub(super) fn check(&self, mistakes: &mut Vec<Mistake>) {
        let range = (Duration::from_millis(100), Duration::from_hours(1));
        check_duration(mistakes, "shutdown.drain", self.drain, range);
    }
}
