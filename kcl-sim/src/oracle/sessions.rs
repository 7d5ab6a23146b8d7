//! Promises about sessions: who may be condemned, and what their rows keep.

use kcl_core::backend::{SessionWrite, SessionWriteKind};
use kcl_core::model::{Checkpoint, Lease, LeaseKey, Session, SessionProgress, WorkerId};

use super::Oracle;
use super::facts::Facts;
use super::session_facts::SessionFacts;
use super::shard_facts::{OwnerFacts, WITHIN};
use crate::time::Time;

/// A write to a session that has landed and changed its row.
pub(crate) struct SessionLanding<'a> {
    pub(crate) at: Time,
    pub(crate) write: &'a SessionWrite,
    pub(crate) before: Option<&'a Session>,
    pub(crate) after: Option<&'a Session>,
    /// All leases.
    pub(crate) leases: &'a [Lease],
}

impl Facts {
    /// Checks a write to a session that has landed and changed its row.
    pub(crate) fn session_landed(&mut self, landing: &SessionLanding<'_>) {
        let SessionLanding { at, write, before, after, leases } = landing;
        let (at, id) = (*at, &write.session);
        let was_dead = before.is_some_and(|row| row.dead.is_some());
        self.check(at, Oracle::FrozenStays, !was_dead || after.is_none(), || {
            format!("the row of {id}, who is dead, changes by {write:?}")
        });
        match &write.kind {
            SessionWriteKind::Open { number, .. } | SessionWriteKind::Beat { number, .. } => {
                if let Some(row) = after {
                    self.beat(at, *number, row);
                }
            }
            SessionWriteKind::Ask { .. } => {}
            SessionWriteKind::Condemn { .. } => self.condemned(at, id),
            SessionWriteKind::Resign { progress, .. } => {
                self.kept(at, at, id, progress);
                self.dies(id);
            }
            SessionWriteKind::Close { .. } | SessionWriteKind::Bury => {
                let named = leases.iter().find(|lease| lease.session_holder() == Some(id));
                let named = named.map(|lease| &lease.key);
                let is_clear = named.is_none_or(|key| self.is_disturbed(key));
                self.check(at, Oracle::StoredKept, is_clear, || {
                    format!("the row of {id} is deleted, and {named:?} names it")
                });
                if let Some(facts) = self.sessions.get_mut(id) {
                    facts.gone_at = Some(at);
                }
            }
        }
    }

    /// Notes that a worker sends a write of its own session.
    pub(crate) fn session_sent(&mut self, worker: &WorkerId) {
        self.awaiting_session.insert(worker.clone());
    }

    /// Checks a heartbeat that is sent.
    pub(crate) fn beat_sent(&mut self, at: Time, session: &WorkerId, number: u64) {
        let beats = self.beats.entry(session.clone()).or_default();
        if let Some(begun) = beats.sent(at, number) {
            self.broken(at, Oracle::WritesBounded, || {
                format!("{session} begins {begun} heartbeats in a second")
            });
        }
    }

    /// Notes that a write to a session is answered.
    pub(crate) fn session_answered(&mut self, write: &SessionWrite) {
        match write.kind {
            SessionWriteKind::Ask { .. }
            | SessionWriteKind::Condemn { .. }
            | SessionWriteKind::Bury => {}
            SessionWriteKind::Open { .. }
            | SessionWriteKind::Beat { .. }
            | SessionWriteKind::Resign { .. }
            | SessionWriteKind::Close { .. } => {
                let person = self.person(&write.session).clone();
                self.awaiting_session.remove(&person);
            }
        }
    }

    /// Notes that the row of a session was deleted by hand.
    pub(crate) fn session_deleted(&mut self, at: Time, id: &WorkerId) {
        if let Some(facts) = self.sessions.get_mut(id) {
            facts.gone_at = Some(at);
        }
        for facts in self.shards.values_mut() {
            let lost = |owner: &&mut OwnerFacts| owner.kept_in.as_ref() == Some(id);
            for owner in facts.owners.values_mut().filter(lost) {
                owner.kept = 0; // Progress since the lease's row was written is lost.
            }
        }
    }

