//! What can be set: the table, whether it may be created, and how long calls may take.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, IdentityCache};
use aws_types::SdkConfig;
use kcl_aws::{FreshCredentials, LeaveThrottled};
use kcl_core::config::{InvalidSetting, LeaseConfig, Liveness};

/// Settings of a [`DynamoLeaseStore`](crate::DynamoLeaseStore). A table's name is one already.
///
/// ```
/// use kcl_dynamo::{DynamoLeaseStoreConfig, NewTable, TableSetup};
///
/// let config = DynamoLeaseStoreConfig::new("orders-consumer")
///     .with_setup(TableSetup::CreateIfMissing(NewTable::default().with_tag("team", "orders")));
/// assert_eq!(config.table, "orders-consumer");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default = "unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct DynamoLeaseStoreConfig {
    /// The table's name or ARN. Java's default is the application's name.
    pub table: String,
    /// What to do if the table does not exist. Default: [`TableSetup::MustExist`].
    pub setup: TableSetup,
    /// Whether all workers run in one region, although the table has replicas in others. Default:
    /// false.
    ///
    /// The writes of a global table are conditional within one region only, unless it has
    /// multi-region strong consistency: workers of two regions would hold the same lease. A table
    /// with replicas is refused unless this is set.
    pub one_region: bool,
    /// How long connecting may take. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub connect_timeout: Duration,
    /// How long one attempt of a call may take, connecting included. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub attempt_timeout: Duration,
    /// How long a call may take with all its attempts. Default: 3 s.
    ///
    /// At most a third of the lease expiry: a renewal that fails must leave time for another.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub operation_timeout: Duration,
    /// The most attempts of a call, the first one included; at least 1. Default: 3.
    ///
    /// A throttled attempt is the last one: the worker retries throttled calls at its own pace.
    pub attempts_max: u32,
    /// How long [`prepare`](kcl_core::backend::LeaseStore::prepare) waits for a table that is
    /// being created. Default: 30 s. A worker that starts reports the failure then, and retries
    /// without a limit.
    ///
    /// It is longer than the calls' own timeouts because DynamoDB takes some seconds to create a
    /// table, and because the first call also has to find credentials.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub prepare_timeout: Duration,
}

impl DynamoLeaseStoreConfig {
    /// The defaults, for the table `table`.
    #[must_use]
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            setup: TableSetup::MustExist,
            one_region: false,
            connect_timeout: Duration::from_secs(1),
            attempt_timeout: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(3),
            attempts_max: 3,
            prepare_timeout: Duration::from_secs(30),
        }
    }

    /// Sets [`table`](Self::table).
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// Sets [`setup`](Self::setup).
    #[must_use]
    pub fn with_setup(mut self, setup: TableSetup) -> Self {
        self.setup = setup;
        self
    }

    /// Sets [`one_region`](Self::one_region).
    #[must_use]
    pub const fn with_one_region(mut self) -> Self {
        self.one_region = true;
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub const fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`attempt_timeout`](Self::attempt_timeout).
    #[must_use]
    pub const fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sets [`operation_timeout`](Self::operation_timeout).
    #[must_use]
    pub const fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets [`attempts_max`](Self::attempts_max).
    #[must_use]
    pub const fn with_attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// Sets [`prepare_timeout`](Self::prepare_timeout).
    #[must_use]
    pub const fn with_prepare_timeout(mut self, timeout: Duration) -> Self {
        self.prepare_timeout = timeout;
        self
    }

    /// Returns the settings that cannot work with leases of this expiry.
    pub(crate) fn validate(&self, leases: &LeaseConfig) -> Vec<InvalidSetting> {
        let times = [
            ("leases.connect_timeout", self.connect_timeout),
            ("leases.attempt_timeout", self.attempt_timeout),
            ("leases.operation_timeout", self.operation_timeout),
            ("leases.prepare_timeout", self.prepare_timeout),
        ];
        let mut invalid: Vec<_> = InvalidSetting::zero_times(times).collect();
        let (operation, attempts) = (self.operation_timeout, self.attempts_max);
        let expiry = leases.expiry;
        if operation > expiry / 3 {
            let reason = format!("must be at most a third of lease.expiry ({expiry:?})");
            invalid.push(InvalidSetting::new("leases.operation_timeout", operation, reason));
        }
        if leases.liveness == Liveness::Session && operation > leases.beat() {
            let reason = format!("must be at most lease.beat_every ({:?})", leases.beat());
            invalid.push(InvalidSetting::new("leases.operation_timeout", operation, reason));
        }
        if attempts == 0 {
            let reason = "must be at least 1";
            invalid.push(InvalidSetting::new("leases.attempts_max", attempts, reason));
        }
        if self.table.is_empty() {
            let reason = "must not be empty: name the lease table";
            invalid.push(InvalidSetting::new("leases.table", &self.table, reason));
        }
        invalid
    }

    /// The store's own client: it shares credentials with the other clients of `sdk`, and an HTTP
    /// client if `sdk` was given one.
    pub(crate) fn client(&self, sdk: &SdkConfig, credentials: FreshCredentials) -> Client {
        let retries = RetryConfig::standard()
            .with_max_attempts(self.attempts_max.max(1))
            .with_initial_backoff(BACKOFF_FIRST)
            .with_max_backoff(BACKOFF_MAX);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .operation_attempt_timeout(self.attempt_timeout)
            .operation_timeout(self.operation_timeout)
            .build();
        let config = Builder::from(sdk)
            .credentials_provider(credentials)
            .identity_cache(IdentityCache::no_cache())
            // Failures of other clients to the same service do not use up this one's retries.
            .retry_partition(RetryPartition::new("kcl-dynamo"))
            .retry_classifier(LeaveThrottled::default())
            .retry_config(retries)
            .timeout_config(timeouts);
        Client::from_conf(config.build())
    }
}

