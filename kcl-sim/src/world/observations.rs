//! What a world observes: facts for the oracles, deliveries, a tally of faults, and a trace.

use std::fmt;

use kcl_core::backend::{SessionWrite, SessionWriteKind, WriteKind};
use kcl_core::model::WorkerId;

use super::call::Request;
use super::deliveries::Deliveries;
use super::member::Member;
use crate::fault::{Fault, Tally};
use crate::journal::Entry;
use crate::oracle::Facts;
use crate::time::Time;
use crate::trace::Trace;

/// The `who` of a trace line that is about no worker.
pub(crate) const WORLD: &str = "-";

/// The observations of a world.
#[derive(Debug)]
pub(crate) struct Observations {
    pub(crate) facts: Facts,
    pub(crate) deliveries: Deliveries,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
    /// The journal entries for a story, except polls.
    entries: Option<Vec<Logged>>,
}

/// A journal entry: when, by which worker, and what.
pub(crate) type Logged = (Time, WorkerId, Entry);

impl Observations {
    pub(crate) fn new() -> Self {
        Self {
            facts: Facts::new(),
            deliveries: Deliveries::default(),
            tally: Tally::default(),
            trace: Trace::default(),
            entries: None,
        }
    }

    /// Keeps journal entries from now on.
    pub(crate) fn keep_entries(&mut self) {
        self.entries = Some(Vec::new());
    }

    /// Removes and returns the journal entries that were kept.
    pub(crate) fn take_entries(&mut self) -> Vec<Logged> {
        self.entries.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes a fault, and what it does to whom.
    pub(crate) fn fault(&mut self, fault: Fault, at: Time, who: &str, what: impl fmt::Display) {
        self.tally.count(fault);
        self.trace.line(at, who, what);
    }

    /// Notes a call that a worker sends.
    pub(crate) fn sent(&mut self, at: Time, member: &Member, request: &Request) {
        if let Request::Write(write) = request {
            self.facts.writes_as(&member.id, &write.worker);
            self.facts.sent(at, &write.worker, write.number);
            if member.is_stopping() && matches!(write.kind, WriteKind::Release { .. }) {
                self.facts.releases(at, &member.id, &write.key.shard());
            }
        }
        if let Request::DeletePresence(worker) | Request::PutPresence { worker, is_leaving: true } =
            request
            && *worker == member.id
        {
            self.facts.leaves(&member.id);
        }
        if let Request::WriteSession(write) = request {
            self.session_sent(at, member, write);
        }
    }

    fn session_sent(&mut self, at: Time, member: &Member, write: &SessionWrite) {
        let (number, leaves) = match &write.kind {
            SessionWriteKind::Open { number, .. } => (*number, false),
            SessionWriteKind::Beat { number, is_leaving, .. } => (*number, *is_leaving),
            SessionWriteKind::Resign { number, .. } => (*number, true),
            SessionWriteKind::Close { .. } => return self.facts.leaves(&member.id),
            SessionWriteKind::Ask { .. }
            | SessionWriteKind::Condemn { .. }
            | SessionWriteKind::Bury => return,
        };
        self.facts.writes_as(&member.id, &write.session);
        self.facts.session_sent(&member.id);
        if matches!(write.kind, SessionWriteKind::Beat { .. }) {
            self.facts.beat_sent(at, &write.session, number);
        }
        self.facts.sent(at, &write.session, number);
        if leaves {
            self.facts.leaves(&member.id);
        }
    }

    /// Notes a journal entry of a worker.
    pub(crate) fn entry(&mut self, at: Time, worker: &WorkerId, entry: &Entry) {
        self.facts.entry(at, worker, entry);
        self.deliveries.entry(at, worker.name(), entry);
        if let Some(entries) = &mut self.entries
            && !matches!(entry, Entry::Polled { .. })
        {
            entries.push((at, worker.clone(), entry.clone()));
        }
        if self.trace.is_on() && entry.is_traced() {
            self.trace.line(at, worker.name(), entry);
        }
    }
}
