//! The facts about one shard, and about each ownership of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_core::model::{
    Checkpoint, PendingCheckpoint, Position, SequenceNumber, ShardId, StartPosition, Timestamp,
    WorkerId,
};

use crate::time::Time;

/// How far two readings of one time may differ: clocks count whole milliseconds.
pub(super) const WITHIN: Duration = Duration::from_millis(2);

/// A record that was put, alone or within an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) position: Position,
    pub(crate) at: Timestamp,
    /// The number of its partition key.
    pub(crate) key: u64,
    /// Whether no processor can process it.
    pub(crate) is_poison: bool,
}

/// The facts about one shard.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct ShardFacts {
    pub(crate) parents: Vec<ShardId>,
    pub(crate) children: BTreeSet<ShardId>,
    pub(crate) is_closed: bool,
    pub(crate) records: Vec<Put>,
    /// The aggregates whose user records are all dropped, or that have none.
    pub(crate) hollow: BTreeSet<SequenceNumber>,
    /// The records before this place are trimmed.
    pub(crate) trimmed: usize,
    /// The start position of the application, once it is stored. Earlier records are not expected.
    pub(super) begins: Option<StartPosition>,
    /// When an owner last lost the lease by its own clock.
    pub(super) expired: Option<Time>,
    /// Whether the shard ever had a lease.
    pub(crate) had_lease: bool,
    /// The place up to which the application has asked for a checkpoint.
    pub(crate) asked: usize,
    /// The token of the ownership that prepared the pending checkpoint.
    pub(crate) prepared_by: u64,
    /// The records before this place are done.
    done: usize,
    /// The places of records that are done, after one that is not.
    pub(super) done_later: BTreeSet<usize>,
    /// The places of the records in the dead letter store.
    pub(crate) stored: BTreeSet<usize>,
    /// The highest token whose processor was polled, and since when.
    pub(crate) polled: Option<(u64, Time)>,
    pub(crate) owners: BTreeMap<u64, OwnerFacts>,
    /// The places of deliveries under ownerships that ended when their row was deleted.
    pub(crate) strays: BTreeMap<(WorkerId, u64), (usize, usize)>,
    /// Whether the shard's end is stored.
    pub(crate) is_ended: bool,
    /// The place of its row's checkpoint.
    pub(super) row_place: usize,
    /// When the lease's counter last changed.
    pub(crate) moved: Time,
    /// For how long its last write holds the lease, from when it was sent.
    pub(crate) held_for: Duration,
    /// Whether the lease's row was deleted by hand: its counters start again, so that late writes
    /// and suspended owners of the former row may match it. Only promises about records hold.
    pub(crate) is_disturbed: bool,
    /// Whether its lease may be created again, because a row that proved the shard finished was
    /// deleted by hand.
    pub(crate) may_return: bool,
    /// Whether a worker reads the shard of this name of a re-created stream from its oldest record,
    /// because it has not yet learned that the stream is another one.
    pub(crate) is_of_another_stream: bool,
}

/// The facts about one ownership.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerFacts {
    /// The owner. Tokens start again when a row is deleted by hand.
    pub(crate) worker: Option<WorkerId>,
    /// The place of the next record to deliver.
    pub(crate) next: usize,
    /// The records before this place are processed by the owner, or were done when it began.
    pub(crate) processed: usize,
    /// The times at which that changed.
    pub(crate) history: Vec<(Time, usize)>,
    /// The places after deliveries that are acknowledged one by one, and their times.
    pub(crate) detached: Vec<(Time, usize)>,
    /// The places of the last delivery: from the first, to before the second.
    pub(crate) in_hand: (usize, usize),
    /// Whether the owner has created a processor.
    pub(crate) was_made: bool,
    /// The pending checkpoint when the ownership began.
    pub(crate) pending: Option<PendingCheckpoint>,
    /// When the ownership ends, by its last write.
    pub(crate) until: Time,
    /// The place from which its latest processor began.
    pub(crate) began: usize,
    /// The places of records that are done, after one that is not.
    pub(crate) done_later: BTreeSet<usize>,
    /// Whether its records are acknowledged one by one.
    pub(crate) acknowledges: bool,
    /// Whether the owner let it expire, by its own clock.
    pub(crate) is_over: bool,
    /// The session that it lives by, while it lasts.
    pub(crate) session: Option<WorkerId>,
    /// The place up to which a session's row contains its progress.
    pub(crate) kept: usize,
    /// That session.
    pub(crate) kept_in: Option<WorkerId>,
    /// How often other workers asked for the lease.
    pub(crate) requests: u32,
    /// How many renewals under its session it has made without another reason.
    pub(crate) renewals: u32,
}

impl OwnerFacts {
    pub(crate) fn is(&self, who: &WorkerId) -> bool {
        self.worker.as_ref() == Some(who)
    }

    /// Returns the place before which records were processed `slack` before `sent`.
    pub(super) fn processed_by(&self, sent: Time, slack: Duration) -> usize {
        let before_sent = self.history.iter().rev().find(|(when, _)| *when + slack < sent);
        before_sent.map_or(0, |(_, processed)| *processed)
    }
}

impl ShardFacts {
    /// Returns the place of a record.
    pub(crate) fn place(&self, position: Position) -> Option<usize> {
        self.records.binary_search_by_key(&position, |record| record.position).ok()
    }

    /// Returns the place of the first record after a checkpoint. `None` if it matches no record.
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
            Checkpoint::After(position) if self.hollow.contains(&position.sequence) => {
                Some(self.records.partition_point(|record| record.position <= position))
            }
            Checkpoint::After(position) => self.place(position).map(|place| place + 1),
            Checkpoint::ShardEnd => Some(self.records.len()),
            Checkpoint::Latest => None,
        }
    }

    /// Returns an ownership. `None` if its row was deleted by hand.
    pub(crate) fn owner_mut(&mut self, who: &WorkerId, token: u64) -> Option<&mut OwnerFacts> {
        self.owners.get_mut(&token).filter(|owner| owner.is(who))
    }

    /// Returns the place before which records are done, trimmed or not expected.
    pub(crate) fn done(&self) -> usize {
        self.done.max(self.unexpected())
    }

    /// Returns the place before which records are trimmed or not expected.
    pub(crate) fn unexpected(&self) -> usize {
        let start = match self.begins {
            None | Some(StartPosition::TrimHorizon) => 0,
            Some(StartPosition::AtTimestamp(time)) => {
                self.records.partition_point(|record| record.at < time)
            }
        };
        start.max(self.trimmed)
    }

    /// Notes that the lease's row was deleted by hand.
    pub(crate) fn row_deleted(&mut self) {
        (self.is_ended, self.is_disturbed) = (false, true);
        self.owners.clear();
    }

    pub(crate) fn is_poison(&self, place: usize) -> bool {
        self.records.get(place).is_some_and(|record| record.is_poison)
    }

    pub(crate) fn is_all_done(&self) -> bool {
        self.done() >= self.records.len()
    }

    /// Notes that records are done.
    pub(crate) fn set_done(&mut self, places: std::ops::Range<usize>) {
        self.done = self.done();
        self.done_later.extend(places.filter(|place| *place >= self.done));
        while self.done_later.remove(&self.done) {
            self.done += 1;
        }
        self.done_later = self.done_later.split_off(&self.done);
    }
}
