//! What failed in a shard, and how often → what is delivered next, and what is given up.
//!
//! Everything is known by position: it outlives processors, and holds when records are read anew.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{FailurePolicy, Moment, OnExhausted, Position, Record};

/// The failures of one ownership of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// In order; they do not overlap.
    parts: Vec<Part>,
    /// Records that were given up.
    fates: BTreeMap<Position, Fate>,
}

/// Records that failed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: Position,
    last: Position,
    /// How often they were delivered.
    attempts: u32,
    /// How often in a row they failed without getting any further.
    tries: u32,
    /// When the first of these tries failed.
    since: Moment,
    /// Whether they are a half of records that used up their attempts.
    is_half: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Condemned(Condemned),
    SetAside,
}

/// A record that is to be set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condemned {
    /// How often it was delivered.
    pub attempts: u32,
    /// What the processor said last.
    pub error: String,
}

/// What to do with the first of some records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Portion {
    /// Deliver so many of them together.
    Deliver {
        /// How many.
        count: usize,
        /// Which delivery it is.
        attempt: u32,
    },
    /// The first is to be set aside.
    SetAside(Condemned),
    /// The first was set aside before.
    Pass,
}

/// What failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// The records that are not done, in order.
    pub positions: &'a [Position],
    /// Whether it is known that the first of them is at fault.
    pub is_first_blamed: bool,
    /// What the processor said.
    pub error: &'a str,
}

/// What becomes of records that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They come again, after the pause for so many failures in a row.
    Again {
        /// How many.
        tries: u32,
    },
    /// Some are to be set aside: the next [`Portion`] says which.
    SetAside,
    /// The shard is given up.
    StopShard,
    /// The worker stops.
    StopWorker,
}

impl Trouble {
    /// What to do with the first of `records`; none if there are none.
    #[must_use]
    pub fn portion(&self, records: &[Record]) -> Option<Portion> {
        let first = records.first()?.position;
        match self.fates.get(&first) {
            Some(Fate::Condemned(condemned)) => return Some(Portion::SetAside(condemned.clone())),
            Some(Fate::SetAside) => return Some(Portion::Pass),
            None => {}
        }
        let part = self.part_from(first);
        let here = part.filter(|part| part.first <= first);
        let last = here.map(|part| part.last);
        let fate = self.fates.range(first..).next().map(|(position, _)| *position);
        let next = part.map(|part| part.first).filter(|_| here.is_none());
        let count = records.partition_point(|Record { position, .. }| {
            last.is_none_or(|last| *position <= last)
                && fate.is_none_or(|fate| *position < fate)
                && next.is_none_or(|next| *position < next)
        });
        Some(Portion::Deliver { count, attempt: self.attempt(first) })
    }

    /// Which delivery of the record at `position` comes next, or is under way.
    #[must_use]
    pub fn attempt(&self, position: Position) -> u32 {
        let here = self.part_from(position).filter(|part| part.first <= position);
        here.map_or(0, |part| part.attempts).saturating_add(1)
    }

    /// The part in which `position` lies, or the next one.
    fn part_from(&self, position: Position) -> Option<&Part> {
        self.parts.iter().find(|part| part.last >= position)
    }

    /// Notes that records failed; says what becomes of them.
    pub fn failed(&mut self, failed: Failed<'_>, policy: &FailurePolicy, now: Moment) -> Verdict {
        let (Some(first), Some(last)) = (failed.positions.first(), failed.positions.last()) else {
            return Verdict::Again { tries: 1 };
        };
        let mut part = self.take_part(*first, *last, now);
        if part.tries == 0 {
            part.since = now; // A half may have waited for long until it came.
        }
        part.attempts = part.attempts.saturating_add(1);
        part.tries = part.tries.saturating_add(1);
        if !part.is_exhausted(policy, now, failed.positions.len()) {
            let tries = part.tries;
            self.put(part);
            return Verdict::Again { tries };
        }
        let count = if failed.is_first_blamed { 1 } else { failed.positions.len() };
        if count > 1 && policy.bisect {
            self.halve(part, failed.positions);
            return Verdict::Again { tries: 1 };
        }
        match policy.then {
            OnExhausted::StopShard => return Verdict::StopShard,
            OnExhausted::StopWorker => return Verdict::StopWorker,
            OnExhausted::DeadLetter | OnExhausted::Skip => {}
        }
        for position in failed.positions.iter().take(count) {
            let condemned = Condemned { attempts: part.attempts, error: failed.error.to_owned() };
            self.fates.insert(*position, Fate::Condemned(condemned));
        }
        if let Some(next) = failed.positions.get(count) {
            self.put(Part { first: *next, tries: 0, since: now, is_half: false, ..part });
        }
        Verdict::SetAside
    }

    /// Notes that a condemned record is stored elsewhere, or passed over.
    pub fn set_aside(&mut self, position: Position) {
        self.fates.insert(position, Fate::SetAside);
    }

