//! When a shard counts as ended although its service does not announce the end.
//!
//! Some imitations of Kinesis hand out iterators of a closed shard without end, and some go on
//! storing records in it. So a shard that yields nothing is looked up in the list of shards. If it
//! is closed there, its end is taken as proven only after it stayed quiet for a while.

use std::time::Duration;

use crate::model::Moment;

/// How long a shard yields no records before it is looked up, and how often it is looked up then.
pub const QUIET: Duration = Duration::from_mins(5);

/// Watches one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndWatch {
    /// Since when the reader is caught up and gets no records.
    quiet_since: Option<Moment>,
    looked_at: Option<Moment>,
    /// When the list first showed the shard closed.
    closed_at: Option<Moment>,
}

/// What is due for a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the answers of `EndWatch::due`")]
pub enum Due {
    /// A read.
    Read,
    /// A look at the list of shards.
    Look,
    /// Its end.
    End,
}

impl EndWatch {
    /// Records a read. It is quiet if it was caught up and returned no records.
    pub fn read(&mut self, is_quiet: bool, now: Moment) {
        self.quiet_since = is_quiet.then(|| self.quiet_since.unwrap_or(now));
    }

    /// Records that the list of shards was asked for, and whether it shows the shard closed.
    /// Returns whether that is new.
    pub fn looked(&mut self, is_closed: bool, now: Moment) -> bool {
        self.looked_at = Some(now);
        let is_new = is_closed && self.closed_at.is_none();
        if is_new {
            self.closed_at = Some(now);
        }
        is_new
    }

    /// Returns what is due.
    #[must_use]
    pub fn due(&self, now: Moment) -> Due {
        let is_over = |since: Moment| now.since(since) >= QUIET;
        if !self.quiet_since.is_some_and(is_over) {
            return Due::Read;
        }
        match self.closed_at {
            Some(closed_at) if is_over(closed_at) => Due::End,
            Some(_) => Due::Read,
            None if self.looked_at.is_none_or(is_over) => Due::Look,
            None => Due::Read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(minutes: u32) -> Moment {
        Moment::from_origin(MINUTE * minutes)
    }

    #[test]
    fn busy_shard_is_never_looked_up() {
        let mut watch = EndWatch::default();
        for minute in 0..100 {
            watch.read(minute % 4 != 0, at(minute));
            assert_eq!(watch.due(at(minute)), Due::Read);
        }
    }

    #[test]
    fn open_shard_is_looked_up_again() {
        let mut watch = EndWatch::default();
        let mut looks = Vec::new();
        for minute in 0..=16 {
            watch.read(true, at(minute));
            if watch.due(at(minute)) == Due::Look {
                looks.push(minute);
                assert!(!watch.looked(false, at(minute)));
            }
        }
        assert_eq!(looks, [5, 10, 15]);
    }

    #[test]
    fn closed_shard_ends_after_it_stayed_quiet() {
        let mut watch = EndWatch::default();
        watch.read(true, at(0));
        assert_eq!(watch.due(at(60)), Due::Look);
        assert!(watch.looked(true, at(60)));
        watch.read(true, at(64));
        assert_eq!((watch.due(at(64)), watch.due(at(65))), (Due::Read, Due::End));
    }

    #[test]
    fn record_of_a_closed_shard_postpones_its_end() {
        let mut watch = EndWatch::default();
        watch.read(true, at(0));
        assert!(watch.looked(true, at(5)));
        watch.read(false, at(9));
        watch.read(true, at(10));
        assert_eq!((watch.due(at(14)), watch.due(at(15))), (Due::Read, Due::End));
        assert!(!watch.looked(true, at(15)), "it is known");
    }
}
