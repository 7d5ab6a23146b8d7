//! Whether a worker is alive, as far as one or two looks at its rows can tell.

use std::time::Duration;

use crate::model::{Lease, Session, Timestamp, WorkerId};
use crate::operate::look::Seen;

/// How old the rows of this library's workers claim to be.
const CLAIMED_AGE: Duration = Duration::from_hours(1);

/// How far clocks may be apart before that is worth a word.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// After what time a Java worker's row says that it is dead: it writes it every 30 s.
const JAVA_SILENT_AFTER: Duration = Duration::from_secs(90);

/// How long a Java lease must stand still between two looks before its owner counts as silent.
const JAVA_STILL: Duration = Duration::from_secs(20);

/// Whether a worker is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignOfLife {
    /// Its rows move, or are fresh. `ago` is the time since it last wrote, by its own clock, if known.
    Alive { ago: Option<Duration> },
    /// Its rows have stood still for this time.
    Silent { since: Duration },
    /// Its row says that it is dead.
    Dead,
    /// It has no row, and every living worker has one.
    Gone,
    /// One look at the rows of an old Java worker does not tell.
    Unknown,
}

impl SignOfLife {
    pub(super) const fn is_alive(self) -> bool {
        matches!(self, Self::Alive { .. })
    }

    /// Whether it is known that the worker does not live.
    pub(super) const fn is_lost(self) -> bool {
        match self {
            Self::Silent { .. } | Self::Dead | Self::Gone => true,
            Self::Alive { .. } | Self::Unknown => false,
        }
    }

    /// The sign of life of the worker that holds `lease`.
    pub(super) fn of_holder(holder: &WorkerId, lease: &Lease, seen: &Seen<'_>) -> Self {
        let own = Self::of(holder, seen);
        if matches!(own, Self::Dead | Self::Alive { .. }) {
            return own;
        }
        let earlier = seen.earlier.and_then(|earlier| earlier.leases.get(&lease.key));
        let moved = earlier.map(|earlier| earlier.counter != lease.counter);
        match moved {
            Some(true) => Self::Alive { ago: None },
            Some(false) if own == Self::Unknown && seen.between() >= JAVA_STILL => {
                Self::Silent { since: seen.between() }
            }
            Some(false) | None if own == Self::Unknown && lease.is_ours() => Self::Gone,
            Some(false) | None => own,
        }
    }

    /// The sign of life of a worker by its own row. [`Unknown`](Self::Unknown) without one.
    pub(super) fn of(worker: &WorkerId, seen: &Seen<'_>) -> Self {
        if let Some(row) = seen.look.sessions.get(worker) {
            return Self::of_row(row, seen);
        }
        let Some(updated_at) = seen.look.java_worker(worker) else { return Self::Unknown };
        let before = seen.earlier.and_then(|earlier| earlier.java_worker(worker));
        let ago = seen.look.at.since(updated_at);
        if before.is_some_and(|before| before != updated_at) || ago <= JAVA_SILENT_AFTER {
            Self::Alive { ago: Some(ago) }
        } else {
            Self::Silent { since: ago }
        }
    }

    fn of_row(row: &Session, seen: &Seen<'_>) -> Self {
        if row.dead.is_some() {
            return Self::Dead;
        }
        let ago = seen.look.at.since(written_at(row));
        let before = seen.earlier.and_then(|earlier| earlier.sessions.get(&row.worker));
        match before {
            Some(before) if before.beat != row.beat => Self::Alive { ago: Some(ago) },
            Some(_) if seen.between() > row.expiry => {
                Self::Silent { since: ago.max(seen.between()) }
            }
            Some(_) | None if ago <= row.expiry + SKEW_MAX => Self::Alive { ago: Some(ago) },
            Some(_) | None => Self::Silent { since: ago },
        }
    }
}

/// When a worker wrote its row, by its own clock.
pub(super) fn written_at(row: &Session) -> Timestamp {
    row.last_update.after(CLAIMED_AGE)
}

/// Returns how far a living worker's clock is ahead of the look's (positive) or behind it, in
/// seconds, if it is further than its row's age explains.
pub(super) fn skew_seconds(row: &Session, seen: &Seen<'_>) -> Option<i64> {
    let written = written_at(row);
    let ahead = written.since(seen.look.at);
    if ahead > SKEW_MAX {
        return i64::try_from(ahead.as_secs()).ok();
    }
    // Behind: the row claims to be older than the earlier look, but has changed since.
    let before = seen.earlier.and_then(|earlier| earlier.sessions.get(&row.worker))?;
    let behind = seen.look.at.since(written).saturating_sub(seen.between());
    let has_moved = before.beat != row.beat;
    (has_moved && behind > SKEW_MAX).then(|| i64::try_from(behind.as_secs()).ok().map(|it| -it))?
}
