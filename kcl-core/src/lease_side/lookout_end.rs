//! How a lookout's call ended, and what its worker has learned from it.

use std::collections::BTreeSet;

use kcl_proto::model::{Bulletin, LeaseKey, WorkerId};

use crate::backend::{LeaseStoreError, Page};
use crate::lease_side::relatives::Relatives;

/// How a call ended.
#[derive(Debug)]
pub(super) enum LookoutEnd {
    Read(Result<Page, LeaseStoreError>),
    /// The sessions of these workers.
    Polled(Vec<WorkerId>, Result<Page, LeaseStoreError>),
    /// The rows that these news name.
    Heard(Vec<String>, Result<Page, LeaseStoreError>),
    /// The rows that news named, which may have changed once more before the news left the bulletin.
    HeardAgain(Result<Page, LeaseStoreError>),
    /// The rows of these assigned leases, and of their relatives.
    Looked(Vec<LeaseKey>, Result<Relatives, LeaseStoreError>),
    /// The rows of these leases that this worker holds.
    Audited(Vec<LeaseKey>, Result<Page, LeaseStoreError>),
    /// The bulletin after these news were removed.
    Published(Vec<String>, Result<Option<Bulletin>, LeaseStoreError>),
    Told(BTreeSet<String>, Result<(), LeaseStoreError>),
}

/// What a worker has learned from a call.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// The rows that it read.
    pub(super) page: Page,
    /// The parents of assigned leases that have no row.
    pub(super) gone: Vec<LeaseKey>,
    /// The workers that leases name and whose sessions it has not found.
    pub(super) missing: Vec<WorkerId>,
    /// Whether this worker watches the fleet's sessions, and has read what was due: its looks come
    /// through.
    pub(super) is_poll: bool,
    /// The leases whose rows may name another worker by now, if this one holds them.
    pub(super) doubtful: Vec<LeaseKey>,
}

impl Learned {
    /// Whether rows were read, or what was due of the sessions.
    pub(super) const fn is_look(&self) -> bool {
        self.is_poll
            || !self.missing.is_empty()
            || !self.page.leases.is_empty()
            || !self.page.sessions.is_empty()
    }

    /// Nothing but rows, if any were read.
    pub(super) fn rows(page: Option<Page>) -> Self {
        Self { page: page.unwrap_or_default(), ..Self::default() }
    }
}
