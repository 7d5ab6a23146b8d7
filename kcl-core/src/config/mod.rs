//! Settings. Each has a safe default; [`WorkerConfig`] holds them all.
//!
//! Every struct has public fields and `with_*` methods:
//!
//! ```
//! use std::time::Duration;
//!
//! use kcl_core::config::{LeaseConfig, RetrievalConfig, WorkerConfig};
//!
//! let lease = LeaseConfig::default().with_expiry(Duration::from_secs(30));
//! let retrieval = RetrievalConfig::default().with_initial_position("trim-horizon".parse()?);
//! let config = WorkerConfig::default().with_lease(lease).with_retrieval(retrieval);
//! assert!(config.validate().is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `serde` they are read and written with durations such as `30s` and `1m 30s`.
//! Settings that are left out have their default, and unknown ones are an error.

mod delivery;
mod error;
mod lease;
mod retrieval;
mod shutdown;

pub use delivery::{DeliveryConfig, LostDataPolicy};
pub use error::{ConfigError, InvalidSetting};
pub use kcl_proto::kpl::HashRangePolicy;
pub use kcl_proto::model::{CheckpointPolicy, FailurePolicy, Liveness, OnExhausted};
pub use lease::LeaseConfig;
pub use retrieval::{Aggregation, RetrievalConfig};
pub use shutdown::ShutdownConfig;

/// Everything that can be set about a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
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
    /// Sets [`lease`](Self::lease).
    #[must_use]
    pub fn with_lease(mut self, lease: LeaseConfig) -> Self {
        self.lease = lease;
        self
    }

    /// Sets [`retrieval`](Self::retrieval).
    #[must_use]
    pub fn with_retrieval(mut self, retrieval: RetrievalConfig) -> Self {
        self.retrieval = retrieval;
        self
    }

    /// Sets [`delivery`](Self::delivery).
    #[must_use]
    pub fn with_delivery(mut self, delivery: DeliveryConfig) -> Self {
        self.delivery = delivery;
        self
    }

    /// Sets [`shutdown`](Self::shutdown).
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: ShutdownConfig) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Checks every setting. [`WorkerBuilder::build`](crate::WorkerBuilder::build) does the same.
    ///
    /// # Errors
    /// [`ConfigError`] names all settings that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::unless_empty(self.invalid_settings())
    }

    /// Returns all settings that cannot work.
    pub(crate) fn invalid_settings(&self) -> Vec<InvalidSetting> {
        let mut invalid = self.lease.validate();
        invalid.extend(self.retrieval.validate());
        invalid.extend(self.delivery.validate());
        invalid.extend(self.shutdown.validate());
        invalid
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn defaults_are_valid() {
        WorkerConfig::default().validate().unwrap();
    }

    #[test]
    fn all_invalid_settings_are_reported_at_once() {
        let mut config = WorkerConfig::default();
        config.lease.expiry = Duration::from_millis(10);
        config.lease.leases_max = Some(0);
        config.retrieval.records_max = 20_000;
        config.delivery.retry_min = Duration::ZERO;
        config.shutdown.drain = Duration::ZERO;
        let text = config.validate().unwrap_err().to_string();
        for setting in [
            "lease.expiry",
            "lease.leases_max",
            "retrieval.records_max",
            "delivery.retry_min",
            "shutdown.drain",
        ] {
            assert!(text.contains(setting), "{setting} is missing in {text}");
        }
    }

    #[test]
    fn expiry_below_three_renewals_names_both() {
        let mut config = WorkerConfig::default();
        config.lease.expiry = Duration::from_secs(5);
        config.lease.renew_every = Some(Duration::from_secs(3));
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "invalid configuration: lease.expiry (5s) must be at least 3 x lease.renew_every (3s)"
        );
    }

    #[test]
    fn expiry_below_two_heartbeats_names_both() {
        let mut config = WorkerConfig::default();
        config.lease.beat_every = Some(Duration::from_secs(5));
        assert!(config.validate().is_ok());
        config.lease.beat_every = Some(Duration::from_millis(5_001));
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "invalid configuration: lease.expiry (10s) must be at least 2 x lease.beat_every (5.001s)"
        );
        config.lease.beat_every = Some(Duration::from_millis(99));
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("lease.beat_every (99ms)"), "{error}");
    }

    #[test]
    fn lookouts_need_sessions() {
        let mut config = WorkerConfig::default();
        config.lease.lookouts = true;
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "invalid configuration: lease.lookouts (true) needs lease.liveness to be Session"
        );
        config.lease.liveness = Liveness::Session;
        assert!(config.validate().is_ok());
    }

    #[test]
    fn row_every_has_a_range() {
        let mut config = WorkerConfig::default();
        config.lease.row_every = Some(Duration::from_hours(24));
        assert!(config.validate().is_ok());
        config.lease.row_every = Some(Duration::from_millis(999));
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "invalid configuration: lease.row_every (999ms) must be between 1s and 86400s"
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_read_back_what_they_write() {
        let lease = LeaseConfig::default().with_expiry(Duration::from_secs(90));
        let policy = CheckpointPolicy::Every { records: 500, time: Duration::from_millis(1_500) };
        let failure = FailurePolicy::retry_for(Duration::from_hours(2), OnExhausted::DeadLetter);
        let delivery = DeliveryConfig::default().with_checkpoints(policy).with_failure(failure);
        let retrieval = RetrievalConfig::default()
            .with_initial_position("2026-01-31T12:00:00Z".parse().unwrap());
        let config = WorkerConfig::default()
            .with_lease(lease)
            .with_delivery(delivery)
            .with_retrieval(retrieval);
        let text = serde_json::to_string(&config).unwrap();
        for part in [
            r#""expiry":"1m 30s""#,
            r#""checkpoints":{"every":{"records":500,"time":"1s 500ms"}}"#,
            r#""retry_for":"2h""#,
            r#""then":"dead-letter""#,
            r#""initial_position":"2026-01-31T12:00:00.000Z""#,
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(serde_json::from_str::<WorkerConfig>(&text).unwrap(), config);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_left_out_have_their_default_and_unknown_ones_are_refused() {
        let text = r#"{"lease": {"expiry": "30s"}}"#;
        let lease = LeaseConfig::default().with_expiry(Duration::from_secs(30));
        let config: WorkerConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config, WorkerConfig::default().with_lease(lease));
        let error = serde_json::from_str::<WorkerConfig>(r#"{"lease": {"expire": "30s"}}"#);
        assert!(error.unwrap_err().to_string().contains("unknown field `expire`"));
    }
}
