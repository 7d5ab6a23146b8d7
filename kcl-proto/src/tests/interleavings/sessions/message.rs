//! Writes under way, and what a worker knows of them.

use std::fmt::Debug;
use std::sync::Arc;

use super::super::violation::{Violation, require};
use crate::lease::session_write::SessionWrite;
use crate::lease::write::LeaseWrite;
use crate::model::{Conditional, Lease, Session};

/// A copy of a write in the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    Lease(Arc<LeaseWrite>),
    Session(Arc<SessionWrite>),
}

/// A write whose outcome its machine does not know yet.
#[derive(Clone, Debug, Hash)]
pub(super) struct Call<W, R> {
    pub(super) write: Arc<W>,
    /// Whether the table applied it. The worker cannot see this.
    pub(super) is_made: bool,
    pub(super) has_failed: bool,
    pub(super) answer: Option<Arc<Conditional<R>>>,
}

pub(super) type LeaseCall = Call<LeaseWrite, Lease>;
pub(super) type SessionCall = Call<SessionWrite, Session>;

impl<W: Debug + PartialEq, R> Call<W, R> {
    pub(super) fn new(write: Arc<W>) -> Self {
        Self { write, is_made: false, has_failed: false, answer: None }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.answer.is_none() && !self.has_failed
    }

    /// Records that the table has handled a copy of `write`.
    pub(super) fn landed(&mut self, write: &W, is_made: bool, answer: &Arc<Conditional<R>>) {
        if *self.write == *write {
            self.is_made |= is_made;
            if self.is_waiting() {
                self.answer = Some(Arc::clone(answer));
            }
        }
    }

    /// Checks that a write on whose success the worker relies was made.
    pub(super) fn check_made(call: Option<&Self>) -> Result<(), Violation> {
        let write = || format!("{:?}", call.map(|call| &call.write));
        require(call.is_some_and(|call| call.is_made), "SettledTruly", write)
    }
}
