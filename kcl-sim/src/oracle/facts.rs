//! What was put, handed over, processed and stored, as the world knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_core::event::Event;
use kcl_core::model::{
    Checkpoint, Lease, PendingCheckpoint, Position, SequenceNumber, Shard, ShardId, StartPosition,
    Timestamp, WorkerId,
};

use super::waits::Patience;
use super::{Oracle, Violation};
use crate::journal::{Ownership, Said};
use crate::time::Time;

/// How far times may be apart that are the same: clocks count whole milliseconds.
pub(crate) const WITHIN: Duration = Duration::from_millis(2);

/// Everything the oracles know.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Facts {
    pub(crate) shards: BTreeMap<ShardId, ShardFacts>,
    /// When each write was first sent, by who sent it and its number.
    pub(crate) sent: BTreeMap<(WorkerId, u64), Time>,
    /// Who removed its presence.
    goodbyes: BTreeSet<WorkerId>,
    /// Which ownership each worker's processor of a shard is of, while there is one.
    pub(crate) alive: BTreeMap<(WorkerId, ShardId), u64>,
    /// When each worker that was stopped or asleep went on.
    pub(crate) thawed: BTreeMap<WorkerId, Time>,
    /// How fast each worker's clock runs, in thousandths of the world's.
    speeds: BTreeMap<WorkerId, u64>,
    /// Where the application began, once that is stored.
    begins: Option<StartPosition>,
    /// How exactly the clocks agree: no clock is faster than this, in thousandths.
    pub(crate) fastest: u64,
    /// Whether processors return `Ok` only for what the library may store.
    pub(crate) is_automatic: bool,
    /// Whether a checkpoint was ever stored, other than a shard's end.
    pub(crate) has_stored: bool,
    /// Whether processors are the simulator's own: they say of records that they acknowledge when those
    /// are done, and fail for ever on poison alone.
    pub(crate) knows_processors: bool,
    /// Whether the stream is another one now.
    pub(crate) is_recreated: bool,
    /// How long records may wait, if that was said.
    pub(crate) patience: Option<Patience>,
    violation: Option<Violation>,
}

/// A record that was put, alone or within an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) position: Position,
    pub(crate) at: Timestamp,
    /// Which partition key.
    pub(crate) key: u64,
    /// Whether no processor can ever process it.
    pub(crate) is_poison: bool,
}

/// What is known of one shard.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct ShardFacts {
    pub(crate) parents: Vec<ShardId>,
    pub(crate) children: BTreeSet<ShardId>,
    pub(crate) is_closed: bool,
    pub(crate) records: Vec<Put>,
    /// The records before this place are gone.
    pub(crate) trimmed: usize,
    /// Where the application began, once that is stored: nobody asked for what came before.
    begins: Option<StartPosition>,
    /// Whether it ever had a lease.
    pub(crate) had_lease: bool,
    /// The place up to which the application asked for a checkpoint.
    pub(crate) asked: usize,
    /// The ownership that prepared what is pending.
    pub(crate) prepared_by: u64,
    /// The records before this place are done.
    done: usize,
    done_later: BTreeSet<usize>,
    /// The places of the records that the dead letter has.
    pub(crate) stored: BTreeSet<usize>,
    /// Who was polled last, of those with the highest token.
    pub(crate) polled: Option<(u64, Time)>,
    pub(crate) owners: BTreeMap<u64, OwnerFacts>,
    /// What owners have in hand that nobody saw begin: their row was deleted meanwhile.
    pub(crate) strays: BTreeMap<(WorkerId, u64), (usize, usize)>,
    /// Whether the shard's end was ever stored.
    pub(crate) is_ended: bool,
    /// When the lease's counter last moved.
    pub(crate) moved: Time,
    /// Whether somebody deleted the lease's row: its counters begin anew, so that late writes and
    /// sleepers of the former row may count again, and only the records can be vouched for.
    pub(crate) is_disturbed: bool,
    /// Whether its lease may come back, since somebody deleted a row that proved the shard finished.
    pub(crate) may_return: bool,
    /// Whether a worker that does not know yet that the stream is another one reads the shard of that
    /// name from its oldest record on: nothing says that this lease was not made for it.
    pub(crate) is_of_another_stream: bool,
}

