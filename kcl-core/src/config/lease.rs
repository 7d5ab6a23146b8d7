//! Settings of leases.

use std::time::Duration;

use crate::config::error::{Mistake, check_count, check_duration};

/// How leases are held, and how fast a crash is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseConfig {
    /// How long a lease's counter must stay unchanged before others may take the lease.
    ///
    /// Default: 10 s. From 1 s to 1 h, and at least three times [`renew_every`](Self::renew_every).
    /// Workers of one fleet may differ: the longer of two expiries counts.
    /// Source: Java KCL 3 `LeaseManagementConfig.failoverTimeMillis`.
    pub expiry: Duration,
    /// How often a held lease is renewed.
    ///
    /// Default: a third of [`expiry`](Self::expiry).
    pub renew_every: Option<Duration>,
    /// How many leases this worker holds at most.
    ///
    /// Default: no limit. At least 1.
    /// Source: Java KCL `LeaseManagementConfig.maxLeasesForWorker`.
    pub leases_max: Option<usize>,
    /// How long an owner that was asked to hand a lease over may take to finish its batch. Then the
    /// batch is cancelled, and the next owner delivers it again.
    ///
    /// Default: 30 s. From 1 s to 1 h.
    /// Source: Java KCL 3 `GracefulLeaseHandoffConfig.gracefulLeaseHandoffTimeoutMillis`.
    pub hand_over: Duration,
    /// How many hand-overs to this worker may be open at once.
    ///
    /// Default: 16. From 1 to 1,000.
    pub hand_overs_max: usize,
    /// How many DynamoDB read units a second the whole fleet spends on scans of the table.
    ///
    /// Default: 100. From 1 to 100,000. A scan takes place at least every second while that allows.
    pub scan_units: usize,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            expiry: Duration::from_secs(10),
            renew_every: None,
            leases_max: None,
            hand_over: Duration::from_secs(30),
            hand_overs_max: 16,
            scan_units: 100,
        }
    }
}

impl LeaseConfig {
    /// How often a held lease is renewed: as set, or a third of the expiry.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        self.renew_every.unwrap_or(self.expiry / 3)
    }

    pub(super) fn check(&self, mistakes: &mut Vec<Mistake>) {
        const HOUR: Duration = Duration::from_hours(1);
        const SECOND: Duration = Duration::from_secs(1);
        check_duration(mistakes, "lease.expiry", self.expiry, (SECOND, HOUR));
        check_duration(mistakes, "lease.hand_over", self.hand_over, (SECOND, HOUR));
        check_count(mistakes, "lease.hand_overs_max", self.hand_overs_max, (1, 1_000));
        check_count(mistakes, "lease.scan_units", self.scan_units, (1, 100_000));
        if let Some(max) = self.leases_max {
            check_count(mistakes, "lease.leases_max", max, (1, usize::MAX));
        }
        if let Some(renewal) = self.renew_every {
            let range = (Duration::from_millis(100), HOUR);
            check_duration(mistakes, "lease.renew_every", renewal, range);
            if renewal.saturating_mul(3) > self.expiry {
                let problem = format!(
                    "({:?}) must be at least 3 x lease.renew_every ({renewal:?})",
                    self.expiry
                );
                mistakes.push(Mistake { setting: "lease.expiry", problem });
            }
        }
    }
}