    /// Whether a lease may be taken at once from a holder that lives by its session, or to whom it
    /// was handed: it is dead.
    pub(super) fn is_session_dead(&self, at: Time, id: &WorkerId) -> bool {
        self.sessions.get(id).is_some_and(|facts| {
            let due = self.by_the_fastest(facts.expiry);
            facts.is_dead || facts.gone_at.is_some_and(|gone| at - gone + WITHIN >= due)
        })
    }

    fn beat(&mut self, at: Time, number: u64, row: &Session) {
        let id = row.worker.clone();
        let sent = self.sent.get(&(id.clone(), number)).copied().unwrap_or(at);
        let until = sent + self.in_the_world(&id, row.expiry * 9 / 10);
        let (is_dead, gone_at) = (false, None);
        let facts = SessionFacts { expiry: row.expiry, beat_at: at, until, is_dead, gone_at };
        self.sessions.insert(id.clone(), facts);
        for facts in self.shards.values_mut() {
            for owner in facts.owners.values_mut() {
                if owner.session.as_ref() == Some(&id) {
                    owner.until = owner.until.max(until);
                }
            }
        }
        self.kept(at, sent, &id, &row.progress);
    }

    /// Checks the progress in a session's row, and notes it.
    fn kept(&mut self, at: Time, sent: Time, id: &WorkerId, progress: &SessionProgress) {
        let person = self.person(id).clone();
        let has_just_thawed = self.has_just_thawed(&person, sent);
        let (is_automatic, wait_max) = (self.is_automatic, self.calls.wait_max());
        let has_frozen = self.with_frozen_holders.contains(&person);
        let mut lacking = None;
        for (shard, facts) in &mut self.shards {
            let entry = progress.0.get(&LeaseKey::from(shard));
            let place = entry
                .and_then(|entry| entry.position)
                .and_then(|position| facts.after(Checkpoint::After(position), None));
            let (row_place, is_disturbed) = (facts.row_place, facts.is_disturbed);
            let Some((token, owner)) = facts.owners.iter_mut().next_back() else { continue };
            if owner.session.as_ref() != Some(id) {
                continue;
            }
            if entry.is_some_and(|entry| entry.token.get() == *token) {
                self.has_stored |= place.is_some();
                (owner.kept, owner.kept_in) =
                    (owner.kept.max(place.unwrap_or(0)), Some(id.clone()));
            }
            let is_slack = owner.acknowledges;
            if !is_automatic || is_disturbed || has_frozen || is_slack && has_just_thawed {
                continue;
            }
            let slack = Self::published(is_slack) + wait_max;
            let due = owner.processed_by(sent, slack);
            if owner.kept.max(row_place) < due {
                let kept = owner.kept.max(row_place);
                lacking.get_or_insert_with(|| (shard.clone(), kept, due));
            }
        }
        self.check(at, Oracle::RepeatsBounded, lacking.is_none(), || {
            format!("the session of {id}, sent at {sent} s, has (shard, place, due) {lacking:?}")
        });
    }

    fn condemned(&mut self, at: Time, id: &WorkerId) {
        if let Some(facts) = self.sessions.get(id) {
            let (silent, due) = (at - facts.beat_at, self.by_the_fastest(facts.expiry));
            self.check(at, Oracle::LiveOwnersKept, silent + WITHIN >= due, || {
                format!("{id} is condemned, silent for {silent:?}, less than {due:?}")
            });
        }
        self.dies(id);
    }

    fn dies(&mut self, id: &WorkerId) {
        if let Some(facts) = self.sessions.get_mut(id) {
            facts.is_dead = true;
        }
        let person = self.person(id).clone();
        self.holdings.end_all(&person);
    }
}