    /// Forgets what everybody knows to be done.
    pub fn done_up_to(&mut self, done: Position) {
        self.parts.retain(|part| part.last > done);
        if self.fates.first_key_value().is_some_and(|(first, _)| *first <= done) {
            self.fates.retain(|position, _| *position > done);
        }
    }

    /// Takes out the part in which `first` lies, and leaves what comes after `last`.
    fn take_part(&mut self, first: Position, last: Position, now: Moment) -> Part {
        let here = |part: &Part| part.first <= first && first <= part.last;
        let fresh = Part { first, last, attempts: 0, tries: 0, since: now, is_half: false };
        let Some(index) = self.parts.iter().position(here) else {
            self.parts.retain(|part| part.first > last || part.last < first);
            return fresh;
        };
        let found = self.parts.remove(index);
        self.parts.retain(|part| part.first > last || part.last < first);
        if found.last > last {
            self.put(Part { first: following(last), ..found });
        }
        // Who got further has shown that it can: its failures are counted anew.
        if found.first == first {
            Part { last, ..found }
        } else {
            Part { attempts: found.attempts, ..fresh }
        }
    }

    fn halve(&mut self, part: Part, positions: &[Position]) {
        let (low, high) = positions.split_at(positions.len() / 2);
        for half in [low, high] {
            if let (Some(first), Some(last)) = (half.first(), half.last()) {
                let (first, last) = (*first, *last);
                self.put(Part { first, last, tries: 0, is_half: true, ..part });
            }
        }
    }

    fn put(&mut self, part: Part) {
        let index = self.parts.partition_point(|other| other.first < part.first);
        self.parts.insert(index, part);
    }
}

impl Part {
    fn is_exhausted(&self, policy: &FailurePolicy, now: Moment, count: usize) -> bool {
        (self.is_half && count > 1) || is_exhausted(self.tries, now - self.since, policy)
    }
}

