//! The facts about a world: what was put, delivered, processed and stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{
    Lease, LeaseKey, Position, SequenceNumber, Shard, ShardId, StartPosition, WorkerId,
};

use super::calls::CallFacts;
use super::holdings::Holdings;
use super::session_facts::{Beats, SessionFacts};
use super::shard_facts::{OwnerFacts, Put, ShardFacts};
use super::waits::WaitLimit;
use super::{Oracle, Violation};
use crate::journal::{Entry, Ownership};
use crate::time::Time;

/// All facts, and the first promise that was broken.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Facts {
    pub(crate) shards: BTreeMap<ShardId, ShardFacts>,
    /// When each write was first sent, by its worker and number.
    pub(crate) sent: BTreeMap<(WorkerId, u64), Time>,
    /// The later incarnations of workers, and the id with which each of them started.
    people: BTreeMap<WorkerId, WorkerId>,
    pub(super) sessions: BTreeMap<WorkerId, SessionFacts>,
    pub(super) beats: BTreeMap<WorkerId, Beats>,
    /// The workers that wait for the answer to a write of their own session.
    pub(super) awaiting_session: BTreeSet<WorkerId>,
    /// The workers that have deleted their presence.
    departed: BTreeSet<WorkerId>,
    /// The token of each processor that lives, by its worker and shard.
    pub(crate) alive: BTreeMap<(WorkerId, ShardId), u64>,
    /// When each worker that stood still last ran again.
    pub(crate) thawed: BTreeMap<WorkerId, Time>,
    /// The workers of which the task of a lease stood still.
    pub(super) with_frozen_holders: BTreeSet<WorkerId>,
    /// The speed of each worker's clock, in thousandths of the world's.
    speeds: BTreeMap<WorkerId, u64>,
    /// The start position of the application, once it is stored.
    begins: Option<StartPosition>,
    /// The greatest drift of a clock in either direction, as a speed in thousandths.
    pub(crate) fastest: u64,
    /// Whether the library checkpoints what processors return `Ok` for.
    pub(crate) is_automatic: bool,
    /// Whether a checkpoint other than a shard's end was ever stored.
    pub(crate) has_stored: bool,
    /// Whether the processors are the simulator's own: they log when acknowledged records are done,
    /// and keep failing on poison alone.
    pub(crate) knows_processors: bool,
    /// Whether the stream was re-created.
    pub(crate) is_recreated: bool,
    pub(crate) holdings: Holdings,
    pub(crate) calls: CallFacts,
    /// How long records may wait. `None` for no limit.
    wait_limit: Option<WaitLimit>,
    /// The promises that are not checked.
    pub(crate) ignored: BTreeSet<Oracle>,
    violation: Option<Violation>,
}

/// When something happens, and under which ownership of which worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct By<'a> {
    pub(crate) at: Time,
    pub(crate) worker: &'a WorkerId,
    pub(crate) of: &'a Ownership,
}

/// A record that a shard's consumer abandons.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned<'a> {
    pub(crate) shard: &'a ShardId,
    pub(crate) record: Position,
    /// Whether the dead letter store must have it.
    pub(crate) is_stored: bool,
}

/// How long an acknowledgement takes at most to reach the lease side, drift included.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(25);

impl Facts {
    /// The facts about a new world.
    pub(crate) fn new() -> Self {
        Self { fastest: 1_000, is_automatic: true, ..Self::default() }
    }

    /// Notes that a worker writes under this id.
    pub(crate) fn writes_as(&mut self, worker: &WorkerId, id: &WorkerId) {
        if worker != id {
            self.people.insert(id.clone(), worker.clone());
        }
    }

    /// Returns the id with which the worker started that writes under this one.
    pub(super) fn person<'a>(&'a self, id: &'a WorkerId) -> &'a WorkerId {
        self.people.get(id).unwrap_or(id)
    }

    /// Whether the lease side of a worker may not have read what it published before `sent`.
    pub(super) fn has_just_thawed(&self, person: &WorkerId, sent: Time) -> bool {
        self.thawed.get(person).is_some_and(|thawed| *thawed + PUBLISHED_WITHIN > sent)
    }

    /// How long progress takes at most to reach the lease side.
    pub(super) const fn published(is_slack: bool) -> Duration {
        if is_slack { PUBLISHED_WITHIN } else { Duration::ZERO }
    }

    /// Whether the row of a lease was deleted by hand.
    pub(super) fn is_disturbed(&self, key: &LeaseKey) -> bool {
        self.shards.get(&key.shard()).is_some_and(|facts| facts.is_disturbed)
    }

