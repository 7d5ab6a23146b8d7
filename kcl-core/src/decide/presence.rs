//! Which workers are there: their beat moved within an expiry, on this clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Moment, Presence, WorkerId};

/// When each worker's beat was last seen to move.
#[derive(Clone, Debug, Default)]
pub struct PresenceWatch {
    seen: BTreeMap<WorkerId, Sighting>,
}

/// A worker's row as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    beat: u64,
    /// When the beat was first seen as it is.
    since: Moment,
    /// Whether the beat moved since the row was first seen: somebody is there, and not only a row.
    has_moved: bool,
    /// Whether a lease of the worker was expired when it was last looked at.
    is_silenced: bool,
    /// The beat that the worker had when its first lease expired. It is absent until that moves.
    silenced_at: Option<u64>,
}

impl Sighting {
    fn of(row: &Presence, earlier: Option<&Self>, now: Moment) -> Self {
        match earlier {
            None => Self {
                beat: row.beat,
                since: now,
                has_moved: false,
                is_silenced: false,
                silenced_at: None,
            },
            Some(earlier) if earlier.beat == row.beat => *earlier,
            Some(earlier) => Self { beat: row.beat, since: now, has_moved: true, ..*earlier },
        }
    }

    fn silence(&mut self, is_silenced: bool) {
        if is_silenced && !self.is_silenced {
            self.silenced_at = Some(self.beat);
        }
        self.is_silenced = is_silenced;
    }

    fn is_present(&self, expiry: Duration, now: Moment) -> bool {
        self.silenced_at != Some(self.beat) && now.since(self.since) < expiry
    }
}

impl PresenceWatch {
    /// Takes in a whole scan. Workers that are not in it are gone.
    pub fn observe_scan(&mut self, rows: &[Presence], now: Moment) {
        let earlier = std::mem::take(&mut self.seen);
        let sight =
            |row: &Presence| (row.worker.clone(), Sighting::of(row, earlier.get(&row.worker), now));
        self.seen = rows.iter().map(sight).collect();
    }

    /// The workers whose beat moved, or was first seen, within `expiry`.
    ///
    /// `silenced` are those of whom a lease is expired now. Whoever gets in there is absent until
    /// its beat moves, even if it gets out of there before.
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

    /// When a worker's beat last moved or was first seen; none if there is no row of it.
    #[must_use]
    pub fn last_moved(&self, worker: &WorkerId) -> Option<Moment> {
        self.seen.get(worker).map(|sighting| sighting.since)
    }

    /// Another live incarnation of the same stable name: its beat moves, so it is no leftover row.
    #[must_use]
    pub fn same_name(&self, me: &WorkerId, expiry: Duration, now: Moment) -> Option<WorkerId> {
        self.seen
            .iter()
            .filter(|(worker, _)| *worker != me && worker.name() == me.name())
            .find(|(_, sighting)| sighting.has_moved && sighting.is_present(expiry, now))
            .map(|(worker, _)| worker.clone())
    }
}
