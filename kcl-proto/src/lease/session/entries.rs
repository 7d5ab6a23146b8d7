//! The progress of a worker's leases that their rows may lack.

use crate::model::{
    Checkpoint, FencingToken, KeptProgress, Lease, LeaseKey, Liveness, SessionProgress, WorkerId,
};

/// The progress of a worker's leases. An entry stays, also after its holding has ended, until the
/// lease's row is known to contain it, or not to name this worker under its token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Entries {
    kept: SessionProgress,
    /// What the last settled write contains.
    stored: SessionProgress,
}

impl Entries {
    /// Returns all progress.
    pub(super) const fn progress(&self) -> &SessionProgress {
        &self.kept
    }

    /// Returns the progress that the last settled write contains.
    pub(super) const fn stored(&self) -> &SessionProgress {
        &self.stored
    }

    /// Records progress, unless it is of an earlier ownership.
    pub(super) fn keep(&mut self, key: LeaseKey, progress: KeptProgress) {
        let kept = self.kept.0.entry(key).or_insert(progress);
        if progress.token > kept.token {
            *kept = progress;
        } else if progress.token == kept.token {
            kept.position = kept.position.max(progress.position);
            kept.caught_up_at = kept.caught_up_at.max(progress.caught_up_at);
        }
    }

    /// Drops what another ownership of the lease left: the one under `token` began after it.
    pub(super) fn begin(&mut self, key: &LeaseKey, token: FencingToken) {
        if self.kept.0.get(key).is_some_and(|kept| kept.token != token) {
            self.remove(key);
        }
    }

    /// Drops what a row outdates.
    pub(super) fn see(&mut self, row: &Lease, me: &WorkerId) {
        let Some(entry) = self.kept.0.get(&row.key) else { return };
        if row.counter.0 < entry.token.get() {
            return; // It was read before the take.
        }
        let names_me = row.is_ours()
            && row.token == Some(entry.token)
            && row.lives_by() == Liveness::Session
            && row.holder() == Some(me);
        let is_stored = entry.position.map(Checkpoint::After) <= Some(row.checkpoint)
            && entry.caught_up_at <= row.caught_up_at;
        if !names_me || is_stored {
            self.remove(&row.key);
        }
    }

    pub(super) fn remove(&mut self, key: &LeaseKey) {
        self.kept.0.remove(key);
    }

    /// Records that a write with this progress was applied. Returns what it stored anew.
    pub(super) fn settle(&mut self, stored: SessionProgress) -> Vec<(LeaseKey, KeptProgress)> {
        let is_new =
            |(key, entry): &(&LeaseKey, &KeptProgress)| self.stored.0.get(*key) != Some(*entry);
        let new = stored.0.iter().filter(is_new).map(|(key, entry)| (key.clone(), *entry));
        let new = new.collect();
        self.stored = stored;
        new
    }
}
