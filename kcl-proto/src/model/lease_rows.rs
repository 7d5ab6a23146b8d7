//! What the lease table answers beside leases: outcomes of conditional writes, and rows of others.

use std::time::Duration;

use crate::model::Lease;

/// What came of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "a lost write means the lease is not as you believe"]
#[expect(clippy::exhaustive_enums, reason = "a condition holds or it does not")]
pub enum Conditional {
    /// The precondition held and the write was made. The row as it is now, or, for a delete, as it
    /// was.
    Applied(Lease),
    /// The precondition did not hold and nothing changed. The row as it is; none if there is none.
    Lost {
        /// The row found.
        found: Option<Lease>,
    },
}

/// A row of the Java KCL that is no lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JavaRow {
    /// The row's key.
    pub key: String,
    /// Its `entityType`, such as `LEADER`.
    pub entity: String,
    /// A text that differs whenever the row does: a live Java worker changes its rows.
    pub fingerprint: String,
    /// For a leader's lock: for how long it holds after its last change.
    pub holds_for: Option<Duration>,
}

impl JavaRow {
    /// A row with its key, kind and content.
    #[must_use]
    pub const fn new(
        key: String,
        entity: String,
        fingerprint: String,
        holds_for: Option<Duration>,
    ) -> Self {
        Self { key, entity, fingerprint, holds_for }
    }
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableRow {
    /// The row's key.
    pub key: String,
    /// What is wrong with it: names the attribute.
    pub problem: String,
    /// A text that differs whenever the row does: somebody at work changes its rows.
    pub fingerprint: String,
}

impl UnreadableRow {
    /// A row with its key, what is wrong with it, and its content.
    #[must_use]
    pub const fn new(key: String, problem: String, fingerprint: String) -> Self {
        Self { key, problem, fingerprint }
    }
}