    /// Notes the speed of a worker's clock.
    pub(crate) fn clock_runs_at(&mut self, worker: &WorkerId, speed: u64) {
        self.speeds.insert(worker.clone(), speed);
        // A slow deadline meets a fast expiry: drift counts in both directions.
        self.fastest = self.fastest.max(speed).max(2_000_u64.saturating_sub(speed));
    }

    /// Whether clocks drift so little, at most 5 %, that deadlines keep owners apart.
    pub(crate) const fn is_exclusive(&self) -> bool {
        self.fastest <= 1_050
    }

    /// Notes that processors checkpoint by themselves.
    pub(crate) const fn checkpoints_are_manual(&mut self) {
        self.is_automatic = false;
    }

    /// Notes that the processors are the simulator's own.
    pub(crate) const fn processors_are_known(&mut self) {
        self.knows_processors = true;
    }

    /// Notes that some processors are not the simulator's own.
    pub(crate) const fn processors_are_unknown(&mut self) {
        self.knows_processors = false;
    }

    /// Notes the shards of the stream.
    pub(crate) fn reshard(&mut self, shards: &[Shard]) {
        for shard in shards {
            for parent in &shard.parents {
                if let Some(facts) = self.shards.get_mut(parent) {
                    facts.children.insert(shard.id.clone());
                }
            }
            let facts = self.shards.entry(shard.id.clone()).or_default();
            facts.parents.clone_from(&shard.parents);
            facts.begins = self.begins;
            facts.is_closed = shard.is_closed();
        }
    }

    /// Notes that the start position of the application is stored.
    pub(crate) fn begins(&mut self, at: Time, start: StartPosition) {
        let known = *self.begins.get_or_insert(start);
        self.check(at, Oracle::NoSkip, known == start, || {
            format!("the application started at {known:?}, and {start:?} is stored")
        });
        for facts in self.shards.values_mut() {
            facts.begins = Some(known);
        }
    }

    /// Converts a time of a worker's clock to the world's.
    pub(crate) fn in_the_world(&self, worker: &WorkerId, time: Duration) -> Duration {
        let speed = self.speeds.get(self.person(worker)).copied().unwrap_or(1_000);
        time * 1_000 / u32::try_from(speed).unwrap_or(1_000)
    }

    /// Returns how long a time takes at least by any worker's clock.
    pub(super) fn by_the_fastest(&self, time: Duration) -> Duration {
        time * 1_000 / u32::try_from(self.fastest).unwrap_or(1_000)
    }

    /// Notes a record that was put.
    pub(crate) fn put(&mut self, shard: &ShardId, record: Put) {
        self.shards.entry(shard.clone()).or_default().records.push(record);
    }

    /// Notes that an aggregate was put from which no user record is expected.
    pub(crate) fn put_hollow(&mut self, shard: &ShardId, aggregate: SequenceNumber) {
        self.shards.entry(shard.clone()).or_default().hollow.insert(aggregate);
    }

    /// Notes that the records of a shard before this one are trimmed.
    pub(crate) fn trim(&mut self, shard: &ShardId, before: SequenceNumber) {
        if let Some(facts) = self.shards.get_mut(shard) {
            let place = facts.records.partition_point(|record| record.position.sequence < before);
            facts.trimmed = facts.trimmed.max(place);
        }
    }

    /// Notes that the task of one of a worker's leases stands still: its progress waits with it.
    pub(crate) fn holder_frozen(&mut self, worker: &WorkerId) {
        self.with_frozen_holders.insert(worker.clone());
    }

    /// Notes that a worker stands still until then.
    pub(crate) fn frozen(&mut self, worker: &WorkerId, until: Time) {
        self.thawed.insert(worker.clone(), until);
    }

    /// Notes that the stream is re-created.
    pub(crate) const fn recreated(&mut self) {
        self.is_recreated = true;
    }

    /// Returns whether a shard's end is stored.
    pub(crate) fn is_finished(&self, shard: &ShardId) -> bool {
        self.shards.get(shard).is_some_and(|facts| facts.is_ended)
    }

    /// Returns the number of the first record that is not done; if all are done, of the last one.
    pub(crate) fn first_undone(&self, shard: &ShardId) -> Option<SequenceNumber> {
        let facts = self.shards.get(shard)?;
        let record = facts.records.get(facts.done()).or_else(|| facts.records.last());
        record.map(|record| record.position.sequence)
    }

