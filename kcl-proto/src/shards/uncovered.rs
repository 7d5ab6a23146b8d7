//! Which holes in the leases are real, and which come from reading shards and leases one after the
//! other.

use crate::model::HashKeyRange;
use crate::shards::coverage::{covers, union};

/// Remembers the holes of the last look, and which ones were reported.
///
/// A look reads shards and leases one after the other, and its plan creates the leases it can. So
/// only a hole that the next look sees again is real.
#[derive(Clone, Debug, Default)]
pub struct HoleWatch {
    last: Vec<HashKeyRange>,
    reported: Vec<HashKeyRange>,
}

impl HoleWatch {
    /// Records the holes of one look. Returns those that the look before saw too, unless they were
    /// reported already.
    #[must_use]
    pub fn observe(&mut self, holes: &[HashKeyRange]) -> Vec<HashKeyRange> {
        let again = common(&self.last, holes);
        let is_new = |hole: &&HashKeyRange| !covers(**hole, self.reported.iter().copied());
        let fresh = again.iter().filter(is_new).copied().collect();
        self.last = holes.to_vec();
        self.reported = again;
        fresh
    }
}

/// Returns the hash keys that lie in both.
fn common(one: &[HashKeyRange], other: &[HashKeyRange]) -> Vec<HashKeyRange> {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    union(pairs.filter(|(one, other)| one.overlaps(other)).map(|(one, other)| HashKeyRange {
        start: one.start.max(other.start),
        end: one.end.min(other.end),
    }))
}

#[cfg(test)]
#[path = "uncovered_tests.rs"]
mod tests;
