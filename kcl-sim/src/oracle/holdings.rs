//! How many leases each worker holds, for workers with a maximum.

use std::collections::BTreeMap;

use kcl_core::backend::WriteKind;
use kcl_core::model::{LeaseKey, WorkerId};

use super::landing::Landing;
use crate::time::Time;

/// The leases of the workers that have a maximum.
///
/// A lease counts from the take that lands until it is written that the worker holds it no longer,
/// the worker ends it, or the time for which its last write holds it is over. One that lives by a
/// session counts without end once the worker knows that it has taken it.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    of: BTreeMap<WorkerId, Holding>,
}

/// Who writes to a lease, and who held it before: by the ids with which these workers started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parties<'a> {
    pub(super) writer: &'a WorkerId,
    pub(super) former: Option<&'a WorkerId>,
}

#[derive(Debug, Default)]
struct Holding {
    most: usize,
    held: BTreeMap<LeaseKey, Held>,
}

/// How a worker holds a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Until when, by its last write.
    pub(super) until: Time,
    /// Whether it lives by the worker's session.
    pub(super) is_session: bool,
}

impl Holdings {
    /// A worker starts that holds at most `most` leases.
    pub(crate) fn starts(&mut self, worker: &WorkerId, most: usize) {
        self.of.insert(worker.clone(), Holding { most, held: BTreeMap::new() });
    }

    /// Whether any worker has had a maximum.
    pub(crate) fn are_limited(&self) -> bool {
        !self.of.is_empty()
    }

    /// Notes a write that has landed and holds the lease until then, if it does. Returns what the
    /// writer now holds and may hold, if that is too much.
    pub(super) fn landed(
        &mut self,
        landing: &Landing<'_>,
        Parties { writer, former }: Parties<'_>,
        new: Held,
    ) -> Option<(usize, usize)> {
        let (id, key) = (&landing.write.worker, &landing.write.key);
        let before = landing.before.and_then(|lease| lease.holder());
        let holder = landing.after.and_then(|lease| lease.holder());
        if let Some(former) = former.filter(|_| before != holder) {
            self.ends(former, key);
        }
        let holding = self.of.get_mut(writer).filter(|_| holder == Some(id))?;
        if !matches!(landing.write.kind, WriteKind::Take { .. }) {
            let held = holding.held.get_mut(key)?;
            held.until = new.until.max(held.until);
            return None;
        }
        holding.held.insert(key.clone(), new);
        holding.held.retain(|_, held| held.until > landing.at);
        (holding.held.len() > holding.most).then_some((holding.held.len(), holding.most))
    }

    /// Notes that a worker knows that it has taken a lease.
    pub(super) fn knows(&mut self, worker: &WorkerId, key: &LeaseKey) {
        let held = self.of.get_mut(worker).and_then(|holding| holding.held.get_mut(key));
        if let Some(held) = held.filter(|held| held.is_session) {
            held.until = Time::MAX;
        }
    }

    /// Notes that a worker holds nothing any more.
    pub(super) fn end_all(&mut self, worker: &WorkerId) {
        if let Some(holding) = self.of.get_mut(worker) {
            holding.held.clear();
        }
    }

    /// Notes that a worker ends a lease.
    pub(super) fn ends(&mut self, worker: &WorkerId, key: &LeaseKey) {
        if let Some(holding) = self.of.get_mut(worker) {
            holding.held.remove(key);
        }
    }
}