    /// Notes that a lease's row was deleted by hand, and with it perhaps the proof that its
    /// ancestors are finished.
    pub(crate) fn row_deleted(&mut self, shard: &ShardId) {
        let mut lineage = vec![shard.clone()];
        while let Some(shard) = lineage.pop() {
            if let Some(facts) = self.shards.get_mut(&shard) {
                facts.may_return = true;
                lineage.extend(facts.parents.iter().cloned());
            }
        }
        if let Some(facts) = self.shards.get_mut(shard) {
            facts.row_deleted();
        }
    }

    /// Notes that a worker sends a write, for the first time or again.
    pub(crate) fn sent(&mut self, at: Time, worker: &WorkerId, number: u64) {
        self.sent.entry((worker.clone(), number)).or_insert(at);
    }

    /// Notes that a worker announces that it leaves, or deletes its presence.
    pub(crate) fn leaves(&mut self, worker: &WorkerId) {
        self.departed.insert(worker.clone());
    }

    /// Checks a release by a worker that stops. A lease that it has not worked on may go at once.
    pub(crate) fn releases(&mut self, at: Time, worker: &WorkerId, shard: &ShardId) {
        let last = self.shards.get(shard).and_then(|facts| facts.owners.last_key_value());
        let is_worked_on = last.is_some_and(|(_, owner)| {
            // After a hand-over the ownership is over, and a lease that comes back is a new one.
            owner.is(worker) && owner.was_made && !owner.is_over && at < owner.until
        });
        // A session cannot say more before its last write is answered.
        let has_said = self.departed.contains(worker) || self.awaiting_session.contains(worker);
        // It may let go of a lease because its holder stands still.
        let is_due = !is_worked_on || has_said || self.with_frozen_holders.contains(worker);
        self.check(at, Oracle::PresenceGoesFirst, is_due, || {
            format!("{worker} releases the lease of {shard} before it announces that it leaves")
        });
    }

    /// Notes a journal entry.
    pub(crate) fn entry(&mut self, at: Time, who: &WorkerId, entry: &Entry) {
        let by = |of| By { at, worker: who, of };
        match entry {
            Entry::Polled { of } => self.polled(by(of)),
            Entry::Delivered { of, records, .. } => self.delivered(by(of), records),
            Entry::Processed { of } => self.processed(by(of)),
            Entry::Made { of, resume, pending } => self.made(by(of), *resume, pending.as_ref()),
            Entry::Asked { of, position } => self.asked(by(of), *position),
            Entry::Gone { of } => self.gone(by(of)),
            Entry::Begun { of, record } => self.begun(by(of), *record),
            Entry::Done { of, record } => self.done(by(of), *record),
            Entry::Stored { shard, record } => self.stored_elsewhere(at, shard, *record),
            Entry::Detached { .. } if self.knows_processors => {}
            Entry::Detached { of } => {
                self.checkpoints_are_manual();
                self.detached(by(of));
            }
            Entry::Event(Event::DeadLettered { shard, position, .. }) => {
                self.abandoned(at, who, &Abandoned { shard, record: *position, is_stored: true });
            }
            Entry::Event(Event::Skipped { shard, position, .. }) => {
                self.abandoned(at, who, &Abandoned { shard, record: *position, is_stored: false });
            }
            Entry::Event(Event::LeaseTaken { key, .. }) => self.holdings.knows(who, key),
            Entry::Event(Event::LeaseEnded { key, how, .. }) => {
                self.holdings.ends(who, key);
                if *how == LeaseEnd::Expired {
                    self.expired(at, who, key);
                }
            }
            Entry::Called { .. }
            | Entry::Returned { .. }
            | Entry::Dropped { .. }
            | Entry::Event(_) => {}
        }
    }

    fn expired(&mut self, at: Time, who: &WorkerId, key: &LeaseKey) {
        let Some(facts) = self.shards.get_mut(&key.shard()) else { return };
        facts.expired = Some(at);
        // No later heartbeat revives it.
        for owner in facts.owners.values_mut().filter(|owner| owner.is(who)) {
            (owner.session, owner.is_over) = (None, true);
        }
        let may = !self.calls.keeps(at, facts.held_for);
        self.check(at, Oracle::LeasesKept, may, || format!("{key} of {who} expires"));
    }

    /// Notes that a worker waits for so many calls to the table.
    pub(crate) fn check_calls_in_flight(&mut self, at: Time, who: &str, calls: usize) {
        self.broken(at, Oracle::CallsInFlight, || format!("{who} waits for {calls} calls"));
    }

