//! What a worker tells the lookouts.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use crate::model::Moment;
use crate::recurring::Recurring;

/// The shortest time between two tellings.
const GAP: Duration = Duration::from_millis(250);

/// The pause after one that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The keys of rows that have changed, until the lookouts are notified of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    keys: BTreeSet<String>,
    telling: Recurring,
}

impl News {
    /// Creates the news of these keys.
    #[must_use]
    pub const fn new(keys: BTreeSet<String>, now: Moment) -> Self {
        Self { keys, telling: Recurring::new(now) }
    }

    /// Adds keys.
    pub fn add(&mut self, keys: impl IntoIterator<Item = String>, now: Moment) {
        self.keys.extend(keys);
        self.telling.hurry(now);
    }

    /// Removes and returns what to tell now, at most `most` keys; nothing while that is under way.
    /// Pass how it went to [`told`](Self::told).
    pub fn next(&mut self, most: usize, now: Moment) -> Option<BTreeSet<String>> {
        if self.keys.is_empty() || !self.telling.begin(now) {
            return None;
        }
        let mut next = mem::take(&mut self.keys);
        if let Some(rest) = next.iter().nth(most).cloned() {
            self.keys = next.split_off(&rest);
        }
        Some(next)
    }

    /// Records whether these keys were told. If not, they are sent again.
    pub fn told(&mut self, keys: BTreeSet<String>, is_told: bool, now: Moment) {
        self.telling.ended(now);
        self.telling.rest(now + if is_told { GAP } else { RETRY_AFTER });
        if !is_told {
            self.keys.extend(keys);
        }
    }

    /// When to tell what is left.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        self.telling.wake_at().filter(|_| !self.keys.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<const N: usize>(keys: [&str; N]) -> BTreeSet<String> {
        keys.map(String::from).into()
    }

    #[test]
    fn news_are_told_some_at_a_time_and_again_after_a_failure() {
        let at = Moment::at_millis;
        let mut news = News::new(keys(["a", "b", "c"]), at(0));
        assert_eq!(news.next(2, at(0)), Some(keys(["a", "b"])));
        assert_eq!((news.next(2, at(0)), news.wake_at()), (None, None), "one call at a time");
        news.told(keys(["a", "b"]), false, at(10));
        news.add(keys(["d"]), at(20));
        assert_eq!(news.wake_at(), Some(at(1_010)), "it rests");
        assert_eq!(news.next(9, at(1_010)), Some(keys(["a", "b", "c", "d"])));
        news.told(keys(["a"]), true, at(1_020));
        assert_eq!(news.wake_at(), None);
        news.add(keys(["a"]), at(1_030));
        assert_eq!(news.wake_at(), Some(at(1_270)));
    }
}
