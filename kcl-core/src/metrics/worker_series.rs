//! The series of a whole worker.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::catalogue;
use crate::metrics::cells::{Counter, Histogram, Timing};
use crate::metrics::family::Family;
use crate::metrics::shard_series::{CommonSeries, add, observe};
use crate::metrics::snapshot::{Origin, Sample};

/// The series of a whole worker that are counted as things happen.
#[derive(Debug)]
pub(super) struct WorkerSeries {
    pub(super) common: Arc<CommonSeries>,
    pub(super) stopped_shards: Family<Counter>,
    pub(super) stalled: Family<Counter>,
    pub(super) lost: Family<Counter>,
    pub(super) at_risk: Family<Counter>,
    stream_calls: Family<Counter>,
    pub(super) takes: Family<Counter>,
    pub(super) lease_ends: Family<Counter>,
    pub(super) hand_overs: Family<Counter>,
    renewals: Family<Counter>,
    renew_time: Family<Histogram>,
    table_calls: Family<Counter>,
    table_time: Family<Timing>,
    pub(super) table_read_units: Family<Counter>,
    pub(super) leases_created: Family<Counter>,
    pub(super) leases_deleted: Family<Counter>,
    pub(super) shards_ended: Family<Counter>,
    pub(super) unreadable_rows: Family<Counter>,
    pub(super) uncovered: Family<Counter>,
}

impl Default for WorkerSeries {
    fn default() -> Self {
        Self {
            common: Arc::default(),
            stopped_shards: Family::new(&catalogue::STOPPED_SHARDS),
            stalled: Family::new(&catalogue::STALLED),
            lost: Family::new(&catalogue::LOST),
            at_risk: Family::new(&catalogue::AT_RISK),
            stream_calls: Family::new(&catalogue::STREAM_CALLS),
            takes: Family::new(&catalogue::TAKES),
            lease_ends: Family::new(&catalogue::LEASE_ENDS),
            hand_overs: Family::new(&catalogue::HAND_OVERS),
            renewals: Family::new(&catalogue::RENEWALS),
            renew_time: Family::new(&catalogue::RENEW_SECONDS),
            table_calls: Family::new(&catalogue::TABLE_CALLS),
            table_time: Family::new(&catalogue::TABLE_CALL_SECONDS),
            table_read_units: Family::new(&catalogue::TABLE_READ_UNITS),
            leases_created: Family::new(&catalogue::LEASES_CREATED),
            leases_deleted: Family::new(&catalogue::LEASES_DELETED),
            shards_ended: Family::new(&catalogue::SHARDS_ENDED),
            unreadable_rows: Family::new(&catalogue::UNREADABLE_ROWS),
            uncovered: Family::new(&catalogue::UNCOVERED),
        }
    }
}

impl WorkerSeries {
    /// Notes how a call to the table ended.
    pub(super) fn table_called(&self, operation: &str, outcome: &str, time: Duration) {
        add(&self.table_calls, &[operation, outcome], 1);
        if let Some(timing) = self.table_time.get(&[operation]) {
            timing.observe(time);
        }
        if operation == "renew" || operation == "beat" {
            add(&self.renewals, &[outcome], 1);
            observe(&self.renew_time, &[], time);
        }
    }

    /// Notes how a call to the stream ended.
    pub(super) fn stream_called(&self, operation: &str, outcome: &str) {
        add(&self.stream_calls, &[operation, outcome], 1);
    }

    /// Appends all series.
    pub(super) fn read(&self, reader: Option<usize>, into: &mut Vec<Sample>) {
        let at = &Origin::WORKER;
        let Self { common, stopped_shards, stalled, lost, at_risk, stream_calls, .. } = self;
        common.calls.read(at, reader, into);
        for family in [stopped_shards, stalled, lost, at_risk, stream_calls] {
            family.read(at, reader, into);
        }
        common.memory_wait.read(at, reader, into);
        for family in [&self.takes, &self.lease_ends, &self.hand_overs, &self.renewals] {
            family.read(at, reader, into);
        }
        self.renew_time.read(at, reader, into);
        self.table_calls.read(at, reader, into);
        self.table_time.read(at, reader, into);
        let Self { table_read_units, leases_created, leases_deleted, .. } = self;
        let Self { shards_ended, unreadable_rows, uncovered, .. } = self;
        for family in [table_read_units, leases_created, leases_deleted] {
            family.read(at, reader, into);
        }
        for family in [shards_ended, unreadable_rows, uncovered] {
            family.read(at, reader, into);
        }
    }
}