    /// Notes that a scan reads a page.
    pub(crate) fn scanned(&mut self, at: Time, units: f64) {
        if let Some((spent, may)) = self.calls.scanned(at, units) {
            self.broken(at, Oracle::ScansBudgeted, || {
                format!("scans cost {spent:.0} read units of {may:.0} within 30 s")
            });
        }
    }

    /// Notes a take that has landed and was lost.
    pub(crate) fn take_lost(&mut self, at: Time, key: &LeaseKey) {
        if let Some(lost) = self.calls.lost_take(at) {
            self.broken(at, Oracle::TakesRest, || {
                format!("{lost} takes were lost within 30 s, the last one of {key}")
            });
        }
    }

    /// Expects that no record put after `since` waits longer than `most`. `expiry` is the fleet's, if
    /// workers may fail.
    pub(crate) const fn limit_waits(
        &mut self,
        since: Time,
        most: Duration,
        expiry: Option<Duration>,
    ) {
        self.wait_limit = Some(WaitLimit::new(since, most, expiry));
    }

    /// Checks the first record of each shard that is not done.
    pub(crate) fn check_waits(&mut self, now: Time) {
        if self.wait_limit.is_some() {
            let first = self.shards.iter().map(|(shard, facts)| (shard.clone(), facts.done()));
            let first: Vec<_> = first.collect();
            first.into_iter().for_each(|(shard, place)| self.check_wait(now, &shard, place));
        }
    }

    /// Checks a record that is not done, or has just been done.
    pub(super) fn check_wait(&mut self, now: Time, shard: &ShardId, place: usize) {
        let Some(limit) = self.wait_limit else { return };
        let Some(facts) = self.shards.get(shard) else { return };
        let put = facts.records.get(place);
        if let Some(waited) = put.and_then(|put| limit.exceeded(put.at, facts.expired, now)) {
            self.broken(now, Oracle::WaitsBounded, || {
                format!("{shard}: the record at place {place} waited for {waited} ms")
            });
        }
    }

    /// Returns the first promise that was broken.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Returns how many records were put and are not done.
    pub(crate) fn backlog(&self) -> usize {
        let waiting = |facts: &ShardFacts| {
            let done = facts.done();
            facts.records.len().saturating_sub(done + facts.done_later.range(done..).count())
        };
        self.shards.values().map(waiting).sum()
    }

    /// Returns how many records a worker has processed beyond the checkpoints of the leases it
    /// holds. Records that are acknowledged one by one count if they were delivered by `since`.
    pub(crate) fn unsaved(&self, who: &WorkerId, leases: &[Lease], since: Time) -> usize {
        let beyond = |lease: &Lease| {
            let owners = &self.shards.get(&lease.key.shard())?.owners;
            let owner = owners.values().next_back().filter(|owner| owner.is(who))?;
            let detached = owner.detached.iter().rev().find(|(at, _)| *at <= since);
            let done = owner.processed.max(detached.map_or(0, |(_, place)| *place));
            Some(done.saturating_sub(self.after(lease)?))
        };
        let is_whose = |lease: &&Lease| lease.owner.as_ref().map(|id| self.person(id)) == Some(who);
        let held = leases.iter().filter(is_whose);
        held.filter_map(beyond).sum()
    }

    /// Returns the facts about an ownership. `None` if its row was deleted by hand.
    pub(crate) fn ownership(&mut self, by: By<'_>) -> (&mut ShardFacts, Option<OwnerFacts>) {
        let facts = self.shards.entry(by.of.shard.clone()).or_default();
        let owner = facts.owner_mut(by.worker, by.of.token).cloned();
        (facts, owner)
    }

    pub(crate) fn broken(&mut self, at: Time, oracle: Oracle, seen: impl FnOnce() -> String) {
        if !self.ignored.contains(&oracle) {
            self.violation.get_or_insert_with(|| Violation { at, oracle, seen: seen() });
        }
    }

    pub(crate) fn check(
        &mut self,
        at: Time,
        oracle: Oracle,
        holds: bool,
        seen: impl FnOnce() -> String,
    ) {
        if !holds {
            self.broken(at, oracle, seen);
        }
    }

    /// Returns the place after a lease's checkpoint.
    pub(crate) fn after(&self, lease: &Lease) -> Option<usize> {
        self.shards.get(&lease.key.shard())?.after(lease.checkpoint, lease.start_at)
    }
}
