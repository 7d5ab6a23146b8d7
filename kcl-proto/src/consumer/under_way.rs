//! Batches whose records are acknowledged one by one and are not all done: since when, and how old.

use std::collections::VecDeque;

use crate::consumer::retention_warning::Lag;
use crate::model::{Moment, Position};

/// A batch that was delivered, and whose records are acknowledged one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the input and output of a decision")]
pub struct Delivered {
    /// Where it ends.
    pub last: Position,
    /// How old its records may be.
    pub lag: Lag,
    /// When a processor got it; none if that was replaced since.
    pub at: Option<Moment>,
}

/// The batches of one shard that are not done, in the order of their delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    batches: VecDeque<Delivered>,
}

impl UnderWay {
    /// Notes that a batch is delivered.
    pub fn deliver(&mut self, delivered: Delivered) {
        self.batches.push_back(delivered);
    }

    /// Forgets what is done.
    pub fn done_up_to(&mut self, done: Option<Position>) {
        while self.batches.pop_front_if(|batch| Some(batch.last) <= done).is_some() {}
    }

    /// The oldest batch that is not done, and since when a processor has had any; none if all is
    /// done.
    #[must_use]
    pub fn oldest(&self) -> Option<Delivered> {
        let oldest = self.batches.front()?;
        let at = self.batches.iter().find_map(|batch| batch.at);
        Some(Delivered { at, ..*oldest })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(minute: u64) -> Moment {
        Moment::from_origin(Duration::from_mins(minute))
    }

    fn delivered(last: u128, minute: u64) -> Delivered {
        let lag = Lag { behind: Duration::ZERO, seen: at(minute) };
        Delivered { last: end(last), lag, at: Some(at(minute)) }
    }

    fn end(number: u128) -> Position {
        Position::of(number.into())
    }

    #[test]
    fn the_oldest_batch_counts_until_its_last_record_is_done() {
        let mut under_way = UnderWay::default();
        assert_eq!(under_way.oldest(), None);
        under_way.deliver(delivered(5, 1));
        under_way.deliver(delivered(9, 2));
        under_way.done_up_to(None);
        under_way.done_up_to(Some(end(4)));
        assert_eq!(under_way.oldest(), Some(delivered(5, 1)));
        under_way.done_up_to(Some(end(5)));
        assert_eq!(under_way.oldest(), Some(delivered(9, 2)));
        under_way.done_up_to(Some(end(10)));
        assert_eq!(under_way.oldest(), None);
    }

    #[test]
    fn what_a_former_processor_left_is_as_old_as_it_was_and_waits_for_nobody() {
        let mut under_way = UnderWay::default();
        let left = Delivered { at: None, ..delivered(5, 1) };
        under_way.deliver(left);
        assert_eq!(under_way.oldest(), Some(left));
        under_way.deliver(delivered(3, 7));
        assert_eq!(under_way.oldest(), Some(Delivered { at: Some(at(7)), ..left }));
    }
}
