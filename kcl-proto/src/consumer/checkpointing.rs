//! How far a shard is done, and which checkpoints are allowed.

use crate::consumer::under_way::{Delivered, UnderWay};
use crate::consumer::watermark::Watermark;
use crate::model::{Checkpoint, CheckpointPolicy, Position};

/// How far one processor has come with its shard.
///
/// A processor that takes over after a panic gets marks of its own: what the former one was given
/// and did not finish, it was never given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    policy: CheckpointPolicy,
    /// What was stored before: where the shard was resumed, then each checkpoint of the application.
    stored: Checkpoint,
    /// Up to where records were handed over.
    delivered: Option<Position>,
    /// Up to where the processor returned `Ok`, or acknowledged each record.
    processed: Watermark,
    /// About how many records that are.
    records: u64,
    /// The batches whose records are acknowledged one by one, and not all done.
    under_way: UnderWay,
    failure: Option<AckFailure>,
    is_over: bool,
}

/// An acknowledgement that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckFailure {
    /// Of which record.
    pub position: Position,
    /// Why.
    pub error: String,
    /// Whether its attempts are used up.
    pub is_final: bool,
}

/// How far a processor has come, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// What the library stores by itself.
    pub automatic: Option<Checkpoint>,
    /// Up to where everything is done for good.
    pub done: Checkpoint,
    /// After which checkpoint the shard has to be read once more for another processor; none if
    /// reading can go on.
    pub restart: Option<Checkpoint>,
    /// Whether everything that was delivered is done.
    pub is_all_done: bool,
    /// How many records lie above the last position up to which all are acknowledged.
    pub in_flight: usize,
    /// The oldest batch that is acknowledged record by record and not done.
    pub under_way: Option<Delivered>,
    /// About how many records the processor has done.
    pub records: u64,
}

/// Why a checkpoint is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It lies beyond what was delivered, or before what is stored already.
    OutOfRange,
    /// This processor's time is over, or the shard is finished.
    Over,
}

impl Marks {
    /// The marks of a processor that starts after `stored`.
    #[must_use]
    pub fn new(policy: CheckpointPolicy, stored: Checkpoint) -> Self {
        Self {
            policy,
            stored,
            delivered: None,
            processed: Watermark::default(),
            records: 0,
            under_way: UnderWay::default(),
            failure: None,
            is_over: false,
        }
    }

    /// The same marks, after a former processor had done about so many records.
    #[must_use]
    pub fn with_records(self, records: u64) -> Self {
        Self { records, ..self }
    }

