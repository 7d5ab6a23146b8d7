//! What the lookouts of a fleet tell the other workers.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{LeaseKey, WorkerId};

/// What the lookouts of a fleet tell the other workers, in attributes of the stream's row.
///
/// A fleet too large for every worker to scan the table leaves that to a few lookouts. All of a
/// bulletin is a hint: a worker that acts on it reads the rows that it names first, and conditional
/// writes protect the leases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Bulletin {
    /// How often it was published: 0 if it never was. A number that stands still says that no worker
    /// looks.
    pub number: u64,
    /// Who published it.
    pub by: Option<WorkerId>,
    /// The worker that is to look beside the publisher: its own line may be outdated.
    pub second: Option<WorkerId>,
    /// Which worker is to take each of these leases, or to ask its owner for it.
    pub moves: BTreeMap<LeaseKey, WorkerId>,
    /// Whether every worker is to scan and help itself: more leases wait for a worker than a
    /// bulletin can name.
    pub scan: bool,
    /// The keys of rows that have changed, leases and sessions, until a lookout has read them.
    pub news: BTreeSet<String>,
}

impl Bulletin {
    /// A bulletin that was never published.
    pub const EMPTY: Self = Self {
        number: 0,
        by: None,
        second: None,
        moves: BTreeMap::new(),
        scan: false,
        news: BTreeSet::new(),
    };

    /// Whether this bulletin plans as the other one does: the same moves, by the same workers.
    #[must_use]
    pub fn plans_as(&self, other: &Self) -> bool {
        let Self { by, second, moves, scan, .. } = self;
        (by, second, moves, *scan) == (&other.by, &other.second, &other.moves, other.scan)
    }
}

/// A new edition of a bulletin. It requires that no worker has published one since.
///
/// Sending the same value twice is harmless: once it is applied, the number has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Publication {
    /// The number of the bulletin as last read.
    pub number: u64,
    /// Who publishes.
    pub by: WorkerId,
    /// The worker that is to look beside it.
    pub second: Option<WorkerId>,
    /// The new moves, which replace the earlier ones.
    pub moves: BTreeMap<LeaseKey, WorkerId>,
    /// Whether every worker is to scan.
    pub scan: bool,
    /// The news that the publisher has read, which leave the bulletin.
    pub heard: BTreeSet<String>,
}

impl Publication {
    /// Returns the bulletin after the publication, or `None` if another one came first.
    #[must_use]
    pub fn apply(&self, bulletin: &Bulletin) -> Option<Bulletin> {
        (bulletin.number == self.number).then(|| Bulletin {
            number: self.number.saturating_add(1),
            by: Some(self.by.clone()),
            second: self.second.clone(),
            moves: self.moves.clone(),
            scan: self.scan,
            news: bulletin.news.difference(&self.heard).cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news<const N: usize>(keys: [&str; N]) -> BTreeSet<String> {
        keys.map(String::from).into()
    }

    #[test]
    fn publication_replaces_the_moves_and_keeps_unread_news() {
        let before = Bulletin { number: 4, news: news(["a", "b"]), ..Bulletin::default() };
        let moves = BTreeMap::from([(LeaseKey::from("1"), WorkerId::from("w"))]);
        let by = WorkerId::from("l");
        let heard = news(["a", "c"]);
        let (number, scan, second) = (4, true, Some(WorkerId::from("s")));
        let publication = Publication { number, by, second, moves, scan, heard };
        let after = publication.apply(&before).unwrap();
        let Publication { by, second, moves, scan, .. } = publication.clone();
        let by = Some(by);
        assert_eq!(after, Bulletin { number: 5, by, second, moves, scan, news: news(["b"]) });
        assert_eq!(publication.apply(&after), None, "another copy");
    }
}