/// What is known of one ownership.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerFacts {
    /// Who it is. Tokens begin anew when somebody deletes a row.
    pub(crate) worker: Option<WorkerId>,
    /// The place of the next record that it must be handed.
    pub(crate) next: usize,
    /// The records before this place are processed by it, or were done when it began.
    pub(crate) processed: usize,
    /// When that moved.
    pub(crate) history: Vec<(Time, usize)>,
    /// The places after what was handed over to be acknowledged one by one, and since when.
    pub(crate) detached: Vec<(Time, usize)>,
    /// The places of what was handed over last: from the first to before the second.
    pub(crate) in_hand: (usize, usize),
    /// Whether it had a processor.
    pub(crate) was_made: bool,
    /// What was pending when it began.
    pub(crate) pending: Option<PendingCheckpoint>,
    /// When its time is over, by its last write.
    pub(crate) until: Time,
    /// The place after what its processor, which may not be its first, began.
    pub(crate) began: usize,
    /// The places of the records that are done, if some before them are not.
    pub(crate) done_later: BTreeSet<usize>,
    /// Whether its records are acknowledged one by one.
    pub(crate) acknowledges: bool,
}

impl OwnerFacts {
    pub(crate) fn is(&self, who: &WorkerId) -> bool {
        self.worker.as_ref() == Some(who)
    }
}

impl ShardFacts {
    /// The place of a record.
    pub(crate) fn place(&self, position: Position) -> Option<usize> {
        self.records.binary_search_by_key(&position, |record| record.position).ok()
    }

    /// The place of the first record after a checkpoint; none if the checkpoint is no place here.
    pub(crate) fn after(
        &self,
        checkpoint: Checkpoint,
        start_at: Option<Timestamp>,
    ) -> Option<usize> {
        match checkpoint {
            Checkpoint::TrimHorizon => Some(0),
            Checkpoint::AtTimestamp => {
                let time = start_at?;
                Some(self.records.partition_point(|record| record.at < time))
            }
            Checkpoint::After(position) => self.place(position).map(|place| place + 1),
            Checkpoint::ShardEnd => Some(self.records.len()),
            Checkpoint::Latest => None,
        }
    }

    /// An ownership, unless its row was deleted.
    pub(crate) fn owner_mut(&mut self, (who, token): (&WorkerId, u64)) -> Option<&mut OwnerFacts> {
        self.owners.get_mut(&token).filter(|owner| owner.is(who))
    }

    /// The records before this place are done, gone, or were never asked for.
    pub(crate) fn done(&self) -> usize {
        self.done.max(self.unasked())
    }

    /// The records before this place are gone, or were never asked for.
    pub(crate) fn unasked(&self) -> usize {
        let start = match self.begins {
            None | Some(StartPosition::TrimHorizon) => 0,
            Some(StartPosition::AtTimestamp(time)) => {
                self.records.partition_point(|record| record.at < time)
            }
        };
        start.max(self.trimmed)
    }

    /// The lease's row is another one from now on.
    pub(crate) fn begins_anew(&mut self) {
        (self.is_ended, self.is_disturbed) = (false, true);
        self.owners.clear();
    }

    pub(crate) fn is_poison(&self, place: usize) -> bool {
        self.records.get(place).is_some_and(|record| record.is_poison)
    }

    pub(crate) fn is_all_done(&self) -> bool {
        self.done() >= self.records.len()
    }

    pub(crate) fn set_done(&mut self, places: std::ops::Range<usize>) {
        self.done = self.done();
        self.done_later.extend(places.filter(|place| *place >= self.done));
        while self.done_later.remove(&self.done) {
            self.done += 1;
        }
        self.done_later = self.done_later.split_off(&self.done);
    }
}

