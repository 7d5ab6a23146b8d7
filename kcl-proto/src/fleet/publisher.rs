//! What a lookout publishes.

use std::collections::BTreeSet;

use crate::fleet::assignments::Assignments;
use crate::model::{Bulletin, Publication, WorkerId};

/// What a lookout publishes, and which news it has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publisher {
    /// Which worker is to take which lease.
    pub assignments: Assignments,
    /// The news that this lookout has read, until a publication removes them.
    heard: BTreeSet<String>,
}

impl Publisher {
    /// Whether the bulletin says something else than this lookout would, or has news that it read.
    #[must_use]
    pub fn differs_from(&self, bulletin: &Bulletin) -> bool {
        self.assignments.is_too_much() != bulletin.scan
            || !self.assignments.are(&bulletin.moves)
            || !self.heard.is_disjoint(&bulletin.news)
    }

    /// Returns news of the bulletin that this lookout has not read, at most `most`.
    #[must_use]
    pub fn unheard(&self, bulletin: &Bulletin, most: usize) -> Vec<String> {
        bulletin.news.difference(&self.heard).take(most).cloned().collect()
    }

    /// Records that this lookout has read the rows that these news name.
    pub fn heard(&mut self, news: impl IntoIterator<Item = String>) {
        self.heard.extend(news);
    }

    /// Records a bulletin that was read or written: what left its news may be added anew.
    pub fn saw(&mut self, bulletin: &Bulletin) {
        self.heard.retain(|key| bulletin.news.contains(key));
    }

    /// Returns the publication after the bulletin of this number.
    #[must_use]
    pub fn publication(&self, number: u64, by: WorkerId, second: Option<WorkerId>) -> Publication {
        let (moves, scan) = (self.assignments.moves(), self.assignments.is_too_much());
        Publication { number, by, second, moves, scan, heard: self.heard.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulletin<const N: usize>(news: [&str; N]) -> Bulletin {
        Bulletin { news: news.map(String::from).into(), ..Bulletin::EMPTY }
    }

    #[test]
    fn news_are_read_once_until_they_have_left_the_bulletin() {
        let mut publisher = Publisher::default();
        let told = bulletin(["a", "b", "c"]);
        assert_eq!(publisher.unheard(&told, 2), ["a", "b"]);
        assert!(!publisher.differs_from(&told));
        publisher.heard(["a".to_owned(), "b".to_owned()]);
        assert!(publisher.differs_from(&told), "what was read is to leave it");
        assert_eq!(publisher.unheard(&told, 2), ["c"]);
        let after = publisher.publication(0, "me".into(), None).apply(&told).unwrap();
        assert_eq!(after.news, bulletin(["c"]).news);
        publisher.saw(&after);
        assert_eq!(publisher.unheard(&told, 9), ["a", "b", "c"], "told anew");
    }
}
