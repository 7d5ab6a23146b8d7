//! The writes to a lease: what each requires of the row, and how it changes it.
//!
//! A write is a value. The memory store applies [`LeaseWrite::apply`]; a database store translates
//! the same [`Precondition`] and [`Effect`] into its own language; a property test compares the
//! two. The rules are `docs/internals/lease-protocol.md`, section "Writes".

use std::collections::BTreeSet;
use std::time::Duration;

use crate::lease::precondition::{Field, Precondition};
use crate::model::{
    Checkpoint, FencingToken, Lease, LeaseCounter, LeaseKey, Liveness, NewLease, PendingCheckpoint,
    ShardId, Timestamp, WorkerId, WriteStamp,
};

/// One conditional write to one lease.
///
/// Sending the same value twice is harmless: once it is applied, its precondition no longer holds,
/// and the row carries its stamp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseWrite {
    /// The row's key.
    pub key: LeaseKey,
    /// The writer.
    pub worker: WorkerId,
    /// The writer's own write number. A worker uses each number once.
    pub number: u64,
    /// What the write does.
    pub kind: WriteKind,
}

/// The writes of the lease protocol.
///
/// `counter` is the row's counter as the writer last saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the closed vocabulary of the lease protocol")]
pub enum WriteKind {
    /// Creates the row without an owner.
    Create(NewLease),
    /// Takes a lease that is unowned, expired or handed over: the holder's first write.
    Take {
        /// The counter as scanned or read.
        counter: LeaseCounter,
        /// The last write as scanned or read. A row that was deleted by hand and created again
        /// repeats counters, but no write.
        last_write: Field<WriteStamp>,
        /// A counter that the new one must exceed as well: the greatest of the shard's parents.
        floor: LeaseCounter,
        /// How long others must see the counter unchanged before they may take the lease.
        expiry: Duration,
        /// The number of ownership changes since the last checkpoint, including this one.
        owner_switches: u64,
        /// The time that replaces [`Checkpoint::Latest`], which Java leaves on rows without
        /// progress: each owner would start at another record. `None` keeps the checkpoint.
        start_at: Option<Timestamp>,
        /// What proves from now on that the holder is alive.
        lives_by: Liveness,
        /// The progress that the former holder's session has beyond the row, or `None` if it has
        /// none (see [`adopted`](crate::lease::adoption::adopted)).
        adopt: Option<Box<Progress>>,
    },
    /// Proves that the holder is alive, and stores its progress.
    Renew {
        /// The counter as last written.
        counter: LeaseCounter,
        /// The next owner, or `None` if no hand-over is open as far as the holder knows.
        next: Option<WorkerId>,
        /// The progress since the last write, or `None` if there is none.
        progress: Option<Progress>,
    },
    /// Asks the owner to hand the lease over. Leaves the counter unchanged.
    BeginHandover {
        /// The counter as just read.
        counter: LeaseCounter,
        /// The owner that is asked.
        victim: WorkerId,
    },
    /// Hands the lease to the next owner.
    CompleteHandover {
        /// The counter as last written.
        counter: LeaseCounter,
        /// The next owner.
        next: WorkerId,
        /// The progress since the last write, or `None` if there is none.
        progress: Option<Progress>,
        /// The expiry that replaces the mark of a lease that lived by a session, because its
        /// holder is gone; `None` if it lived by its counter.
        unmark: Option<Duration>,
    },
    /// Keeps the lease, because the next owner's heartbeat stopped.
    CancelHandover {
        /// The counter as last written.
        counter: LeaseCounter,
    },
    /// Takes a request for the lease back.
    Withdraw {
        /// The counter as just read.
        counter: LeaseCounter,
        /// The owner, which keeps the lease.
        victim: WorkerId,
    },
    /// Releases the lease, so that any worker may take it.
    Release {
        /// The counter as last written.
        counter: LeaseCounter,
        /// The progress since the last write, or `None` if there is none.
        progress: Option<Progress>,
        /// The expiry that replaces the mark of a lease that lived by a session, or `None`.
        unmark: Option<Duration>,
    },
    /// Marks the shard as finished. All its children have leases.
    EndShard {
        /// The counter as last written.
        counter: LeaseCounter,
        /// The next owner, or `None` if no hand-over is open as far as the holder knows.
        next: Option<WorkerId>,
        /// The shard's children.
        children: BTreeSet<ShardId>,
        /// The expiry that replaces the mark of a lease that lived by a session, or `None`.
        unmark: Option<Duration>,
    },
    /// Deletes the row of a finished shard.
    DeleteEnded {
        /// The counter as read.
        counter: LeaseCounter,
    },
    /// Deletes a row that no worker ever took, with counter 0: a leftover of a late create.
    DeleteUntouched,
}

