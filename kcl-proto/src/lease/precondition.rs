//! What a row must look like for a write to be applied.

use crate::model::{Lease, LeaseCounter, WorkerId, WriteStamp};

/// What a row must look like for a write to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Precondition {
    /// There is no row.
    NoRow,
    /// There is a row with these attributes.
    Row {
        /// The row's counter.
        counter: LeaseCounter,
        /// The row's owner.
        owner: Field<WorkerId>,
        /// The row's outgoing owner.
        checkpoint_owner: Field<WorkerId>,
        /// The last write to the row.
        last_write: Field<WriteStamp>,
        /// Whether its shard must be finished.
        must_be_ended: bool,
    },
}

impl Precondition {
    /// Whether the row is as required; `None` is no row.
    #[must_use]
    pub fn is_met_by(&self, row: Option<&Lease>) -> bool {
        match (self, row) {
            (Self::NoRow, row) => row.is_none(),
            (Self::Row { .. }, None) => false,
            (
                Self::Row { counter, owner, checkpoint_owner, last_write, must_be_ended },
                Some(row),
            ) => {
                row.counter == *counter
                    && owner.admits(row.owner.as_ref())
                    && checkpoint_owner.admits(row.checkpoint_owner.as_ref())
                    && last_write.admits(row.last_write.as_ref())
                    && (row.is_ended() || !must_be_ended)
            }
        }
    }
}

/// What an attribute must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Field<T> {
    /// Any value, or absent.
    Any,
    /// Absent.
    Absent,
    /// This value.
    Is(T),
}

impl<T> From<Option<T>> for Field<T> {
    /// Requires the value as it was found, or its absence.
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::Absent, Self::Is)
    }
}

impl<T: PartialEq> Field<T> {
    /// Whether `found` is as required.
    #[must_use]
    pub fn admits(&self, found: Option<&T>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Is(required) => found == Some(required),
        }
    }
}