    /// Judges a checkpoint of the application at `position`; returns what to store.
    ///
    /// A position may be stored twice: an application that does not know whether it was stored must
    /// be able to repeat it. What the library may store by itself already, because the processor
    /// returned `Ok`, is stored along: so the stored checkpoint never goes back.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn judge(&self, position: Position) -> Result<Checkpoint, Refusal> {
        let checkpoint = Checkpoint::After(position);
        if self.is_over {
            return Err(Refusal::Over);
        }
        let furthest = self.delivered.max(self.stored.position());
        if furthest.is_none_or(|furthest| position > furthest) || checkpoint < self.stored {
            return Err(Refusal::OutOfRange);
        }
        Ok(self.automatic().map_or(checkpoint, |automatic| automatic.max(checkpoint)))
    }

    /// Judges a checkpoint that the application prepares at `position`; returns it.
    ///
    /// # Errors
    /// [`Refusal`] says why not: what is done already needs no preparing.
    pub fn judge_prepared(&self, position: Position) -> Result<Checkpoint, Refusal> {
        let checkpoint = Checkpoint::After(position);
        if self.is_over {
            return Err(Refusal::Over);
        }
        let is_delivered = self.delivered.is_some_and(|delivered| position <= delivered);
        if is_delivered && checkpoint > self.done() {
            Ok(checkpoint)
        } else {
            Err(Refusal::OutOfRange)
        }
    }

    /// Notes that records up to `last` are about to be handed over.
    pub fn deliver(&mut self, last: Position) {
        self.delivered = self.delivered.max(Some(last));
    }

    /// Notes that the processor returned `Ok` for so many records up to `last`.
    pub fn process(&mut self, last: Position, records: usize) {
        if !self.processed.has(last) {
            self.records = self.records.saturating_add(u64::try_from(records).unwrap_or(u64::MAX));
        }
        self.processed.finish(last);
        self.under_way.done_up_to(self.processed.low());
    }

    /// Notes that the records of a batch are acknowledged one by one from now on. Says whether they
    /// are.
    pub fn detach(
        &mut self,
        positions: impl IntoIterator<Item = Position>,
        delivered: Delivered,
    ) -> bool {
        let is_detached = !self.is_over && self.processed.detach(positions);
        if is_detached {
            self.under_way.deliver(delivered);
        }
        is_detached
    }

    /// Notes what a former processor left: it is not done, and nobody has it.
    pub fn inherit(&mut self, left: Delivered) {
        self.under_way.deliver(left);
    }

    /// Whether this record was detached, and is not known to be done with all before it.
    #[must_use]
    pub fn is_detached(&self, position: Position) -> bool {
        self.processed.has(position)
    }

    /// Whether this record waits for its acknowledgement.
    #[must_use]
    pub fn is_outstanding(&self, position: Position) -> bool {
        self.processed.is_outstanding(position)
    }

    /// The records that wait for their acknowledgements, in order.
    pub fn outstanding(&self) -> impl Iterator<Item = Position> {
        self.processed.outstanding()
    }

    /// Notes that a record is done. Says whether anybody has to know.
    pub fn acknowledge(&mut self, position: Position) -> bool {
        self.records = self.records.saturating_add(u64::from(self.is_outstanding(position)));
        let has_moved = !self.is_over && self.processed.acknowledge(position);
        if has_moved {
            self.under_way.done_up_to(self.processed.low());
        }
        has_moved
    }

    /// Notes that a record will not be acknowledged. Says whether anybody has to know: only of the
    /// first.
    pub fn fail(&mut self, failure: AckFailure) -> bool {
        let counts = !self.is_over && self.is_outstanding(failure.position);
        if !counts || self.failure.is_some() {
            return false;
        }
        self.failure = Some(failure);
        true
    }

    /// The acknowledgement that failed first.
    #[must_use]
    pub const fn failure(&self) -> Option<&AckFailure> {
        self.failure.as_ref()
    }

    /// How many records lie above the last position up to which all are acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.processed.len()
    }

    /// All of it as a value.
    #[must_use]
    pub fn reached(&self) -> Reached {
        Reached {
            automatic: self.automatic(),
            done: self.done(),
            restart: self.restart(),
            is_all_done: self.is_all_done(),
            in_flight: self.in_flight(),
            under_way: self.under_way.oldest(),
            records: self.records,
        }
    }

    /// Notes that a checkpoint of the application is stored.
    pub fn store(&mut self, checkpoint: Checkpoint) {
        self.stored = self.stored.max(checkpoint);
        if let Some(position) = checkpoint.position() {
            self.processed.pass(position); // The application says so for all of them.
            self.under_way.done_up_to(Some(position));
        }
    }

    /// Notes that nothing may be checkpointed any more.
    pub const fn end(&mut self) {
        self.is_over = true;
    }

    /// What the library stores by itself: as far as the processor returned `Ok`.
    #[must_use]
    pub fn automatic(&self) -> Option<Checkpoint> {
        self.processed.low().filter(|_| self.policy.is_automatic()).map(Checkpoint::After)
    }

    /// Up to where everything is done for good.
    ///
    /// With manual checkpoints that is the last stored one.
    #[must_use]
    pub fn done(&self) -> Checkpoint {
        self.automatic().map_or(self.stored, |automatic| automatic.max(self.stored))
    }

    /// After which checkpoint the shard has to be read once more for another processor; none if
    /// reading can go on, since whatever is not done is in hand.
    ///
    /// With manual checkpoints, what the former processor returned `Ok` for may have lived in its
    /// memory only, and so may records that it had not acknowledged.
    #[must_use]
    pub fn restart(&self) -> Option<Checkpoint> {
        match self.policy {
            CheckpointPolicy::Manual => Some(self.stored),
            CheckpointPolicy::Automatic | CheckpointPolicy::Every { .. } => {
                (!self.processed.is_empty()).then(|| self.done())
            }
        }
    }

    /// Whether everything that was delivered is done.
    #[must_use]
    pub fn is_all_done(&self) -> bool {
        self.delivered.is_none_or(|delivered| self.done() >= Checkpoint::After(delivered))
    }
}

