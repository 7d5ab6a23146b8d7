//! What to do about failed records: retry them, search the batch for the one at fault, abandon it,
//! or stop.
//!
//! The history refers to records by position, so it outlives processors and repeated reads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{FailurePolicy, Moment, OnExhausted, Position, Record};

/// The most ranges, and the most records that were stored or skipped, that a history keeps. An application that never
/// checkpoints would make it grow without end; what is forgotten counts as never failed if it is
/// read again.
const KEPT_MAX: usize = 10_000;

/// The failures of one ownership of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureHistory {
    /// In order, without overlaps.
    ranges: Vec<FailedRange>,
    abandoned: BTreeMap<Position, Abandoned>,
}

/// Records that failed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FailedRange {
    first: Position,
    last: Position,
    /// How often they were delivered.
    attempts: u32,
    /// How often in a row they failed at the same first record.
    tries: u32,
    /// When the first of these tries failed.
    since: Moment,
    /// Whether they are a half of an exhausted range.
    is_half: bool,
}

/// A record that the policy abandons.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Abandoned {
    /// It has yet to be stored in the dead letter or skipped.
    Due(Exhausted),
    /// It was stored or skipped.
    Done,
}

/// Why a record is abandoned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// How often the record was delivered.
    pub attempts: u32,
    /// The last error, causes included.
    pub error: String,
}

/// What to do with the first of some records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Portion {
    /// Deliver the first `count` records together.
    Deliver {
        /// The number of records.
        count: usize,
        /// The number of this delivery, from 1.
        attempt: u32,
    },
    /// Store the first record in the dead letter, or skip it.
    Abandon(Exhausted),
    /// The first record was stored or skipped before: pass it.
    Pass,
}

/// A failure of some records.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// The records that are not done, in order.
    pub positions: &'a [Position],
    /// Whether the first of them is known to be at fault.
    pub is_first_blamed: bool,
    /// The error, causes included.
    pub error: &'a str,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Deliver the records again, after the pause for `tries` failures in a row.
    Retry {
        /// The number of failures in a row.
        tries: u32,
    },
    /// Some records are to be abandoned: the next [`Portion`] is the first of them.
    Abandon,
    /// Stop the shard.
    StopShard,
    /// Stop the worker.
    StopWorker,
}

impl FailureHistory {
    /// What to do with the first of `records`, or `None` if there are none.
    #[must_use]
    pub fn portion(&self, records: &[Record]) -> Option<Portion> {
        let first = records.first()?.position;
        match self.abandoned.get(&first) {
            Some(Abandoned::Due(exhausted)) => return Some(Portion::Abandon(exhausted.clone())),
            Some(Abandoned::Done) => return Some(Portion::Pass),
            None => {}
        }
        let range = self.range_from(first);
        let here = range.filter(|range| range.first <= first);
        let last = here.map(|range| range.last);
        let abandoned = self.abandoned.range(first..).next().map(|(position, _)| *position);
        let next = range.map(|range| range.first).filter(|_| here.is_none());
        let count = records.partition_point(|Record { position, .. }| {
            last.is_none_or(|last| *position <= last)
                && abandoned.is_none_or(|abandoned| *position < abandoned)
                && next.is_none_or(|next| *position < next)
        });
        Some(Portion::Deliver { count, attempt: self.attempt(first) })
    }

    /// The number of the next or current delivery of the record at `position`, from 1.
    #[must_use]
    pub fn attempt(&self, position: Position) -> u32 {
        let here = self.range_from(position).filter(|range| range.first <= position);
        here.map_or(0, |range| range.attempts).saturating_add(1)
    }

    /// The range that holds `position`, or the next one.
    fn range_from(&self, position: Position) -> Option<&FailedRange> {
        self.ranges.get(self.ranges.partition_point(|range| range.last < position))
    }

    /// Records a failure, and returns what to do about it.
    pub fn failed(&mut self, failed: Failed<'_>, policy: &FailurePolicy, now: Moment) -> Verdict {
        let (Some(first), Some(last)) = (failed.positions.first(), failed.positions.last()) else {
            return Verdict::Retry { tries: 1 };
        };
        let mut range = self.take_range(*first, *last, now);
        if range.tries == 0 {
            range.since = now; // A half may have waited for long before its first delivery.
        }
        range.attempts = range.attempts.saturating_add(1);
        range.tries = range.tries.saturating_add(1);
        if !range.is_exhausted(policy, now, failed.positions.len()) {
            let tries = range.tries;
            self.put(range);
            return Verdict::Retry { tries };
        }
        let count = if failed.is_first_blamed { 1 } else { failed.positions.len() };
        if count > 1 && policy.bisect {
            self.halve(range, failed.positions);
            return Verdict::Retry { tries: 1 };
        }
        match policy.then {
            OnExhausted::StopShard => return Verdict::StopShard,
            OnExhausted::StopWorker => return Verdict::StopWorker,
            OnExhausted::DeadLetter | OnExhausted::Skip => {}
        }
        for position in failed.positions.iter().take(count) {
            let exhausted = Exhausted { attempts: range.attempts, error: failed.error.to_owned() };
            self.abandoned.insert(*position, Abandoned::Due(exhausted));
        }
        if let Some(next) = failed.positions.get(count) {
            self.put(FailedRange { first: *next, tries: 0, since: now, is_half: false, ..range });
        }
        Verdict::Abandon
    }