#[cfg(any(test, feature = "test-util"))]
impl WriteKind {
    /// Returns a take for tests, of a lease that lives by its counter, with an expiry of 10 s.
    #[must_use]
    pub const fn sample_take(counter: LeaseCounter, owner_switches: u64) -> Self {
        Self::Take {
            counter,
            last_write: Field::Any,
            floor: LeaseCounter(0),
            expiry: Duration::from_secs(10),
            owner_switches,
            start_at: None,
            lives_by: Liveness::Counter,
            adopt: None,
        }
    }
}

/// The progress of a shard, as part of a holder's write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// The new checkpoint, or `None` to keep the stored one.
    pub checkpoint: Option<Checkpoint>,
    /// The change of the prepared checkpoint.
    pub pending: Change<PendingCheckpoint>,
    /// When the consumer last reached the end of the shard, or `None` to keep the stored time.
    pub caught_up_at: Option<Timestamp>,
}

impl Progress {
    /// Creates progress to a new checkpoint, which removes any prepared one.
    #[must_use]
    pub const fn to(checkpoint: Checkpoint, caught_up_at: Option<Timestamp>) -> Self {
        Self { checkpoint: Some(checkpoint), pending: Change::Remove, caught_up_at }
    }

    /// Creates progress that stores a prepared checkpoint.
    #[must_use]
    pub const fn prepare(pending: PendingCheckpoint) -> Self {
        Self { checkpoint: None, pending: Change::Set(pending), caught_up_at: None }
    }
}

/// How an attribute changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Change<T> {
    /// It keeps its value.
    #[default]
    Keep,
    /// It gets this value.
    Set(T),
    /// It is removed.
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

/// How a write changes a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "stores translate every case")]
pub enum Effect {
    /// The row becomes this one.
    Put(Box<Lease>),
    /// These attributes change. All others stay, including unknown ones.
    Update(Box<Update>),
    /// The row is deleted.
    Delete,
}

/// The attributes that a write changes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Update {
    /// The stamp of the write with the new counter, or `None` to keep the counter.
    pub stamp: Option<WriteStamp>,
    /// The change of the owner.
    pub owner: Change<WorkerId>,
    /// The change of the outgoing owner.
    pub checkpoint_owner: Change<WorkerId>,
    /// The new checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The time at which the shard starts.
    pub start_at: Option<Timestamp>,
    /// The prepared checkpoint.
    pub pending: Change<PendingCheckpoint>,
    /// The new number of ownership changes since the last checkpoint.
    pub owner_switches: Option<u64>,
    /// The counter that a take sets, or `None` for all other writes.
    pub token: Option<FencingToken>,
    /// The owner's expiry, or the mark of a session.
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

    /// Returns `row` with these attributes changed.
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
        row.start_at = self.start_at.or(row.start_at);
        row.owner_switches = self.owner_switches.unwrap_or(row.owner_switches);
        row.token = self.token.or(row.token);
        row.expiry = self.expiry.or(row.expiry);
        row.caught_up_at = self.caught_up_at.or(row.caught_up_at);
        if let Some(children) = &self.children {
            row.children.clone_from(children);
        }
        row
    }
}

impl LeaseWrite {
    /// Returns what the row must look like.
    #[must_use]
    pub fn precondition(&self) -> Precondition {
        use Field::{Absent, Any, Is};
        let me = || Is(self.worker.clone());
        let row = |counter: &LeaseCounter, owner, checkpoint_owner| Precondition::Row {
            counter: *counter,
            owner,
            checkpoint_owner,
            last_write: Any,
            must_be_ended: false,
        };
        match &self.kind {
            WriteKind::Create(_) => Precondition::NoRow,
            WriteKind::Take { counter, last_write, .. } => Precondition::Row {
                counter: *counter,
                owner: Any,
                checkpoint_owner: Any,
                last_write: last_write.clone(),
                must_be_ended: false,
            },
            WriteKind::Renew { counter, next, .. } | WriteKind::EndShard { counter, next, .. } => {
                match next {
                    None => row(counter, me(), Absent),
                    Some(next) => row(counter, Is(next.clone()), me()),
                }
            }
            WriteKind::BeginHandover { counter, victim } => {
                row(counter, Is(victim.clone()), Absent)
            }
            WriteKind::CompleteHandover { counter, next, .. } => {
                row(counter, Is(next.clone()), me())
            }
            WriteKind::CancelHandover { counter } => row(counter, Any, me()),
            WriteKind::Withdraw { counter, victim } => row(counter, me(), Is(victim.clone())),
            WriteKind::Release { counter, .. } => row(counter, me(), Absent),
            WriteKind::DeleteEnded { counter } => Precondition::Row {
                counter: *counter,
                owner: Any,
                checkpoint_owner: Any,
                last_write: Any,
                must_be_ended: true,
            },
            WriteKind::DeleteUntouched => row(&LeaseCounter(0), Absent, Absent),
        }
    }