#[cfg(test)]
mod tests {
    use CheckpointPolicy::{Automatic, Manual};

    use super::*;

    fn at(number: u128) -> Position {
        Position::of(number.into())
    }

    fn after(number: u128) -> Checkpoint {
        Checkpoint::After(at(number))
    }

    /// Marks resumed after 5, with records up to 20 delivered.
    fn marks(policy: CheckpointPolicy) -> Marks {
        let mut marks = Marks::new(policy, after(5));
        marks.deliver(at(20));
        marks
    }

    #[track_caller]
    fn check(marks: &Marks, position: u128, expected: Result<Checkpoint, Refusal>) {
        assert_eq!(marks.judge(at(position)), expected);
    }

    #[test]
    fn a_checkpoint_lies_within_what_was_delivered() {
        let marks = marks(Manual);
        check(&marks, 4, Err(Refusal::OutOfRange));
        check(&marks, 5, Ok(after(5)));
        check(&marks, 20, Ok(after(20)));
        check(&marks, 21, Err(Refusal::OutOfRange));
        let nothing_delivered = Marks::new(Manual, after(5));
        check(&nothing_delivered, 5, Ok(after(5)));
        check(&nothing_delivered, 6, Err(Refusal::OutOfRange));
        let from_the_beginning = Marks::new(Manual, Checkpoint::TrimHorizon);
        check(&from_the_beginning, 0, Err(Refusal::OutOfRange));
    }

    #[test]
    fn a_checkpoint_never_goes_back_but_may_be_repeated() {
        let mut marks = marks(Manual);
        marks.store(after(10));
        check(&marks, 9, Err(Refusal::OutOfRange));
        check(&marks, 10, Ok(after(10)));
        marks.store(after(7));
        check(&marks, 9, Err(Refusal::OutOfRange));
    }

    #[test]
    fn a_checkpoint_lies_inside_an_aggregated_record() {
        let inside = |sub_sequence| Position { sequence: 20.into(), sub_sequence };
        let mut marks = marks(Manual);
        marks.deliver(inside(3));
        assert_eq!(marks.judge(inside(3)), Ok(Checkpoint::After(inside(3))));
        assert_eq!(marks.judge(inside(4)), Err(Refusal::OutOfRange));
        marks.store(Checkpoint::After(inside(2)));
        assert_eq!(marks.judge(inside(1)), Err(Refusal::OutOfRange));
    }

    #[test]
    fn an_automatic_checkpoint_is_stored_along_with_an_older_one() {
        let mut marks = marks(Automatic);
        marks.process(at(12), 1);
        check(&marks, 10, Ok(after(12)));
        check(&marks, 15, Ok(after(15)));
    }

    #[test]
    fn what_is_prepared_was_delivered_and_is_not_done() {
        let mut marks = marks(Automatic);
        marks.process(at(12), 1);
        for (position, expected) in [
            (5, Err(Refusal::OutOfRange)),
            (12, Err(Refusal::OutOfRange)),
            (13, Ok(after(13))),
            (20, Ok(after(20))),
            (21, Err(Refusal::OutOfRange)),
        ] {
            assert_eq!(marks.judge_prepared(at(position)), expected, "{position}");
        }
        marks.end();
        assert_eq!(marks.judge_prepared(at(13)), Err(Refusal::Over));
    }

    #[test]
    fn nothing_is_checkpointed_once_it_is_over() {
        let mut marks = marks(Automatic);
        marks.end();
        check(&marks, 20, Err(Refusal::Over));
    }

    #[test]
    fn what_was_processed_is_done_only_with_automatic_checkpoints() {
        for (policy, automatic, done) in
            [(Automatic, Some(after(12)), after(12)), (Manual, None, after(7))]
        {
            let mut marks = marks(policy);
            marks.store(after(7));
            marks.process(at(12), 1);
            assert_eq!((marks.automatic(), marks.done()), (automatic, done), "{policy:?}");
            assert!(!marks.is_all_done());
            marks.store(after(20));
            assert!(marks.is_all_done());
        }
    }

    #[test]
    fn nothing_delivered_is_all_done() {
        assert!(Marks::new(Manual, Checkpoint::TrimHorizon).is_all_done());
    }
}
