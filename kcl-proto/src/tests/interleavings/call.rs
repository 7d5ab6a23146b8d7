//! What one worker has in flight: a write of unknown outcome, a consistent read.

use std::sync::Arc;

use super::violation::{Violation, require};
use crate::lease::write::LeaseWrite;
use crate::model::{Conditional, Lease};

/// A write in flight: its machine does not know the outcome yet.
#[derive(Clone, Debug, Hash)]
pub(super) struct Call {
    pub(super) write: LeaseWrite,
    /// Whether the table applied it. The worker cannot see this.
    pub(super) is_made: bool,
    pub(super) state: CallState,
}

#[derive(Clone, Debug, Hash)]
pub(super) enum CallState {
    Waiting,
    Answered(Box<Conditional>),
    Failed,
}

impl Call {
    pub(super) fn new(write: LeaseWrite) -> Self {
        Self { write, is_made: false, state: CallState::Waiting }
    }

    /// Checks that a write on whose success the worker relies was made.
    pub(super) fn check_made(call: Option<&Self>) -> Result<(), Violation> {
        require(call.is_some_and(|call| call.is_made), "SettledTruly", || {
            format!("{:?}", call.map(|call| &call.write))
        })
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, CallState::Waiting)
    }
}

/// A consistent read.
#[derive(Clone, Debug, Hash)]
pub(super) enum Read {
    /// The request is on its way to the table.
    Sent,
    /// The answer is on its way back.
    Served(Option<Arc<Lease>>),
}
