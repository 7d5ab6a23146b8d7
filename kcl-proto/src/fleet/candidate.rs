//! A lease as a planning worker sees it, and which worker it counts for.

use std::time::Duration;

use crate::fleet::workers::Workers;
use crate::model::{Lease, TakeReason, WorkerId};

/// A lease whose shard can be worked on.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The row, as the last scan returned it.
    pub lease: &'a Lease,
    /// What the planning worker knows about it beyond the row.
    pub state: CandidateState,
}

/// What a planning worker knows about a lease beyond its row. The default is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CandidateState {
    /// The planning worker's own part in it.
    pub part: Part,
    /// What the planning worker must not do about it.
    pub restriction: Restriction,
    /// What proves that its holder is dead; `None` if nothing does.
    pub forsaken: Option<Forsaken>,
    /// Whether it could be taken at the last two scans.
    pub is_leftover: bool,
}

/// What proves that the holder of a lease is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forsaken {
    /// The lease is expired.
    Silent {
        /// How long its counter has stood still.
        silent_for: Duration,
    },
    /// The holder was condemned, has resigned, or has no row.
    HolderDead,
}

/// The planning worker's own part in a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Part {
    /// It neither holds nor requests the lease.
    #[default]
    None,
    /// It holds the lease, even if the row has another owner.
    Holds,
    /// Its take of the lease is in flight, or may have been made.
    Takes,
    /// Its request for the lease is open.
    Requests,
}

/// What a planning worker must not do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Restriction {
    /// Nothing is forbidden.
    #[default]
    None,
    /// It must not ask for the lease, because a request for it has just failed.
    Ask,
    /// It must neither take the lease nor ask for it.
    TakeAndAsk,
}

/// Which worker a lease counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim<'a> {
    /// The planning worker: it holds the lease or asked for it.
    Mine,
    /// The planning worker, which has only to take it: the lease was handed over, or the holder
    /// that it asked is dead.
    Arrived,
    /// Another worker, which can be asked for it.
    Askable(&'a WorkerId),
    /// Another worker, which holds it or is about to receive it.
    Theirs(&'a WorkerId),
    /// No worker: the lease can be taken.
    Free,
    /// No worker yet: its owner is absent, but the lease is not expired.
    Waiting,
}

impl<'a> Candidate<'a> {
    pub(super) fn claim(&self, workers: Workers<'a>) -> Claim<'a> {
        let is_me = |worker: &WorkerId| workers.is_me(worker);
        let is_other = |worker: &WorkerId| workers.is_other(worker);
        let is_expired = self.state.forsaken.is_some();
        let (owner, outgoing) = (self.lease.owner.as_ref(), self.lease.checkpoint_owner.as_ref());
        match (self.state.part, owner, outgoing) {
            (Part::Holds, Some(next), Some(outgoing)) if is_me(outgoing) && is_other(next) => {
                Claim::Theirs(next)
            }
            (Part::Holds, _, _) => Claim::Mine,
            (Part::Takes, _, _) => Claim::Mine,
            (Part::Requests, _, _) if is_expired => Claim::Arrived,
            (Part::Requests, _, _) => Claim::Mine,
            (Part::None, None, _) => Claim::Free,
            (Part::None, Some(owner), None) if is_me(owner) => Claim::Arrived,
            (Part::None, Some(owner), Some(_)) if is_me(owner) => {
                if is_expired {
                    Claim::Arrived
                } else {
                    Claim::Mine
                }
            }
            // The holder is dead: the lease is for the worker that asked for it, unless that one
            // delays.
            (Part::None, Some(owner), Some(_)) if is_expired => {
                let is_awaited = is_other(owner) && !self.state.is_leftover;
                if is_awaited { Claim::Theirs(owner) } else { Claim::Free }
            }
            (Part::None, Some(_), None) if is_expired => Claim::Free,
            (Part::None, Some(owner), Some(_)) if is_other(owner) => Claim::Theirs(owner),
            (Part::None, Some(_), Some(outgoing)) if is_other(outgoing) => Claim::Theirs(outgoing),
            (Part::None, Some(owner), None) if is_other(owner) => Claim::Askable(owner),
            (Part::None, Some(_), Some(_) | None) => Claim::Waiting,
        }
    }

    pub(super) const fn may_be_taken(&self) -> bool {
        match self.state.restriction {
            Restriction::None | Restriction::Ask => true,
            Restriction::TakeAndAsk => false,
        }
    }

    pub(super) const fn may_be_asked_for(&self) -> bool {
        matches!(self.state.restriction, Restriction::None)
    }

    /// Returns why `me` can take the lease.
    pub(super) fn take_reason(&self, me: &WorkerId) -> TakeReason {
        match (&self.lease.owner, self.state.forsaken) {
            (None, _) => TakeReason::Unowned,
            (Some(_), None) => TakeReason::HandedOver,
            (Some(_), Some(_)) if self.is_handed_over(me) => TakeReason::HandedOver,
            (Some(_), Some(Forsaken::Silent { silent_for })) => TakeReason::Expired { silent_for },
            (Some(_), Some(Forsaken::HolderDead)) => TakeReason::HolderDead,
        }
    }

    /// Returns the number of ownership changes of the lease once `me` has taken it.
    pub(super) fn owner_switches_after_take(&self, me: &WorkerId) -> u64 {
        let former = if self.is_handed_over(me) {
            self.lease.last_write.as_ref().map(|stamp| &stamp.worker)
        } else {
            self.lease.holder()
        };
        let switches = u64::from(former.is_some_and(|former| former != me));
        self.lease.owner_switches.saturating_add(switches)
    }

    fn is_handed_over(&self, me: &WorkerId) -> bool {
        self.lease.owner.as_ref() == Some(me) && self.lease.checkpoint_owner.is_none()
    }
}