/// The pause before the second attempt, at most; the SDK draws a part of it and doubles it then.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest pause before an attempt.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// The defaults for settings that a text leaves out. A table's name is required: [`validate`]
/// refuses an empty one.
///
/// [`validate`]: DynamoLeaseStoreConfig::validate
#[cfg(feature = "serde")]
fn unnamed() -> DynamoLeaseStoreConfig {
    DynamoLeaseStoreConfig::new("")
}

impl From<&str> for DynamoLeaseStoreConfig {
    fn from(table: &str) -> Self {
        Self::new(table)
    }
}

impl From<String> for DynamoLeaseStoreConfig {
    fn from(table: String) -> Self {
        Self::new(table)
    }
}

/// What to do if the table does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_enums, reason = "it is created or it is not")]
pub enum TableSetup {
    /// Fail. The default: a table costs money, and a wrong name must not create one.
    #[default]
    MustExist,
    /// Create it, billed by request. A table that exists is left as it is, but for
    /// [`point_in_time_recovery`](NewTable::point_in_time_recovery).
    CreateIfMissing(NewTable),
}

/// What a table is like that the store creates. Its billing is on demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct NewTable {
    /// Tags. Default: none.
    pub tags: BTreeMap<String, String>,
    /// Whether the table's past can be restored. Default: false.
    ///
    /// It is switched on with every start, also for a table that exists: the worker that
    /// created the table may have crashed before this step.
    /// Source: KCL 3.x `leaseTablePitrEnabled`.
    pub point_in_time_recovery: bool,
    /// Whether deleting the table is refused. Default: false.
    ///
    /// Source: KCL 3.x `leaseTableDeletionProtectionEnabled`.
    pub deletion_protection: bool,
}

impl NewTable {
    /// Adds a tag.
    #[must_use]
    pub fn with_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Switches [`point_in_time_recovery`](Self::point_in_time_recovery) on.
    #[must_use]
    pub const fn with_point_in_time_recovery(mut self) -> Self {
        self.point_in_time_recovery = true;
        self
    }

    /// Switches [`deletion_protection`](Self::deletion_protection) on.
    #[must_use]
    pub const fn with_deletion_protection(mut self) -> Self {
        self.deletion_protection = true;
        self
    }
}
