//! What you set. Every setting has a safe default; [`WorkerConfig`] holds them all.

mod delivery;
mod error;
mod failure;
mod lease;
mod retrieval;
mod shutdown;

pub use delivery::{DeliveryConfig, LostDataPolicy};
pub use error::{ConfigError, Mistake};
pub use kcl_proto::model::{CheckpointPolicy, FailurePolicy, OnExhausted};
pub use lease::LeaseConfig;
pub use retrieval::{Aggregation, RetrievalConfig};
pub use shutdown::ShutdownConfig;

/// Everything that can be set about a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// Leases: how fast a crash is noticed.
    pub lease: LeaseConfig,
    /// Reading: where to start, how often to poll.
    pub retrieval: RetrievalConfig,
    /// Delivery: checkpoints and failures.
    pub delivery: DeliveryConfig,
    /// Shutting down: how long it may take.
    pub shutdown: ShutdownConfig,
}

impl WorkerConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut mistakes = Vec::new();
        self.lease.check(&mut mistakes);
        self.retrieval.check(&mut mistakes);
        self.delivery.check(&mut mistakes);
        self.shutdown.check(&mut mistakes);
        ConfigError::unless_empty(mistakes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        WorkerConfig::default().check().unwrap();
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut config = WorkerConfig::default();
        config.lease.expiry = Duration::from_millis(10);
        config.lease.leases_max = Some(0);
        config.retrieval.records_max = 20_000;
        config.delivery.retry_min = Duration::ZERO;
        config.shutdown.drain = Duration::ZERO;
        let told = config.check().unwrap_err().to_string();
        for setting in [
            "lease.expiry",
            "lease.leases_max",
            "retrieval.records_max",
            "delivery.retry_min",
            "shutdown.drain",
        ] {
            assert!(told.contains(setting), "{setting} is missing in {told}");
        }
    }

    #[test]
    fn an_expiry_shorter_than_three_renewals_names_both_settings() {
        let mut config = WorkerConfig::default();
        config.lease.expiry = Duration::from_secs(5);
        config.lease.renew_every = Some(Duration::from_secs(3));
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "invalid configuration: lease.expiry (5s) must be at least 3 x lease.renew_every (3s)"
        );
    }
}
