//! This worker's own part in each lease.

use std::collections::BTreeSet;

use kcl_proto::fleet::candidate::{Part, Restriction};
use kcl_proto::model::LeaseKey;

/// The leases that this worker has a part in, or that it must leave alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnLeases<'a> {
    pub(super) held: &'a BTreeSet<LeaseKey>,
    pub(super) taking: &'a BTreeSet<LeaseKey>,
    pub(super) asked: &'a BTreeSet<LeaseKey>,
    /// Those that it must neither take nor ask for.
    pub(super) blocked: &'a BTreeSet<LeaseKey>,
    /// Those that it must not ask for.
    pub(super) refused: &'a BTreeSet<LeaseKey>,
}

impl OwnLeases<'_> {
    /// This worker's part in a lease.
    pub(super) fn part(&self, key: &LeaseKey) -> Part {
        if self.held.contains(key) {
            Part::Holds
        } else if self.taking.contains(key) {
            Part::Takes
        } else if self.asked.contains(key) {
            Part::Requests
        } else {
            Part::None
        }
    }

    /// What this worker must not do about a lease.
    pub(super) fn restriction(&self, key: &LeaseKey) -> Restriction {
        if self.blocked.contains(key) {
            Restriction::TakeAndAsk
        } else if self.refused.contains(key) {
            Restriction::Ask
        } else {
            Restriction::None
        }
    }
}
