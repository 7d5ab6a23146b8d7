//! Which workers are present: this worker saw their heartbeats move within an expiry, by its own
//! clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Moment, Presence, WorkerId};

/// How long a heartbeat must stand still at least before its row is deleted.
const GONE_AFTER: Duration = Duration::from_mins(2);

/// How far apart two looks at a heartbeat must be at least to prove that it stands still, however
/// often its worker writes it: three heartbeats at the default expiry.
const STILL_AFTER: Duration = Duration::from_secs(10);

/// Remembers when each worker's heartbeat was last seen to move.
#[derive(Clone, Debug, Default)]
pub struct PresenceWatch {
    seen: BTreeMap<WorkerId, Sighting>,
}

/// A worker's row as it was last seen.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    beat: u64,
    /// The worker's own expiry, which paces its heartbeat.
    expiry: Duration,
    /// Whether the worker is stopping.
    is_leaving: bool,
    /// When the current beat was first seen.
    since: Moment,
    /// When the row was last seen.
    looked: Moment,
    /// Whether the beat moved since the row was first seen, which proves the worker alive.
    has_moved: bool,
    /// Whether a lease of the worker was expired at the last call of `present`.
    is_silenced: bool,
    /// The beat that the worker had when a lease of it expired. The worker is absent until it
    /// moves.
    silenced_at: Option<u64>,
    /// The beat with which this worker removes the row of a dead worker.
    removed_at: Option<u64>,
}

impl Sighting {
    fn of(row: &Presence, earlier: Option<&Self>, now: Moment) -> Self {
        match earlier {
            None => Self {
                beat: row.beat,
                expiry: row.expiry,
                is_leaving: row.is_leaving,
                since: now,
                looked: now,
                has_moved: false,
                is_silenced: false,
                silenced_at: None,
                removed_at: None,
            },
            Some(earlier) if earlier.beat == row.beat => {
                Self { expiry: row.expiry, looked: now, ..*earlier }
            }
            Some(earlier) => Self {
                beat: row.beat,
                expiry: row.expiry,
                is_leaving: row.is_leaving,
                since: now,
                looked: now,
                has_moved: true,
                ..*earlier
            },
        }
    }

    fn silence(&mut self, is_silenced: bool) {
        if is_silenced && !self.is_silenced {
            self.silenced_at = Some(self.beat);
        }
        self.is_silenced = is_silenced;
    }

    fn is_present(&self, expiry: Duration, now: Moment) -> bool {
        !self.is_leaving && self.silenced_at != Some(self.beat) && self.is_fresh(expiry, now)
    }

    /// Whether the heartbeat may yet move. Where looks are rare, a second one that finds the same
    /// beat proves that it stands still, before `expiry` is over.
    fn is_fresh(&self, expiry: Duration, now: Moment) -> bool {
        let stands_still = self.looked.since(self.since) >= self.expiry.max(STILL_AFTER);
        !stands_still && now.since(self.since) < expiry.max(self.expiry)
    }
}

impl PresenceWatch {
    /// Records a whole scan. Workers that are not in it are gone.
    pub fn observe_scan(&mut self, rows: &[Presence], now: Moment) {
        let earlier = std::mem::take(&mut self.seen);
        let sight =
            |row: &Presence| (row.worker.clone(), Sighting::of(row, earlier.get(&row.worker), now));
        self.seen = rows.iter().map(sight).collect();
    }

    /// Records one row that was read.
    pub fn see(&mut self, row: &Presence, now: Moment) {
        let sighting = Sighting::of(row, self.seen.get(&row.worker), now);
        self.seen.insert(row.worker.clone(), sighting);
    }

