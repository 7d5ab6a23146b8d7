//! The progress that a held lease's row does not contain yet, and the part that the next write
//! stores.

use super::input::StoreEvery;
use crate::consumer::progress::Done;
use crate::lease::write::{Change, Progress};
use crate::model::{Checkpoint, KeptProgress, Lease, Moment, PendingCheckpoint, Timestamp};

/// The progress and requests that the row does not contain yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PendingWrite {
    every: Option<StoreEvery>,
    done: Done,
    /// The checkpoint that the application asks to store now.
    requested: Option<Checkpoint>,
    /// The prepared checkpoint that the application asks to store now.
    preparing: Option<PendingCheckpoint>,
    /// The last checkpoint that this owner prepared.
    prepared: Option<Checkpoint>,
    /// How many records were done when the last applied write was sent.
    written_records: u64,
    /// How many records were done when the write in flight was sent.
    sent_records: u64,
    /// When progress was first made that no write contains, if the times depend on it.
    since: Option<Moment>,
    /// What was last handed to the session.
    handed: Option<(Option<Checkpoint>, Option<Timestamp>)>,
    /// How far it was handed to the session to be stored at once.
    urged: Option<Checkpoint>,
    /// How far the session's row contains the progress.
    kept: Option<Checkpoint>,
}

impl PendingWrite {
    pub(super) fn new(every: Option<StoreEvery>) -> Self {
        Self { every, ..Self::default() }
    }

    /// Records progress of the consumer.
    pub(super) fn advance(&mut self, done: Done, row: &Lease, now: Moment) {
        self.done = self.done.max(done);
        self.start_clock(row, now);
    }

    /// Records a request to store `checkpoint`.
    pub(super) fn ask(&mut self, checkpoint: Checkpoint) {
        self.requested = self.requested.max(Some(checkpoint));
    }

    /// Records a request to store a prepared checkpoint. Returns whether it has to wait for a
    /// write.
    ///
    /// While another one is being stored, the current row answers no request, because it is about
    /// to change.
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

    /// Whether to write now instead of with the next renewal.
    pub(super) fn is_urgent(&self, row: &Lease, now: Moment) -> bool {
        self.requested.is_some() || self.preparing.is_some() || self.is_due(row, now)
    }

    /// Whether progress is due by the policy.
    fn is_due(&self, row: &Lease, now: Moment) -> bool {
        let has_many = self.every.is_some_and(|every| {
            self.is_ahead_of(row) && self.done.records - self.written_records >= every.records
        });
        has_many || self.due_at().is_some_and(|at| now >= at)
    }

    /// Returns when to write at the latest, or `None` if the next renewal is soon enough.
    pub(super) fn due_at(&self) -> Option<Moment> {
        Some(self.since? + self.every?.time)
    }

    /// Records that a write with all progress is sent.
    pub(super) fn send(&mut self) {
        self.sent_records = self.done.records;
        self.since = None;
    }

    /// Records that the write in flight was applied. Returns whether a prepared checkpoint is
    /// stored.
    pub(super) fn written(&mut self, row: &Lease, now: Moment) -> bool {
        self.written_records = self.sent_records;
        self.requested = self.requested.filter(|requested| *requested > row.checkpoint);
        self.start_clock(row, now);
        let prepared = self.preparing.take_if(|preparing| {
            row.pending.as_ref() == Some(preparing) || preparing.checkpoint <= row.checkpoint
        });
        self.prepared = prepared.as_ref().map(|it| it.checkpoint).or(self.prepared);
        prepared.is_some()
    }

    /// Returns the progress since `row` was written, or `None` if there is none.
    pub(super) fn progress(&self, row: &Lease) -> Option<Progress> {
        let newest = self.reached();
        let checkpoint = newest.filter(|newest| {
            *newest > row.checkpoint || (self.requested.is_some() && row.pending.is_some())
        });
        let caught_up_at = self.done.caught_up_at.filter(|at| Some(*at) > row.caught_up_at);
        let reached = checkpoint.unwrap_or(row.checkpoint);
        let preparing = self.preparing.clone().filter(|it| it.checkpoint > reached);
        let pending = match (preparing, checkpoint) {
            (Some(pending), _) => Change::Set(pending),
            // Any checkpoint of this owner settles what a former owner prepared.
            (None, Some(checkpoint)) if self.prepared <= Some(checkpoint) => Change::Remove,
            (None, Some(_) | None) => Change::Keep,
        };
        let moves = checkpoint.is_some() || caught_up_at.is_some() || pending != Change::Keep;
        moves.then_some(Progress { checkpoint, pending, caught_up_at })
    }

    /// Whether progress must go to the row alone: it holds a prepared checkpoint, or is about to.
    pub(super) const fn needs_row(&self, row: &Lease) -> bool {
        row.pending.is_some() || self.preparing.is_some()
    }

    /// Whether the row is to contain the progress as well: it is the first of a child, which proves
    /// that its parents are finished, and must do so as long as the row exists.
    pub(super) fn proves_parents(&self, row: &Lease) -> bool {
        let is_first = !row.parents.is_empty() && !row.checkpoint.has_progressed();
        is_first && self.newest(row).is_some()
    }

    /// Returns the newest checkpoint beyond the row's.
    fn newest(&self, row: &Lease) -> Option<Checkpoint> {
        self.reached().filter(|newest| *newest > row.checkpoint)
    }

    /// Returns the newest checkpoint. What the session contains counts, even if the application
    /// asked for it once and has done nothing since.
    fn reached(&self) -> Option<Checkpoint> {
        self.requested.max(self.done.checkpoint).max(self.kept)
    }

    /// Returns the progress that the session is to contain, and whether at once, or `None` if the
    /// session has been handed that.
    pub(super) fn keep(&mut self, row: &Lease, now: Moment) -> Option<(KeptProgress, bool)> {
        let newest = self.newest(row);
        // Whole seconds are shorter, and an earlier time repeats at most a warning.
        let caught_up_at = self.done.caught_up_at.map(Timestamp::to_whole_seconds);
        let caught_up_at = caught_up_at.filter(|at| Some(*at) > row.caught_up_at);
        let is_urgent = self.requested > self.urged || self.is_due(row, now);
        let wanted = (newest, caught_up_at);
        let is_new = self.handed.unwrap_or_default() != wanted;
        let token = row.token.filter(|_| is_new || is_urgent)?;
        self.handed = Some(wanted);
        if is_urgent {
            self.urged = self.urged.max(newest);
            (self.written_records, self.since) = (self.done.records, None);
        }
        let position = newest.and_then(Checkpoint::position);
        Some((KeptProgress { token, position, caught_up_at }, is_urgent))
    }

    /// Records that the session's row contains the progress up to `checkpoint`.
    pub(super) fn kept(&mut self, checkpoint: Checkpoint) {
        self.kept = self.kept.max(Some(checkpoint));
        self.requested = self.requested.filter(|requested| *requested > checkpoint);
    }

    /// Returns how far the row or the session contains the progress.
    pub(super) fn stored(&self, row: &Lease) -> Checkpoint {
        self.kept.map_or(row.checkpoint, |kept| kept.max(row.checkpoint))
    }

    fn start_clock(&mut self, row: &Lease, now: Moment) {
        let counts = self.every.is_some() && self.is_ahead_of(row);
        self.since = counts.then(|| self.since.unwrap_or(now));
    }

    fn is_ahead_of(&self, row: &Lease) -> bool {
        let handed = self.handed.and_then(|(checkpoint, _)| checkpoint);
        self.done.checkpoint > handed.max(Some(row.checkpoint))
    }
}
