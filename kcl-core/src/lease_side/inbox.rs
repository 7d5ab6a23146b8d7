//! What other tasks of the lease side report to the main loop.

use kcl_proto::model::{Lease, LeaseEnd, LeaseKey, Moment, WorkerId};

/// A message of a holder, a request or the presence to the main loop.
#[derive(Debug)]
pub(super) enum ToMainLoop {
    /// A worker asks for the lease.
    HandoverAsked { key: LeaseKey, next: WorkerId },
    /// The lease is no longer held. Its consumer may still exist.
    LeaseEnded { key: LeaseKey, how: LeaseEnd, row: Box<Lease> },
    /// The consumer is gone too.
    ConsumerGone { key: LeaseKey },
    /// This worker's heartbeat was written, and the last one before at this time.
    Heartbeat { before: Moment },
    /// This worker's row says that it leaves.
    Announced,
    /// A request read this row.
    RowRead { row: Box<Lease> },
}
