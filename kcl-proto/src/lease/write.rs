//! Every write that a worker can make to a lease: what it requires of the row, and what it does to it.
//!
//! A write is a value. The memory store applies [`LeaseWrite::apply`]; a database store translates
//! the same [`Precondition`] and [`Effect`] into its own language; a property test compares the two.
//! The rules are `docs/internals/lease-protocol.md`, section "Writes".

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{
    Checkpoint, Lease, LeaseCounter, LeaseKey, NewLease, PendingCheckpoint, ShardId, Timestamp,
    WorkerId, WriteStamp,
};

/// One conditional write to one lease.
///
/// Sending the same value twice is harmless: once it counted, its precondition no longer holds, and
/// the row found carries its stamp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseWrite {
    /// The row.
    pub key: LeaseKey,
    /// Who writes.
    pub worker: WorkerId,
    /// The writer's own write number: never used twice by one worker.
    pub number: u64,
    /// What it does.
    pub kind: WriteKind,
}

/// The writes of the lease protocol.
///
/// `counter` is always the row's counter as the writer last saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the closed vocabulary of the lease protocol")]
pub enum WriteKind {
    /// Makes the row, unowned.
    Create(NewLease),
    /// Takes an unowned or expired lease, or one that was handed over: the holder's first write.
    Take {
        /// As sighted.
        counter: LeaseCounter,
        /// How long others must see the counter unchanged before they may take the lease.
        expiry: Duration,
        /// The row's ownership changes since its last checkpoint, with this one.
        owner_switches: u64,
    },
    /// Proves that the holder is alive, and stores its progress.
    Renew {
        /// As last written.
        counter: LeaseCounter,
        /// The next owner, once a hand-over is known.
        next: Option<WorkerId>,
        /// What moved since the last write.
        progress: Option<Progress>,
    },
    /// Asks the owner to hand the lease over. The counter stays.
    BeginHandOver {
        /// As just read.
        counter: LeaseCounter,
        /// The owner.
        victim: WorkerId,
    },
    /// The outgoing owner gives the lease to the next one.
    CompleteHandOver {
        /// As last written.
        counter: LeaseCounter,
        /// The next owner.
        next: WorkerId,
        /// What moved since the last write.
        progress: Option<Progress>,
    },
    /// The owner keeps the lease: the other side went silent.
    CancelHandOver {
        /// As last written.
        counter: LeaseCounter,
    },
    /// Whoever asked for the lease no longer wants it.
    Withdraw {
        /// As just read.
        counter: LeaseCounter,
        /// The owner, who keeps it.
        victim: WorkerId,
    },
    /// The holder gives the lease up, for anybody to take.
    Release {
        /// As last written.
        counter: LeaseCounter,
        /// What moved since the last write.
        progress: Option<Progress>,
    },
    /// The shard is finished, and all its children have leases.
    EndShard {
        /// As last written.
        counter: LeaseCounter,
        /// The next owner, once a hand-over is known.
        next: Option<WorkerId>,
        /// The shard's children.
        children: BTreeSet<ShardId>,
    },
    /// Removes the row of a finished shard.
    DeleteEnded {
        /// As read.
        counter: LeaseCounter,
    },
    /// Removes a row that nobody ever took, a leftover of a late create: its counter is 0.
    DeleteUntouched,
}

/// What a holder stores about its shard, along with a write that it makes anyway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The new checkpoint; none leaves it as it is.
    pub checkpoint: Option<Checkpoint>,
    /// The prepared checkpoint. A new checkpoint removes it, unless another is set.
    pub pending: Change<PendingCheckpoint>,
    /// When the consumer was last at the end of the shard.
    pub caught_up_at: Option<Timestamp>,
}

impl Progress {
    /// A new checkpoint, which settles any prepared one.
    #[must_use]
    pub const fn to(checkpoint: Checkpoint, caught_up_at: Option<Timestamp>) -> Self {
        Self { checkpoint: Some(checkpoint), pending: Change::Remove, caught_up_at }
    }

    /// A prepared checkpoint.
    #[must_use]
    pub const fn prepare(pending: PendingCheckpoint) -> Self {
        Self { checkpoint: None, pending: Change::Set(pending), caught_up_at: None }
    }
}

/// What a row must look like for a write to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Precondition {
    /// There is no row.
    NoRow,
    /// There is a row, and it is like this.
    Row {
        /// Its counter.
        counter: LeaseCounter,
        /// Its owner.
        owner: Field<WorkerId>,
        /// Its outgoing owner.
        checkpoint_owner: Field<WorkerId>,
        /// Whether it must be a finished shard's.
        must_be_ended: bool,
    },
}

