//! Answers of the lease table besides leases: outcomes of conditional writes, and rows of the Java
//! KCL.

use std::time::Duration;

use crate::model::{Lease, Timestamp};

/// The outcome of a conditional write to a row of type `T`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "a lost write means that the lease has changed"]
#[expect(clippy::exhaustive_enums, reason = "a condition holds or it does not")]
pub enum Conditional<T = Lease> {
    /// The precondition held and the write was applied. Contains the new row, or the deleted one.
    Applied(T),
    /// The precondition did not hold, and the write changed nothing.
    Lost {
        /// The current row, or `None` if there is none.
        found: Option<T>,
    },
}

impl<T> Conditional<T> {
    /// Returns the row that the write left, deleted or was lost to.
    #[must_use]
    pub const fn row(&self) -> Option<&T> {
        match self {
            Self::Applied(row) => Some(row),
            Self::Lost { found } => found.as_ref(),
        }
    }

    /// Returns the outcome of a write that found this row and, if it was applied, left that one.
    /// `None` if an applied write neither found nor left a row, which none does.
    #[must_use]
    pub fn of(found: Option<T>, applied: Option<Option<T>>) -> Option<Self> {
        match applied {
            None => Some(Self::Lost { found }),
            Some(left) => left.or(found).map(Self::Applied),
        }
    }
}

/// A row of the Java KCL that is not a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JavaRow {
    /// The row's key.
    pub key: String,
    /// The row's `entityType`, such as `LEADER`.
    pub entity: String,
    /// A text that changes whenever the row does, as rows of a live Java worker do.
    pub fingerprint: String,
    /// How long a leader's lock holds after its last change, or `None` for other rows.
    pub holds_for: Option<Duration>,
    /// When a worker says that it wrote its row, by its own clock, or `None` for other rows.
    pub updated_at: Option<Timestamp>,
}

impl JavaRow {
    /// Creates a row from its key, kind and content, without [`updated_at`](Self::updated_at).
    #[must_use]
    pub const fn new(
        key: String,
        entity: String,
        fingerprint: String,
        holds_for: Option<Duration>,
    ) -> Self {
        Self { key, entity, fingerprint, holds_for, updated_at: None }
    }
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableRow {
    /// The row's key.
    pub key: String,
    /// What is wrong with the row, including the attribute's name.
    pub problem: String,
    /// A text that changes whenever the row does, as rows of a live worker do.
    pub fingerprint: String,
}

impl UnreadableRow {
    /// Creates a row from its key, its problem and its content.
    #[must_use]
    pub const fn new(key: String, problem: String, fingerprint: String) -> Self {
        Self { key, problem, fingerprint }
    }
}