/// What becomes of a call without records, such as `initialize`, that failed so often in a row. There
/// is nothing to set aside: it is made again, unless the policy is to stop.
#[must_use]
pub fn call_failed(tries: u32, failing_for: Duration, policy: &FailurePolicy) -> Verdict {
    match policy.then {
        OnExhausted::StopShard if is_exhausted(tries, failing_for, policy) => Verdict::StopShard,
        OnExhausted::StopWorker if is_exhausted(tries, failing_for, policy) => Verdict::StopWorker,
        OnExhausted::StopShard
        | OnExhausted::StopWorker
        | OnExhausted::DeadLetter
        | OnExhausted::Skip => Verdict::Again { tries },
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
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(number: u128) -> Position {
        Position::of(number.into())
    }

    fn records(numbers: impl IntoIterator<Item = u128>) -> Vec<Record> {
        numbers.into_iter().map(|number| Record::new(at(number), "key", "data", None)).collect()
    }

    fn now(seconds: u32) -> Moment {
        Moment::from_origin(SECOND * seconds)
    }

    #[track_caller]
    fn fail(
        trouble: &mut Trouble,
        numbers: impl IntoIterator<Item = u128>,
        policy: &FailurePolicy,
        expected: Verdict,
    ) {
        let positions: Vec<_> = numbers.into_iter().map(at).collect();
        let failed = Failed { positions: &positions, is_first_blamed: false, error: "no" };
        assert_eq!(trouble.failed(failed, policy, now(0)), expected);
    }

    #[track_caller]
    fn check(trouble: &Trouble, first: u128, count: usize, attempt: u32) {
        let portion = trouble.portion(&records(first..=8));
        assert_eq!(portion, Some(Portion::Deliver { count, attempt }), "from {first}");
    }

    #[test]
    fn without_a_limit_records_come_again_for_ever() {
        let mut trouble = Trouble::default();
        for tries in 1..100 {
            fail(&mut trouble, 1..=8, &FailurePolicy::default(), Verdict::Again { tries });
            check(&trouble, 1, 8, tries + 1);
        }
    }

    #[test]
    fn exhausted_records_come_in_halves_until_one_is_alone() {
        let policy = FailurePolicy::attempts(2, OnExhausted::DeadLetter);
        let mut trouble = Trouble::default();
        fail(&mut trouble, 1..=8, &policy, Verdict::Again { tries: 1 });
        fail(&mut trouble, 1..=8, &policy, Verdict::Again { tries: 1 });
        check(&trouble, 1, 4, 3);
        check(&trouble, 5, 4, 3);
        fail(&mut trouble, 5..=8, &policy, Verdict::Again { tries: 1 });
        fail(&mut trouble, 5..=6, &policy, Verdict::Again { tries: 1 });
        check(&trouble, 5, 1, 5);
        fail(&mut trouble, 5..=5, &policy, Verdict::Again { tries: 1 });
        fail(&mut trouble, 5..=5, &policy, Verdict::SetAside);
        let condemned = Condemned { attempts: 6, error: "no".to_owned() };
        let portion = trouble.portion(&records(5..=8));
        assert_eq!(portion, Some(Portion::SetAside(condemned)));
        trouble.set_aside(at(5));
        assert_eq!(trouble.portion(&records(5..=8)), Some(Portion::Pass));
        check(&trouble, 6, 1, 5);
        check(&trouble, 7, 2, 4);
    }

    #[test]
    fn what_was_set_aside_is_passed_when_it_is_read_anew() {
        let policy = FailurePolicy::attempts(1, OnExhausted::DeadLetter);
        let mut trouble = Trouble::default();
        fail(&mut trouble, 5..=5, &policy, Verdict::SetAside);
        trouble.set_aside(at(5));
        check(&trouble, 1, 4, 1);
        trouble.done_up_to(at(5));
        assert_eq!(trouble, Trouble::default());
    }

    #[test]
    fn getting_further_counts_failures_anew() {
        let policy = FailurePolicy::attempts(3, OnExhausted::Skip);
        let mut trouble = Trouble::default();
        for first in 1..=7 {
            fail(&mut trouble, first..=8, &policy, Verdict::Again { tries: 1 });
        }
        check(&trouble, 7, 2, 8);
    }

    #[test]
    fn a_first_record_that_is_blamed_is_given_up_alone() {
        let policy = FailurePolicy::attempts(1, OnExhausted::Skip);
        let mut trouble = Trouble::default();
        let failed =
            Failed { positions: &[at(3), at(4), at(8)], is_first_blamed: true, error: "no" };
        assert_eq!(trouble.failed(failed, &policy, now(0)), Verdict::SetAside);
        trouble.set_aside(at(3));
        check(&trouble, 4, 5, 2);
    }

    #[test]
    fn time_exhausts_records_as_attempts_do() {
        let policy = FailurePolicy::retry_for(SECOND * 10, OnExhausted::StopShard);
        let mut trouble = Trouble::default();
        let failed = Failed { positions: &[at(1)], is_first_blamed: false, error: "no" };
        assert_eq!(trouble.failed(failed, &policy, now(5)), Verdict::Again { tries: 1 });
        assert_eq!(trouble.failed(failed, &policy, now(14)), Verdict::Again { tries: 2 });
        assert_eq!(trouble.failed(failed, &policy, now(15)), Verdict::StopShard);
        let policy = FailurePolicy::attempts(1, OnExhausted::StopWorker);
        assert_eq!(Trouble::default().failed(failed, &policy, now(5)), Verdict::StopWorker);
    }

    #[test]
    fn a_record_that_is_left_alone_gets_all_the_time_again() {
        let policy = FailurePolicy::retry_for(SECOND * 10, OnExhausted::Skip);
        let mut trouble = Trouble::default();
        let mut fail = |positions: &[Position], seconds, expected| {
            let failed = Failed { positions, is_first_blamed: false, error: "no" };
            assert_eq!(trouble.failed(failed, &policy, now(seconds)), expected, "at {seconds}");
        };
        let (both, low, high) = ([at(1), at(2)], [at(1)], [at(2)]);
        fail(&both, 0, Verdict::Again { tries: 1 });
        fail(&both, 10, Verdict::Again { tries: 1 });
        fail(&low, 11, Verdict::Again { tries: 1 });
        fail(&low, 20, Verdict::Again { tries: 2 });
        fail(&low, 21, Verdict::SetAside);
        fail(&high, 40, Verdict::Again { tries: 1 });
        fail(&high, 49, Verdict::Again { tries: 2 });
        fail(&high, 50, Verdict::SetAside);
    }

    #[test]
    fn a_call_without_records_stops_something_or_is_made_again() {
        let check = |then, tries, failing_for, expected| {
            let policy = FailurePolicy::attempts(3, then);
            assert_eq!(call_failed(tries, failing_for, &policy), expected, "{then:?}");
            let policy = FailurePolicy::retry_for(SECOND * 3, then);
            assert_eq!(call_failed(tries, failing_for, &policy), expected, "{then:?}");
        };
        for (then, stop) in [
            (OnExhausted::StopShard, Verdict::StopShard),
            (OnExhausted::StopWorker, Verdict::StopWorker),
            (OnExhausted::DeadLetter, Verdict::Again { tries: 3 }),
            (OnExhausted::Skip, Verdict::Again { tries: 3 }),
        ] {
            check(then, 2, SECOND * 2, Verdict::Again { tries: 2 });
            check(then, 3, SECOND * 3, stop);
        }
        let forever = call_failed(u32::MAX, SECOND * 1_000_000, &FailurePolicy::default());
        assert_eq!(forever, Verdict::Again { tries: u32::MAX });
    }

    #[test]
    fn records_that_are_read_anew_in_other_batches_keep_their_attempts() {
        let policy = FailurePolicy::default();
        let mut trouble = Trouble::default();
        fail(&mut trouble, 3..=8, &policy, Verdict::Again { tries: 1 });
        check(&trouble, 1, 2, 1);
        assert_eq!(
            trouble.portion(&records(3..=5)),
            Some(Portion::Deliver { count: 3, attempt: 2 })
        );
        fail(&mut trouble, 3..=5, &policy, Verdict::Again { tries: 2 });
        check(&trouble, 3, 3, 3);
        check(&trouble, 6, 3, 2);
    }
}
