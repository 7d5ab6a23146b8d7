//! What a held lease's row does not say yet, and what of it the next write says.

use super::input::StoreEvery;
use crate::consumer::progress::Done;
use crate::lease::write::{Change, Progress};
use crate::model::{Checkpoint, Lease, Moment, PendingCheckpoint};

/// What the consumer did and the row does not say yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PendingWrite {
    every: Option<StoreEvery>,
    done: Done,
    /// The checkpoint that the application wants to be stored now.
    asked: Option<Checkpoint>,
    /// What the application wants to be prepared now.
    preparing: Option<PendingCheckpoint>,
    /// What this owner prepared last.
    prepared: Option<Checkpoint>,
    /// How many records were done when the write was made that the row shows.
    written_records: u64,
    /// The same for the write in flight.
    sent_records: u64,
    /// Since when something is done that no write was made for, if that matters.
    since: Option<Moment>,
}

impl PendingWrite {
    pub(super) fn new(every: Option<StoreEvery>) -> Self {
        Self { every, ..Self::default() }
    }

    /// The consumer did this.
    pub(super) fn advance(&mut self, done: Done, row: &Lease, now: Moment) {
        self.done = self.done.max(done);
        self.note_since(row, now);
    }

    /// The application wants this checkpoint to be stored.
    pub(super) fn ask(&mut self, checkpoint: Checkpoint) {
        self.asked = self.asked.max(Some(checkpoint));
    }

    /// The application wants this to be prepared. Returns whether a write has to be waited for.
    ///
    /// While something else is being prepared, the row as it is answers nobody: it says nothing of
    /// that, and is not what it will be afterwards.
    pub(super) fn prepare(&mut self, pending: PendingCheckpoint, row: &Lease) -> bool {
        let is_settled = pending.checkpoint <= row.checkpoint;
        if self.preparing.is_none() && (is_settled || row.pending.as_ref() == Some(&pending)) {
            self.prepared = Some(pending.checkpoint);
            return false;
        }
        if !is_settled {
            self.preparing = Some(pending);
        }
        true
    }

    /// Whether it has to be written at once, not with the next renewal.
    pub(super) fn is_urgent(&self, row: &Lease, now: Moment) -> bool {
        let has_many = self.every.is_some_and(|every| {
            self.is_ahead_of(row) && self.done.records - self.written_records >= every.records
        });
        let is_old = self.due_at().is_some_and(|at| now >= at);
        self.asked.is_some() || self.preparing.is_some() || has_many || is_old
    }

    /// From when on it has to be written.
    pub(super) fn due_at(&self) -> Option<Moment> {
        Some(self.since? + self.every?.time)
    }

    /// A write is made with everything that there is.
    pub(super) fn send(&mut self) {
        self.sent_records = self.done.records;
        self.since = None;
    }

    /// The write was made, and this is the row. Returns whether something was prepared.
    pub(super) fn written(&mut self, row: &Lease, now: Moment) -> bool {
        self.written_records = self.sent_records;
        self.asked = self.asked.filter(|asked| *asked > row.checkpoint);
        self.note_since(row, now);
        let prepared = self.preparing.take_if(|preparing| {
            row.pending.as_ref() == Some(preparing) || preparing.checkpoint <= row.checkpoint
        });
        self.prepared = prepared.as_ref().map(|it| it.checkpoint).or(self.prepared);
        prepared.is_some()
    }

    /// What moved since the row was written.
    pub(super) fn progress(&self, row: &Lease) -> Option<Progress> {
        let newest = self.asked.max(self.done.checkpoint);
        let checkpoint = newest.filter(|newest| {
            *newest > row.checkpoint || (self.asked.is_some() && row.pending.is_some())
        });
        let caught_up_at = self.done.caught_up_at.filter(|at| Some(*at) > row.caught_up_at);
        let reached = checkpoint.unwrap_or(row.checkpoint);
        let preparing = self.preparing.clone().filter(|it| it.checkpoint > reached);
        let pending = match (preparing, checkpoint) {
            (Some(pending), _) => Change::Set(pending),
            // What a former owner prepared is settled by whatever this one stores.
            (None, Some(checkpoint)) if self.prepared <= Some(checkpoint) => Change::Remove,
            (None, Some(_) | None) => Change::Keep,
        };
        let moves = checkpoint.is_some() || caught_up_at.is_some() || pending != Change::Keep;
        moves.then_some(Progress { checkpoint, pending, caught_up_at })
    }

    fn note_since(&mut self, row: &Lease, now: Moment) {
        let counts = self.every.is_some() && self.is_ahead_of(row);
        self.since = counts.then(|| self.since.unwrap_or(now));
    }

    fn is_ahead_of(&self, row: &Lease) -> bool {
        self.done.checkpoint > Some(row.checkpoint)
    }
}