/// What an attribute must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Field<T> {
    /// It does not matter.
    Any,
    /// It is not there.
    Absent,
    /// It is this.
    Is(T),
}

impl<T: PartialEq> Field<T> {
    /// Whether a value is as required.
    #[must_use]
    pub fn admits(&self, found: Option<&T>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Is(wanted) => found == Some(wanted),
        }
    }
}

/// What becomes of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Change<T> {
    /// It stays.
    #[default]
    Keep,
    /// It becomes this.
    Set(T),
    /// It goes.
    Remove,
}

impl<T: Clone> Change<T> {
    fn apply_to(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => *field = Some(value.clone()),
            Self::Remove => *field = None,
        }
    }
}

/// What a write makes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Effect {
    /// This row, whole.
    Put(Box<Lease>),
    /// These attributes change; all others stay, unknown ones too.
    Update(Box<Update>),
    /// The row goes.
    Delete,
}

/// The attributes that a write changes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Update {
    /// The new counter, with the stamp of the write that set it.
    pub stamp: Option<WriteStamp>,
    /// The owner.
    pub owner: Change<WorkerId>,
    /// The outgoing owner.
    pub checkpoint_owner: Change<WorkerId>,
    /// The new checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The prepared checkpoint.
    pub pending: Change<PendingCheckpoint>,
    /// The new number of ownership changes since the last checkpoint.
    pub owner_switches: Option<u64>,
    /// The owner's expiry.
    pub expiry: Option<Duration>,
    /// When the consumer was last at the end of the shard.
    pub caught_up_at: Option<Timestamp>,
    /// The shard's children.
    pub children: Option<BTreeSet<ShardId>>,
}

impl Update {
    fn with_progress(mut self, progress: Option<&Progress>) -> Self {
        if let Some(progress) = progress {
            self.checkpoint = progress.checkpoint;
            self.pending = progress.pending.clone();
            self.caught_up_at = progress.caught_up_at;
            self.owner_switches = progress.checkpoint.map(|_| 0);
        }
        self
    }

    /// The row with these attributes changed.
    #[must_use]
    pub fn apply_to(&self, row: &Lease) -> Lease {
        let mut row = row.clone();
        if let Some(stamp) = &self.stamp {
            row.counter = stamp.counter;
            row.last_write = Some(stamp.clone());
        }
        self.owner.apply_to(&mut row.owner);
        self.checkpoint_owner.apply_to(&mut row.checkpoint_owner);
        self.pending.apply_to(&mut row.pending);
        row.checkpoint = self.checkpoint.unwrap_or(row.checkpoint);
        row.owner_switches = self.owner_switches.unwrap_or(row.owner_switches);
        row.expiry = self.expiry.or(row.expiry);
        row.caught_up_at = self.caught_up_at.or(row.caught_up_at);
        if let Some(children) = &self.children {
            row.children.clone_from(children);
        }
        row
    }
}

impl LeaseWrite {
    /// What the row must look like.
    #[must_use]
    pub fn precondition(&self) -> Precondition {
        use Field::{Absent, Any, Is};
        let me = || Is(self.worker.clone());
        let row = |counter: &LeaseCounter, owner, checkpoint_owner| Precondition::Row {
            counter: *counter,
            owner,
            checkpoint_owner,
            must_be_ended: false,
        };
        match &self.kind {
            WriteKind::Create(_) => Precondition::NoRow,
            WriteKind::Take { counter, .. } => row(counter, Any, Any),
            WriteKind::Renew { counter, next, .. } | WriteKind::EndShard { counter, next, .. } => {
                match next {
                    None => row(counter, me(), Absent),
                    Some(next) => row(counter, Is(next.clone()), me()),
                }
            }
            WriteKind::BeginHandOver { counter, victim } => {
                row(counter, Is(victim.clone()), Absent)
            }
            WriteKind::CompleteHandOver { counter, next, .. } => {
                row(counter, Is(next.clone()), me())
            }
            WriteKind::CancelHandOver { counter } => row(counter, Any, me()),
            WriteKind::Withdraw { counter, victim } => row(counter, me(), Is(victim.clone())),
            WriteKind::Release { counter, .. } => row(counter, me(), Absent),
            WriteKind::DeleteEnded { counter } => Precondition::Row {
                counter: *counter,
                owner: Any,
                checkpoint_owner: Any,
                must_be_ended: true,
            },
            WriteKind::DeleteUntouched => row(&LeaseCounter(0), Absent, Absent),
        }
    }

