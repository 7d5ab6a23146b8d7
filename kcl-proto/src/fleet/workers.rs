//! The workers that share the leases: the one that plans, and the others that are present.

use std::collections::BTreeSet;

use crate::model::WorkerId;

/// The workers of a fleet, as one of them sees it.
#[derive(Clone, Copy, Debug)]
pub struct Workers<'a> {
    /// The worker that plans. It always counts as present.
    pub me: &'a WorkerId,
    /// The workers that are present. May or may not contain `me`.
    pub present: &'a BTreeSet<WorkerId>,
}

impl<'a> Workers<'a> {
    /// Returns all present workers. `me` may occur twice.
    pub(super) fn iter(self) -> impl Iterator<Item = &'a WorkerId> {
        self.present.iter().chain([self.me])
    }

    pub(super) fn is_me(self, worker: &WorkerId) -> bool {
        worker == self.me
    }

    /// Whether `worker` is present and not `me`.
    pub(super) fn is_other(self, worker: &WorkerId) -> bool {
        !self.is_me(worker) && self.present.contains(worker)
    }
}
