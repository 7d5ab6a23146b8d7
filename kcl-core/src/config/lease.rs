//! Settings of leases.

use std::time::Duration;

use kcl_proto::model::Liveness;

use crate::config::error::InvalidSetting;

/// How leases are held, and how fast a crash is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct LeaseConfig {
    /// How long a lease's counter must stay unchanged before others may take the lease.
    ///
    /// Default: 10 s. From 1 s to 1 h, and at least three times [`renew_every`](Self::renew_every).
    /// Workers of one fleet may differ: the longer of two expiries counts.
    /// Source: Java KCL 3 `LeaseManagementConfig.failoverTimeMillis`.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub expiry: Duration,
    /// How often a held lease is renewed.
    ///
    /// Default: a third of [`expiry`](Self::expiry).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub renew_every: Option<Duration>,
    /// What proves to other workers that this one is alive: the counter of each lease, or one
    /// session for all of them. Sessions cost a fraction of the writes.
    ///
    /// Default: [`Liveness::Counter`]. Every worker of the fleet must know sessions before one of
    /// them sets [`Liveness::Session`]; after that, both work side by side, and a rolling restart
    /// changes a fleet in either direction.
    pub liveness: Liveness,
    /// How often a worker with a session writes its heartbeat, which also stores the progress of
    /// all its leases.
    ///
    /// Default: a third of [`expiry`](Self::expiry). From 100 ms to half of the expiry.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub beat_every: Option<Duration>,
    /// How often a worker with a session also writes the progress of each lease to the lease's own
    /// row, where people and the Java KCL look for it.
    ///
    /// Default: only when a lease moves. From 1 s to 24 h. Each costs a write for each lease that
    /// made progress. [`settle`](crate::settle()) does the same for a fleet that is stopped.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub row_every: Option<Duration>,
    /// Whether two workers of a large fleet read the table for all others, which then scan no more.
    /// Fleets whose scans cost little keep to scans, and so do fleets in which a worker has no
    /// session.
    ///
    /// Default: `false`. `true` needs [`liveness`](Self::liveness) to be [`Liveness::Session`], and
    /// the permission `dynamodb:BatchGetItem`. Workers of one fleet may differ: those that have it
    /// off scan. A table that throttles makes the first start of such a fleet slow.
    pub lookouts: bool,
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
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub handover: Duration,
    /// How many hand-overs to this worker may be open at once.
    ///
    /// Default: 100. From 1 to 1,000. Each takes a few calls, of which at most 40 are in flight.
    pub handovers_max: usize,
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
            liveness: Liveness::Counter,
            beat_every: None,
            row_every: None,
            lookouts: false,
            leases_max: None,
            handover: Duration::from_secs(30),
            handovers_max: 100,
            scan_units: 100,
        }
    }
}

impl LeaseConfig {
    /// Sets [`expiry`](Self::expiry).
    #[must_use]
    pub const fn with_expiry(mut self, expiry: Duration) -> Self {
        self.expiry = expiry;
        self
    }

    /// Sets [`renew_every`](Self::renew_every).
    #[must_use]
    pub const fn with_renew_every(mut self, interval: Duration) -> Self {
        self.renew_every = Some(interval);
        self
    }

    /// Sets [`liveness`](Self::liveness).
    #[must_use]
    pub const fn with_liveness(mut self, liveness: Liveness) -> Self {
        self.liveness = liveness;
        self
    }

    /// Sets [`beat_every`](Self::beat_every).
    #[must_use]
    pub const fn with_beat_every(mut self, interval: Duration) -> Self {
        self.beat_every = Some(interval);
        self
    }

    /// Sets [`row_every`](Self::row_every).
    #[must_use]
    pub const fn with_row_every(mut self, interval: Duration) -> Self {
        self.row_every = Some(interval);
        self
    }

    /// Sets [`lookouts`](Self::lookouts).
    #[must_use]
    pub const fn with_lookouts(mut self, are_on: bool) -> Self {
        self.lookouts = are_on;
        self
    }

    /// Sets [`leases_max`](Self::leases_max).
    #[must_use]
    pub const fn with_leases_max(mut self, leases: usize) -> Self {
        self.leases_max = Some(leases);
        self
    }

    /// Sets [`handover`](Self::handover).
    #[must_use]
    pub const fn with_handover(mut self, time: Duration) -> Self {
        self.handover = time;
        self
    }

    /// Sets [`handovers_max`](Self::handovers_max).
    #[must_use]
    pub const fn with_handovers_max(mut self, handovers: usize) -> Self {
        self.handovers_max = handovers;
        self
    }

    /// Sets [`scan_units`](Self::scan_units).
    #[must_use]
    pub const fn with_scan_units(mut self, units: usize) -> Self {
        self.scan_units = units;
        self
    }

    /// Returns how often a held lease is renewed: as set, or a third of the expiry.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        self.renew_every.unwrap_or(self.expiry / 3)
    }

    /// Returns how often a worker with a session writes its heartbeat: as set, or a third of the
    /// expiry.
    #[must_use]
    pub fn beat(&self) -> Duration {
        self.beat_every.unwrap_or(self.expiry / 3)
    }

    pub(super) fn validate(&self) -> Vec<InvalidSetting> {
        const HOUR: Duration = Duration::from_hours(1);
        const SECOND: Duration = Duration::from_secs(1);
        let mut invalid = Vec::new();
        invalid.extend(InvalidSetting::outside("lease.expiry", self.expiry, SECOND, HOUR));
        invalid.extend(InvalidSetting::outside("lease.handover", self.handover, SECOND, HOUR));
        let (handovers, units) = (self.handovers_max, self.scan_units);
        invalid.extend(InvalidSetting::outside("lease.handovers_max", handovers, 1, 1_000));
        invalid.extend(InvalidSetting::outside("lease.scan_units", units, 1, 100_000));
        if let Some(every) = self.row_every {
            let day = HOUR * 24;
            invalid.extend(InvalidSetting::outside("lease.row_every", every, SECOND, day));
        }
        if self.lookouts && self.liveness == Liveness::Counter {
            let reason = "needs lease.liveness to be Session".to_owned();
            invalid.push(InvalidSetting::new("lease.lookouts", true, reason));
        }
        if let Some(max) = self.leases_max {
            invalid.extend(InvalidSetting::below("lease.leases_max", max, 1));
        }
        let signs_of_life =
            [("lease.renew_every", self.renew_every, 3), ("lease.beat_every", self.beat_every, 2)];
        for (name, every, times) in signs_of_life {
            let Some(every) = every else { continue };
            invalid.extend(InvalidSetting::outside(name, every, Duration::from_millis(100), HOUR));
            if every.saturating_mul(times) > self.expiry {
                let reason = format!("must be at least {times} x {name} ({every:?})");
                invalid.push(InvalidSetting::new("lease.expiry", self.expiry, reason));
            }
        }
        invalid
    }
}