    /// Returns the workers that are stopping and were seen within `expiry` or their own one.
    #[must_use]
    pub fn leaving(&self, expiry: Duration, now: Moment) -> BTreeSet<WorkerId> {
        let is_leaving =
            |sighting: &Sighting| sighting.is_leaving && sighting.is_fresh(expiry, now);
        let leaving = self.seen.iter().filter(|(_, sighting)| is_leaving(sighting));
        leaving.map(|(worker, _)| worker.clone()).collect()
    }

    /// Whether a worker that is stopping was seen within `expiry` or its own one.
    #[must_use]
    pub fn is_one_leaving(&self, expiry: Duration, now: Moment) -> bool {
        !self.leaving(expiry, now).is_empty()
    }

    /// Returns the workers whose heartbeat moved or was first seen within `expiry` or their own
    /// expiry, whichever is longer.
    ///
    /// `silenced` are the workers with a lease that is expired now. A worker in this set counts as
    /// absent until its heartbeat moves.
    pub fn present(
        &mut self,
        expiry: Duration,
        silenced: &BTreeSet<WorkerId>,
        now: Moment,
    ) -> BTreeSet<WorkerId> {
        for (worker, sighting) in &mut self.seen {
            sighting.silence(silenced.contains(worker));
        }
        let present = self.seen.iter().filter(|(_, sighting)| sighting.is_present(expiry, now));
        present.map(|(worker, _)| worker.clone()).collect()
    }

    /// Records that other workers took expired leases of these workers, which are absent until
    /// their heartbeats move.
    pub fn dead_for_others<'a>(&mut self, workers: impl IntoIterator<Item = &'a WorkerId>) {
        for worker in workers {
            if let Some(sighting) = self.seen.get_mut(worker) {
                sighting.silenced_at = Some(sighting.beat);
            }
        }
    }

    /// Returns the heartbeat at which the row of a dead worker is to be removed, once for each
    /// heartbeat: a worker that starts later would count it as present for an expiry.
    pub fn remove(&mut self, dead: &WorkerId) -> Option<u64> {
        let sighting = self.seen.get_mut(dead)?;
        let beat = Some(sighting.beat).filter(|beat| sighting.removed_at != Some(*beat));
        sighting.removed_at = Some(sighting.beat);
        beat
    }

    /// Returns when a worker's heartbeat last moved or was first seen, or `None` if it has no row.
    ///
    /// If the heartbeat may stand still for longer than `expiry`, namely for `window` or the
    /// worker's own expiry, the result is later by the difference: a caller that waits for `expiry`
    /// from then on waits long enough.
    #[must_use]
    pub fn last_moved(
        &self,
        worker: &WorkerId,
        expiry: Duration,
        window: Duration,
    ) -> Option<Moment> {
        let sighting = self.seen.get(worker)?;
        Some(sighting.since + sighting.expiry.max(window).saturating_sub(expiry))
    }

    /// Returns the workers whose rows are to be deleted, because their heartbeats stood still for
    /// at least two minutes, two windows and two of their own expiries. Such rows make scans
    /// expensive, and a worker that starts counts them as present at first. A live worker writes
    /// its row again with its next heartbeat.
    #[must_use]
    pub fn long_gone(&self, window: Duration, now: Moment) -> Vec<WorkerId> {
        let is_gone = |sighting: &Sighting| {
            now.since(sighting.since) >= GONE_AFTER.max(window * 2).max(sighting.expiry * 2)
        };
        let gone = self.seen.iter().filter(|(_, sighting)| is_gone(sighting));
        gone.map(|(worker, _)| worker.clone()).collect()
    }

    /// Returns another live incarnation with the same stable name, or `None` if there is none. It
    /// is alive if its heartbeat moves.
    #[must_use]
    pub fn same_name(&self, me: &WorkerId, expiry: Duration, now: Moment) -> Option<WorkerId> {
        self.seen
            .iter()
            .filter(|(worker, _)| *worker != me && worker.name() == me.name())
            .find(|(_, sighting)| sighting.has_moved && sighting.is_present(expiry, now))
            .map(|(worker, _)| worker.clone())
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