    /// Returns how the write changes a row that meets its precondition.
    #[must_use]
    pub fn effect(&self) -> Effect {
        let me = || Change::Set(self.worker.clone());
        let counted = || Update { stamp: self.stamp(), ..Update::default() };
        let update = match &self.kind {
            WriteKind::Create(new) => return Effect::Put(Box::new(self.created(new))),
            WriteKind::DeleteEnded { .. } | WriteKind::DeleteUntouched => return Effect::Delete,
            WriteKind::Take { expiry, owner_switches, start_at, lives_by, adopt, .. } => {
                let adopted = counted().with_progress(adopt.as_deref());
                // Adopted progress is a position: no owner starts at a time any more.
                let start_at = start_at.filter(|_| adopted.checkpoint.is_none());
                let checkpoint = start_at.map(|_| Checkpoint::AtTimestamp);
                Update {
                    owner: me(),
                    checkpoint_owner: Change::Remove,
                    checkpoint: checkpoint.or(adopted.checkpoint),
                    start_at,
                    token: adopted.stamp.as_ref().map(|stamp| stamp.counter.into()),
                    expiry: Some(lives_by.stored(*expiry)),
                    owner_switches: Some(*owner_switches),
                    ..adopted
                }
            }
            WriteKind::Renew { progress, .. } => counted().with_progress(progress.as_ref()),
            WriteKind::BeginHandover { victim, .. } => Update {
                owner: me(),
                checkpoint_owner: Change::Set(victim.clone()),
                ..Update::default()
            },
            WriteKind::CompleteHandover { progress, unmark, .. } => {
                Update { checkpoint_owner: Change::Remove, expiry: *unmark, ..counted() }
                    .with_progress(progress.as_ref())
            }
            WriteKind::CancelHandover { .. } => {
                Update { owner: me(), checkpoint_owner: Change::Remove, ..counted() }
            }
            WriteKind::Withdraw { victim, .. } => Update {
                owner: Change::Set(victim.clone()),
                checkpoint_owner: Change::Remove,
                ..counted()
            },
            WriteKind::Release { progress, unmark, .. } => {
                Update { owner: Change::Remove, expiry: *unmark, ..counted() }
                    .with_progress(progress.as_ref())
            }
            WriteKind::EndShard { children, unmark, .. } => {
                Update { children: Some(children.clone()), expiry: *unmark, ..counted() }
                    .with_progress(Some(&Progress::to(Checkpoint::ShardEnd, None)))
            }
        };
        Effect::Update(Box::new(update))
    }

    /// Returns the stamp that the write leaves on the row, or `None` if it keeps the counter or
    /// deletes the row.
    #[must_use]
    pub fn stamp(&self) -> Option<WriteStamp> {
        let counter = match &self.kind {
            WriteKind::Create(_) => LeaseCounter(0),
            WriteKind::Take { counter, floor, .. } => counter.max(floor).next(),
            WriteKind::Renew { counter, .. }
            | WriteKind::CompleteHandover { counter, .. }
            | WriteKind::CancelHandover { counter }
            | WriteKind::Withdraw { counter, .. }
            | WriteKind::Release { counter, .. }
            | WriteKind::EndShard { counter, .. } => counter.next(),
            WriteKind::BeginHandover { .. }
            | WriteKind::DeleteEnded { .. }
            | WriteKind::DeleteUntouched => return None,
        };
        Some(WriteStamp { counter, worker: self.worker.clone(), number: self.number })
    }

    /// Whether `row` proves that this write was applied.
    #[must_use]
    pub fn made(&self, row: &Lease) -> bool {
        let stamp = self.stamp();
        stamp.is_some() && stamp == row.last_write && row.is_ours()
    }

    /// Whether the row meets the precondition.
    #[must_use]
    pub fn is_allowed(&self, row: Option<&Lease>) -> bool {
        self.precondition().is_met_by(row)
    }

    /// Returns the row after the write, `Some(None)` if the write deletes it, or `None` if the
    /// precondition does not hold.
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
            token: None,
            last_write: self.stamp(),
        }
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