    /// Records that the record at `position` was stored in the dead letter or skipped.
    pub fn abandoned(&mut self, position: Position) {
        self.abandoned.insert(position, Abandoned::Done);
        while self.abandoned.len() > KEPT_MAX
            && let Some(oldest) = self.abandoned.first_entry()
            && *oldest.get() == Abandoned::Done
        {
            oldest.remove();
        }
    }

    /// Forgets the records up to `done`.
    pub fn done_up_to(&mut self, done: Position) {
        self.ranges.retain(|range| range.last > done);
        if self.abandoned.first_key_value().is_some_and(|(first, _)| *first <= done) {
            self.abandoned.retain(|position, _| *position > done);
        }
    }

    /// Removes the range that holds `first`, and keeps the part of it after `last`.
    fn take_range(&mut self, first: Position, last: Position, now: Moment) -> FailedRange {
        let here = |range: &FailedRange| range.first <= first && first <= range.last;
        let fresh = FailedRange { first, last, attempts: 0, tries: 0, since: now, is_half: false };
        let Some(index) = self.ranges.iter().position(here) else {
            self.ranges.retain(|range| range.first > last || range.last < first);
            return fresh;
        };
        let found = self.ranges.remove(index);
        self.ranges.retain(|range| range.first > last || range.last < first);
        if found.last > last {
            self.put(FailedRange { first: following(last), ..found });
        }
        // A later first record means that the processor got further: its tries count anew.
        if found.first == first {
            FailedRange { last, ..found }
        } else {
            FailedRange { attempts: found.attempts, ..fresh }
        }
    }

    fn halve(&mut self, range: FailedRange, positions: &[Position]) {
        let (low, high) = positions.split_at(positions.len() / 2);
        for half in [low, high] {
            if let (Some(first), Some(last)) = (half.first(), half.last()) {
                let (first, last) = (*first, *last);
                self.put(FailedRange { first, last, tries: 0, is_half: true, ..range });
            }
        }
    }

    fn put(&mut self, range: FailedRange) {
        let index = self.ranges.partition_point(|other| other.first < range.first);
        self.ranges.insert(index, range);
        if self.ranges.len() > KEPT_MAX {
            // The one furthest from the records in hand.
            let furthest = if index < KEPT_MAX / 2 { KEPT_MAX } else { 0 };
            self.ranges.remove(furthest);
        }
    }
}

impl FailedRange {
    fn is_exhausted(&self, policy: &FailurePolicy, now: Moment, count: usize) -> bool {
        (self.is_half && count > 1) || is_exhausted(self.tries, now - self.since, policy)
    }
}

/// What to do after a call without records, such as `initialize`, failed `tries` times in a row.
/// With no record to abandon, it is retried unless the policy is to stop.
#[must_use]
pub fn call_failed(tries: u32, failing_for: Duration, policy: &FailurePolicy) -> Verdict {
    match policy.then {
        OnExhausted::StopShard if is_exhausted(tries, failing_for, policy) => Verdict::StopShard,
        OnExhausted::StopWorker if is_exhausted(tries, failing_for, policy) => Verdict::StopWorker,
        OnExhausted::StopShard
        | OnExhausted::StopWorker
        | OnExhausted::DeadLetter
        | OnExhausted::Skip => Verdict::Retry { tries },
    }
}

fn is_exhausted(tries: u32, failing_for: Duration, policy: &FailurePolicy) -> bool {
    let tries = usize::try_from(tries).unwrap_or(usize::MAX);
    policy.attempts_max.is_some_and(|max| tries >= max)
        || policy.retry_for.is_some_and(|time| failing_for >= time)
}

/// The first position that can come after this one.
const fn following(position: Position) -> Position {
    Position { sub_sequence: position.sub_sequence.saturating_add(1), ..position }
}

#[cfg(test)]
#[path = "failure_policy_tests.rs"]
mod tests;
