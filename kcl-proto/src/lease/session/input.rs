//! The inputs and effects of the machine of a session, and its times.

use std::fmt;
use std::time::Duration;

use crate::lease::session_write::SessionWrite;
use crate::model::{
    Conditional, FencingToken, KeptProgress, Lease, LeaseKey, Moment, Session, WorkerId,
};

/// The times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionTimes {
    /// How long others must see the heartbeat unchanged before they may condemn the worker.
    pub expiry: Duration,
    /// The time between two heartbeats: at most half of the expiry.
    pub beat_every: Duration,
    /// The pause before a throttled write is sent again, unless the session is about to lapse.
    pub throttled: Duration,
}

impl SessionTimes {
    /// Returns until when a heartbeat that was sent at `sent` lets its worker process: nine tenths
    /// of an expiry, so that nobody has condemned the worker by then even if clock speeds differ by
    /// 5 %.
    pub(super) fn deadline(&self, sent: Moment) -> Moment {
        sent + self.expiry / 10 * 9
    }
}

/// A sign of life of a holder, with what it has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderReport {
    /// Its lease.
    pub key: LeaseKey,
    /// Its progress, or `None` if it has none to store.
    pub progress: Option<KeptProgress>,
}

/// An input of [`SessionKeeper`](super::SessionKeeper).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionInput {
    /// Time passed: at least until [`SessionKeeper::wake_at`](super::SessionKeeper::wake_at).
    Tick,
    /// The write in flight was answered.
    Answered(Conditional<Session>),
    /// The write in flight failed: it may have been applied, or may still be.
    Unanswered,
    /// The write in flight was throttled: the table had no capacity for it.
    Throttled,
    /// A holding that lives by this session began. What was kept of earlier ones of that lease is
    /// void: the take has stored it.
    Holds {
        /// The lease.
        key: LeaseKey,
        /// The token of the holding.
        token: FencingToken,
    },
    /// What holders have reported since the last such input. It comes before the roll is called, so
    /// that the heartbeat that is due contains all of it.
    Reports {
        /// One for each holder that is alive.
        reports: Vec<HolderReport>,
        /// Whether to beat at once, instead of with the next heartbeat.
        is_urgent: bool,
    },
    /// The holding ended.
    Ended(LeaseKey),
    /// A read or a write returned this row of a lease.
    Seen(Box<Lease>),
    /// A consistent read found no row of this lease.
    Gone(LeaseKey),
    /// The worker stops: announce it.
    Leave,
    /// Nothing runs: free all leases at once.
    Resign,
    /// The worker has stopped. Its row goes, unless a lease names the worker: then it resigns.
    Close {
        /// Whether a lease may name the worker.
        is_named: bool,
    },
}

/// An effect of [`SessionKeeper`](super::SessionKeeper), for the caller to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEffect {
    /// Send this write, and feed its outcome.
    Write(SessionWrite),
    /// Let the holders process until this moment.
    Lives(Moment),
    /// The row contains this progress of a lease.
    Stored {
        /// The lease.
        key: LeaseKey,
        /// The progress.
        progress: KeptProgress,
    },
    /// Another worker asks for this lease: read its row.
    Asked(LeaseKey),
    /// The holder of this lease does not answer. Give it no later moment than the last one; after
    /// that one, release the lease with the progress that the row contains.
    Stuck {
        /// The lease.
        key: LeaseKey,
        /// Until when the holder may process at most.
        until: Moment,
    },
    /// The session has ended, and with it every holding. No effect follows.
    Ended(SessionEnd),
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condemned(by) => write!(f, "{by} declared this worker dead"),
            Self::Gone => f.write_str("its row was deleted"),
            Self::Overwritten => f.write_str("its row was overwritten"),
            Self::Resigned => f.write_str("it resigned"),
            Self::Closed => f.write_str("it closed"),
        }
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionEnd {
    /// The worker was condemned by this one.
    Condemned(WorkerId),
    /// The row was deleted by hand, or by a version that does not know sessions.
    Gone,
    /// The row was written by something else under this worker's id.
    Overwritten,
    /// It resigned: all its leases are free.
    Resigned,
    /// It is closed: no lease named it.
    Closed,
}
