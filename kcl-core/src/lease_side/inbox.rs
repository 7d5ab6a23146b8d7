//! What other tasks of the lease side report to the main loop.

use kcl_proto::model::{Lease, LeaseEnd, LeaseKey, WorkerId};

/// A lease that is no longer held.
#[derive(Debug)]
pub(super) struct EndedLease {
    pub(super) how: LeaseEnd,
    /// The row as this worker last saw it.
    pub(super) row: Lease,
}

/// A message of a holder, a request or the presence to the main loop.
#[derive(Debug)]
pub(super) enum ToMainLoop {
    /// A worker asks for the lease.
    HandoverAsked { key: LeaseKey, next: WorkerId },
    /// The lease is no longer held. Its consumer may still exist.
    LeaseEnded(Box<EndedLease>),
    /// The consumer is gone too.
    ConsumerGone { key: LeaseKey },
    /// This worker's heartbeat moves again. It had stood still for an expiry, so that this worker
    /// counted as dead for others.
    Revived,
    /// This worker's row says that it leaves.
    Announced,
    /// The row of this lease carries a request of this worker, and no renewal shows it to its owner.
    RequestBegun { key: LeaseKey, owner: WorkerId },
    /// A request read this row, or a holder wrote it.
    RowKnown { row: Box<Lease> },
}
