//! One worker in a report.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{Liveness, SessionKind, WorkerId};
use crate::operate::look::Seen;
use crate::operate::sign_of_life::{SignOfLife, skew_seconds};

/// Whether a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum WorkerState {
    /// Its rows move.
    Running,
    /// It stops: it takes no lease, and its leases are about to be free.
    Leaving,
    /// Its rows have stood still for longer than its expiry.
    Silent,
    /// Its row says that it is dead.
    Dead,
    /// Leases name it, and it has no row.
    Gone,
    /// Rows of old Java workers do not tell in one look.
    Unknown,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Leaving => "leaving",
            Self::Silent => "silent",
            Self::Dead => "dead",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        })
    }
}

/// A worker, by its own row and the leases that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct WorkerReport {
    /// The worker.
    pub worker: WorkerId,
    /// Its name, without the letters of its incarnation.
    pub name: String,
    /// Whether it runs.
    pub state: WorkerState,
    /// How many leases name it as their holder, finished ones left out.
    pub leases: usize,
    /// How long ago it wrote its row, by its own clock; `None` if it has none.
    #[cfg_attr(feature = "serde", serde(rename = "wrote_seconds_ago"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::optional"))]
    pub wrote_ago: Option<Duration>,
    /// Its lease expiry; `None` if it does not say.
    #[cfg_attr(feature = "serde", serde(rename = "expiry_seconds"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::optional"))]
    pub expiry: Option<Duration>,
    /// What proves its leases alive; `None` for Java workers.
    pub liveness: Option<Liveness>,
    /// How far its clock is ahead, or behind if negative; `None` if not noticeably.
    #[cfg_attr(feature = "serde", serde(rename = "clock_ahead_seconds"))]
    pub clock_ahead: Option<i64>,
}

impl WorkerReport {
    /// Whether it is known to live, or not known to be dead.
    #[must_use]
    pub const fn may_work(&self) -> bool {
        matches!(self.state, WorkerState::Running | WorkerState::Leaving | WorkerState::Unknown)
    }
}

/// Returns all workers that have rows or that leases name, in the order of their names.
pub(super) fn reports(seen: &Seen<'_>) -> Vec<WorkerReport> {
    let mut held: BTreeMap<&WorkerId, usize> = BTreeMap::new();
    let mut signs: BTreeMap<&WorkerId, SignOfLife> = BTreeMap::new();
    for lease in seen.look.leases.values().filter(|lease| !lease.is_ended()) {
        let Some(holder) = lease.holder() else { continue };
        *held.entry(holder).or_default() += 1;
        let sign = SignOfLife::of_holder(holder, lease, seen);
        // A lease that moves proves its holder alive, whatever another one looks like.
        let known = signs.entry(holder).or_insert(sign);
        if sign.is_alive() {
            *known = sign;
        }
    }
    for worker in seen.look.sessions.keys() {
        signs.entry(worker).or_insert_with(|| SignOfLife::of(worker, seen));
    }
    let java = seen.look.java.iter().filter(|row| row.updated_at.is_some());
    let java: Vec<_> = java.map(|row| WorkerId::from(&*row.key)).collect();
    for worker in &java {
        signs.entry(worker).or_insert_with(|| SignOfLife::of(worker, seen));
    }
    let of = |(worker, sign): (&&WorkerId, &SignOfLife)| {
        report(worker, *sign, held.get(*worker).copied().unwrap_or_default(), seen)
    };
    signs.iter().map(of).collect()
}

fn report(worker: &WorkerId, sign: SignOfLife, leases: usize, seen: &Seen<'_>) -> WorkerReport {
    let row = seen.look.sessions.get(worker);
    let is_leaving = row.is_some_and(|row| row.is_leaving);
    let (state, wrote_ago) = match sign {
        SignOfLife::Alive { ago } if is_leaving => (WorkerState::Leaving, ago),
        SignOfLife::Alive { ago } => (WorkerState::Running, ago),
        SignOfLife::Silent { since } => (WorkerState::Silent, Some(since)),
        SignOfLife::Dead => (WorkerState::Dead, None),
        SignOfLife::Gone => (WorkerState::Gone, None),
        SignOfLife::Unknown => (WorkerState::Unknown, None),
    };
    let is_alive = sign.is_alive();
    let liveness = row.map(|row| match row.kind {
        SessionKind::Session => Liveness::Session,
        SessionKind::Aware | SessionKind::Unaware => Liveness::Counter,
    });
    WorkerReport {
        worker: worker.clone(),
        name: worker.name().to_owned(),
        state,
        leases,
        wrote_ago,
        expiry: row.map(|row| row.expiry),
        liveness,
        clock_ahead: row.filter(|_| is_alive).and_then(|row| skew_seconds(row, seen)),
    }
}
