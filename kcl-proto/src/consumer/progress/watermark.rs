//! Which detached records are acknowledged, and up to where all of them are.

use std::collections::VecDeque;

use crate::model::Position;

/// The position up to which all records of a shard are done, and the detached records above it.
///
/// An acknowledged record stays in the window until every record before it is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watermark {
    low: Option<Position>,
    /// In order. The first entry is outstanding.
    window: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    position: Position,
    is_done: bool,
}

impl Watermark {
    /// The position up to which everything is done, or `None` if nothing is.
    pub(super) const fn low(&self) -> Option<Position> {
        self.low
    }

    /// The number of records above [`low`](Self::low).
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether everything is done.
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// The records that are not acknowledged, in order.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = Position> {
        self.window.iter().filter(|entry| !entry.is_done).map(|entry| entry.position)
    }

    /// Whether the record at `position` was detached and is not acknowledged.
    pub(super) fn is_outstanding(&self, position: Position) -> bool {
        self.find(position).is_some_and(|entry| !entry.is_done)
    }

    /// Whether the record at `position` lies above [`low`](Self::low).
    pub(super) fn has(&self, position: Position) -> bool {
        self.find(position).is_some()
    }

    /// Adds records, in order, that are acknowledged one by one. Returns false if all of them were
    /// detached or done before.
    pub(super) fn detach(&mut self, positions: impl IntoIterator<Item = Position>) -> bool {
        let newest = self.newest();
        let mut new = positions.into_iter().filter(|it| Some(*it) > newest).peekable();
        let is_new = new.peek().is_some();
        self.window.extend(new.map(|position| Entry { position, is_done: false }));
        is_new
    }

    /// Marks everything up to `last` that is not detached as done.
    pub(super) fn finish(&mut self, last: Position) {
        if Some(last) <= self.newest() {
            return;
        }
        if self.window.is_empty() {
            self.low = Some(last);
        } else {
            self.window.push_back(Entry { position: last, is_done: true });
        }
    }

    /// Marks a record as done. Returns whether [`low`](Self::low) moved.
    pub(super) fn acknowledge(&mut self, position: Position) -> bool {
        let index = self.window.partition_point(|entry| entry.position < position);
        match self.window.get_mut(index) {
            Some(entry) if entry.position == position => entry.is_done = true,
            Some(_) | None => return false,
        }
        self.advance()
    }

    /// Marks everything up to `position` as done, detached or not.
    pub(super) fn pass(&mut self, position: Position) -> bool {
        for entry in self.window.iter_mut().take_while(|entry| entry.position <= position) {
            entry.is_done = true;
        }
        self.advance()
    }

    /// The same position, without detached records.
    pub(super) const fn without_window(&self) -> Self {
        Self { low: self.low, window: VecDeque::new() }
    }

    fn advance(&mut self) -> bool {
        let before = self.low;
        while let Some(entry) = self.window.pop_front_if(|entry| entry.is_done) {
            self.low = Some(entry.position);
        }
        self.low != before
    }

    fn newest(&self) -> Option<Position> {
        self.window.back().map(|entry| entry.position).or(self.low)
    }

    fn find(&self, position: Position) -> Option<&Entry> {
        let index = self.window.partition_point(|entry| entry.position < position);
        self.window.get(index).filter(|entry| entry.position == position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(number: u128) -> Position {
        Position::of(number.into())
    }

    fn detached(numbers: impl IntoIterator<Item = u128>) -> Watermark {
        let mut watermark = Watermark::default();
        assert!(watermark.detach(numbers.into_iter().map(at)));
        watermark
    }

    #[test]
    fn low_stays_before_the_first_outstanding_record() {
        let mut watermark = detached(1..=4);
        assert!(!watermark.acknowledge(at(3)));
        assert_eq!((watermark.low(), watermark.len()), (None, 4));
        assert!(watermark.acknowledge(at(1)));
        assert_eq!((watermark.low(), watermark.len()), (Some(at(1)), 3));
        assert_eq!(watermark.outstanding().collect::<Vec<_>>(), [at(2), at(4)]);
        assert!(watermark.acknowledge(at(2)));
        assert_eq!((watermark.low(), watermark.len()), (Some(at(3)), 1));
    }

    #[test]
    fn finished_records_wait_for_outstanding_ones_before_them() {
        let mut watermark = detached(1..=2);
        watermark.finish(at(2));
        watermark.finish(at(9));
        assert_eq!(watermark.low(), None);
        assert!(watermark.acknowledge(at(1)) && watermark.acknowledge(at(2)));
        assert_eq!((watermark.low(), watermark.is_empty()), (Some(at(9)), true));
        watermark.finish(at(12));
        assert_eq!(watermark.low(), Some(at(12)));
        watermark.finish(at(3));
        assert_eq!(watermark.low(), Some(at(12)));
    }

    #[test]
    fn records_are_detached_once() {
        let mut watermark = detached(1..=2);
        assert!(!watermark.detach([at(1), at(2)]));
        assert!(watermark.detach([at(2), at(3)]));
        assert_eq!(watermark.len(), 3);
        assert!(!watermark.acknowledge(at(7)) && !watermark.is_outstanding(at(7)));
    }

    #[test]
    fn passing_a_position_finishes_what_comes_before() {
        let mut watermark = detached(1..=4);
        assert!(watermark.pass(at(2)));
        assert_eq!((watermark.low(), watermark.len()), (Some(at(2)), 2));
        assert!(watermark.is_outstanding(at(3)) && !watermark.is_outstanding(at(2)));
    }

    proptest! {
        #[test]
        fn low_ends_the_longest_acknowledged_run(
            order in Just((1..=40_u128).collect::<Vec<_>>()).prop_shuffle(),
            count in 0..=40_usize,
        ) {
            let mut watermark = detached(1..=40);
            let mut done = std::collections::BTreeSet::new();
            for number in order.into_iter().take(count) {
                watermark.acknowledge(at(number));
                done.insert(number);
                let run = (1..=40).take_while(|number| done.contains(number)).last();
                prop_assert_eq!(watermark.low(), run.map(at));
                prop_assert_eq!(watermark.outstanding().count(), 40 - done.len());
            }
        }
    }
}