impl Facts {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        Self { fastest: 1_000, is_automatic: true, ..Self::default() }
    }

    /// A worker's clock runs so fast.
    pub(crate) fn clock_runs_at(&mut self, worker: &WorkerId, speed: u64) {
        self.speeds.insert(worker.clone(), speed);
        // What a slow clock takes for its deadline is what a fast one takes for an expiry.
        self.fastest = self.fastest.max(speed).max(2_000_u64.saturating_sub(speed));
    }

    /// Whether clocks agree well enough for deadlines to keep deliverers apart: to 5 %.
    pub(crate) const fn is_exclusive(&self) -> bool {
        self.fastest <= 1_050
    }

    /// Processors store checkpoints themselves.
    pub(crate) const fn checkpoints_are_manual(&mut self) {
        self.is_automatic = false;
    }

    /// Processors are the simulator's own.
    pub(crate) const fn processors_are_known(&mut self) {
        self.knows_processors = true;
    }

    /// Some processors are not the simulator's own.
    pub(crate) const fn processors_are_unknown(&mut self) {
        self.knows_processors = false;
    }

    /// The stream's shards as they are now.
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

    /// Where the application begins is stored.
    pub(crate) fn begins(&mut self, at: Time, start: StartPosition) {
        let known = *self.begins.get_or_insert(start);
        self.check(at, Oracle::NoSkip, known == start, || {
            format!("the application began at {known:?}, and is said to begin at {start:?}")
        });
        for facts in self.shards.values_mut() {
            facts.begins = Some(known);
        }
    }

    /// How long a time of a worker's clock takes in the world.
    pub(crate) fn in_the_world(&self, worker: &WorkerId, time: Duration) -> Duration {
        let speed = self.speeds.get(worker).copied().unwrap_or(1_000);
        time * 1_000 / u32::try_from(speed).unwrap_or(1_000)
    }

    /// A record was put.
    pub(crate) fn put(&mut self, shard: &ShardId, record: Put) {
        self.shards.entry(shard.clone()).or_default().records.push(record);
    }

    /// The records of a shard before this one are gone.
    pub(crate) fn trim(&mut self, shard: &ShardId, before: SequenceNumber) {
        if let Some(facts) = self.shards.get_mut(shard) {
            let place = facts.records.partition_point(|record| record.position.sequence < before);
            facts.trimmed = facts.trimmed.max(place);
        }
    }

    /// A worker does not run until then.
    pub(crate) fn frozen(&mut self, worker: &WorkerId, until: Time) {
        self.thawed.insert(worker.clone(), until);
    }

    /// The stream is deleted and created again.
    pub(crate) const fn recreated(&mut self) {
        self.is_recreated = true;
    }

    /// Whether a shard's end is stored.
    pub(crate) fn is_finished(&self, shard: &ShardId) -> bool {
        self.shards.get(shard).is_some_and(|facts| facts.is_ended)
    }

    /// The number of the first record that is not done, or else of the last one.
    pub(crate) fn first_undone(&self, shard: &ShardId) -> Option<SequenceNumber> {
        let facts = self.shards.get(shard)?;
        let record = facts.records.get(facts.done()).or_else(|| facts.records.last());
        record.map(|record| record.position.sequence)
    }

    /// Somebody deleted a lease's row: what proved that its ancestors are finished may be gone with
    /// it.
    pub(crate) fn row_deleted(&mut self, shard: &ShardId) {
        let mut lineage = vec![shard.clone()];
        while let Some(shard) = lineage.pop() {
            if let Some(facts) = self.shards.get_mut(&shard) {
                facts.may_return = true;
                lineage.extend(facts.parents.iter().cloned());
            }
        }
        if let Some(facts) = self.shards.get_mut(shard) {
            facts.begins_anew();
        }
    }

    /// A worker sends a write, perhaps not for the first time.
    pub(crate) fn sent(&mut self, at: Time, worker: &WorkerId, number: u64) {
        self.sent.entry((worker.clone(), number)).or_insert(at);
    }

    /// A worker removes its presence.
    pub(crate) fn says_goodbye(&mut self, worker: &WorkerId) {
        self.goodbyes.insert(worker.clone());
    }

    /// A worker that stops lets a lease go. One that it has only just taken, or been handed, may go
    /// at once.
    pub(crate) fn releases(&mut self, at: Time, worker: &WorkerId, shard: &ShardId) {
        let last = self.shards.get(shard).and_then(|facts| facts.owners.last_key_value());
        let is_worked_on = last.is_some_and(|(_, owner)| {
            // Its time is over once it has handed over: what arrives anew was not worked on.
            owner.is(worker) && owner.was_made && at < owner.until
        });
        let is_due = !is_worked_on || self.goodbyes.contains(worker);
        self.check(at, Oracle::PresenceGoesFirst, is_due, || {
            format!("{worker} releases a lease while others count on it")
        });
    }

    /// A worker or its processor said something.
    pub(crate) fn said(&mut self, at: Time, who: &WorkerId, said: &Said) {
        match said {
            Said::Polled { of } => self.polled(at, (who, of)),
            Said::Delivered { of, records, .. } => self.delivered(at, (who, of), records),
            Said::Processed { of } => self.processed(at, (who, of)),
            Said::Made { of, resume, pending } => {
                self.made(at, (who, of), *resume, pending.as_ref());
            }
            Said::Asked { of, position } => self.asked((who, of), *position),
            Said::Gone { of } => self.gone((who, of)),
            Said::Begun { of, record } => self.begun(at, (who, of), *record),
            Said::Done { of, record } => self.done(at, (who, of), *record),
            Said::Stored { shard, record } => self.stored_elsewhere(at, shard, *record),
            Said::Detached { .. } if self.knows_processors => {}
            Said::Detached { of } => {
                self.checkpoints_are_manual();
                self.detached(at, (who, of));
            }
            Said::Event(Event::DeadLettered { shard, position, .. }) => {
                self.set_aside(at, (who, shard), *position, true);
            }
            Said::Event(Event::Skipped { shard, position, .. }) => {
                self.set_aside(at, (who, shard), *position, false);
            }
            Said::Called { .. } | Said::Returned { .. } | Said::Dropped { .. } | Said::Event(_) => {
            }
        }
    }

    /// The first promise that was broken.
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How many records were put and are not done.
    pub(crate) fn backlog(&self) -> usize {
        let waiting = |facts: &ShardFacts| {
            let done = facts.done();
            facts.records.len().saturating_sub(done + facts.done_later.range(done..).count())
        };
        self.shards.values().map(waiting).sum()
    }

    /// How many records a worker has processed under the leases that it holds, or has had since then to
    /// acknowledge, beyond what these store.
    pub(crate) fn at_stake(&self, who: &WorkerId, leases: &[Lease], since: Time) -> usize {
        let unsaved = |lease: &Lease| {
            let owners = &self.shards.get(&lease.key.shard())?.owners;
            let owner = owners.values().next_back().filter(|owner| owner.is(who))?;
            let detached = owner.detached.iter().rev().find(|(at, _)| *at <= since);
            let done = owner.processed.max(detached.map_or(0, |(_, place)| *place));
            Some(done.saturating_sub(self.after(lease)?))
        };
        let held = leases.iter().filter(|lease| lease.owner.as_ref() == Some(who));
        held.filter_map(unsaved).sum()
    }

    /// What is known of an ownership; none for one whose row was deleted.
    pub(crate) fn ownership(
        &mut self,
        (who, of): (&WorkerId, &Ownership),
    ) -> (&mut ShardFacts, Option<OwnerFacts>) {
        let facts = self.shards.entry(of.shard.clone()).or_default();
        let owner = facts.owner_mut((who, of.token)).cloned();
        (facts, owner)
    }

    pub(crate) fn broken(&mut self, at: Time, oracle: Oracle, seen: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(|| Violation { at, oracle, seen: seen() });
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

    /// The place after a lease's checkpoint.
    pub(crate) fn after(&self, lease: &Lease) -> Option<usize> {
        self.shards.get(&lease.key.shard())?.after(lease.checkpoint, lease.start_at)
    }
}