    /// What the write makes of a row that meets its precondition.
    #[must_use]
    pub fn effect(&self) -> Effect {
        let me = || Change::Set(self.worker.clone());
        let counted = || Update { stamp: self.stamp(), ..Update::default() };
        let update = match &self.kind {
            WriteKind::Create(new) => return Effect::Put(Box::new(self.created(new))),
            WriteKind::DeleteEnded { .. } | WriteKind::DeleteUntouched => return Effect::Delete,
            WriteKind::Take { expiry, owner_switches, .. } => Update {
                owner: me(),
                checkpoint_owner: Change::Remove,
                expiry: Some(*expiry),
                owner_switches: Some(*owner_switches),
                ..counted()
            },
            WriteKind::Renew { progress, .. } => counted().with_progress(progress.as_ref()),
            WriteKind::BeginHandOver { victim, .. } => Update {
                owner: me(),
                checkpoint_owner: Change::Set(victim.clone()),
                ..Update::default()
            },
            WriteKind::CompleteHandOver { progress, .. } => {
                Update { checkpoint_owner: Change::Remove, ..counted() }
                    .with_progress(progress.as_ref())
            }
            WriteKind::CancelHandOver { .. } => {
                Update { owner: me(), checkpoint_owner: Change::Remove, ..counted() }
            }
            WriteKind::Withdraw { victim, .. } => Update {
                owner: Change::Set(victim.clone()),
                checkpoint_owner: Change::Remove,
                ..counted()
            },
            WriteKind::Release { progress, .. } => {
                Update { owner: Change::Remove, ..counted() }.with_progress(progress.as_ref())
            }
            WriteKind::EndShard { children, .. } => {
                Update { children: Some(children.clone()), ..counted() }
                    .with_progress(Some(&Progress::to(Checkpoint::ShardEnd, None)))
            }
        };
        Effect::Update(Box::new(update))
    }

    /// The stamp that the write leaves on the row; none if it leaves the counter, or the row goes.
    #[must_use]
    pub fn stamp(&self) -> Option<WriteStamp> {
        let counter = match &self.kind {
            WriteKind::Create(_) => LeaseCounter(0),
            WriteKind::Take { counter, .. }
            | WriteKind::Renew { counter, .. }
            | WriteKind::CompleteHandOver { counter, .. }
            | WriteKind::CancelHandOver { counter }
            | WriteKind::Withdraw { counter, .. }
            | WriteKind::Release { counter, .. }
            | WriteKind::EndShard { counter, .. } => counter.next(),
            WriteKind::BeginHandOver { .. }
            | WriteKind::DeleteEnded { .. }
            | WriteKind::DeleteUntouched => return None,
        };
        Some(WriteStamp { counter, worker: self.worker.clone(), number: self.number })
    }

    /// Whether `row` shows that this very write counted.
    #[must_use]
    pub fn made(&self, row: &Lease) -> bool {
        let stamp = self.stamp();
        stamp.is_some() && stamp == row.last_write && row.is_ours()
    }

    /// Whether the row is as the write requires.
    #[must_use]
    pub fn is_allowed(&self, row: Option<&Lease>) -> bool {
        match (self.precondition(), row) {
            (Precondition::NoRow, row) => row.is_none(),
            (Precondition::Row { .. }, None) => false,
            (Precondition::Row { counter, owner, checkpoint_owner, must_be_ended }, Some(row)) => {
                row.counter == counter
                    && owner.admits(row.owner.as_ref())
                    && checkpoint_owner.admits(row.checkpoint_owner.as_ref())
                    && (row.is_ended() || !must_be_ended)
            }
        }
    }

    /// The row after the write, if it is allowed: `Some(None)` is no row.
    #[must_use]
    pub fn apply(&self, row: Option<&Lease>) -> Option<Option<Lease>> {
        if !self.is_allowed(row) {
            return None;
        }
        Some(match self.effect() {
            Effect::Put(lease) => Some(*lease),
            Effect::Update(update) => row.map(|row| update.apply_to(row)),
            Effect::Delete => None,
        })
    }

    fn created(&self, new: &NewLease) -> Lease {
        Lease {
            key: new.key.clone(),
            owner: None,
            checkpoint_owner: None,
            counter: LeaseCounter(0),
            owner_switches: 0,
            checkpoint: new.checkpoint,
            pending: None,
            parents: new.parents.clone(),
            children: BTreeSet::new(),
            hash_range: Some(new.hash_range),
            start_at: new.start_at,
            expiry: None,
            caught_up_at: None,
            last_write: self.stamp(),
        }
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
