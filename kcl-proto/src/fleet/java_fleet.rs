//! Is the table ours alone? Java workers may be using it, and must be proven gone first.
//!
//! A Java fleet shows only by what it changes, and is silent for a minute while it starts. So every
//! row that this library did not write must stand still for a while before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{JavaRow, Lease, LeaseCounter, LeaseKey, Moment, UnreadableRow};

/// How long foreign rows must stand still at least: a Java fleet writes nothing for up to 60 s
/// while its first worker starts.
const STILL_AT_LEAST: Duration = Duration::from_secs(90);

/// Whether anything may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "yes, not yet, no")]
#[must_use]
pub enum Tenancy {
    /// Nobody else is there.
    Clear,
    /// There are foreign rows, and they have not stood still for long enough.
    Wait {
        /// Until when, if nothing changes.
        until: Moment,
        /// What there is.
        seen: String,
    },
    /// A foreign row changed or appeared, or one that cannot be read changed.
    Alive {
        /// Which.
        seen: String,
    },
}

/// Watches the rows that are not ours, over scans, until the table is clear.
///
/// Rows of ours may change as they like, and a foreign row may become ours or go: workers of this
/// fleet that are already at work take and delete such rows. A stale scan shows such a row as it was
/// before, so nothing that was seen is forgotten.
///
/// A row that cannot be read is nobody's, and holds nobody up as long as it stands still.
///
/// Each worker watches when it starts. One that joins a fleet of ours at work waits as long as there
/// is a row which that fleet has not taken over, such as a Java leader's.
#[derive(Clone, Debug)]
pub struct TenancyWatch {
    still_for: Duration,
    /// None before the first scan: what that one finds has not appeared.
    sightings: Option<BTreeMap<RowKey, Sighting>>,
    /// The greatest counter with which each lease was seen as ours.
    ours: BTreeMap<LeaseKey, LeaseCounter>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    Java(String),
    Lease(LeaseKey),
    Unreadable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Java(JavaRow),
    Lease(Box<Lease>),
    Unreadable(UnreadableRow),
}

/// What one scan found: leases, rows of Java's, and rows that cannot be read.
pub type Found<'a> = (&'a [Lease], &'a [JavaRow], &'a [UnreadableRow]);

#[derive(Clone, Debug)]
struct Sighting {
    content: Content,
    first: Moment,
}

impl TenancyWatch {
    /// A watch of a worker with this lease expiry.
    #[must_use]
    pub fn new(expiry: Duration) -> Self {
        let (still_for, sightings) = (expiry.max(STILL_AT_LEAST), None);
        Self { still_for, sightings, ours: BTreeMap::new() }
    }

    /// Takes in one whole scan, which was complete at `now`.
    pub fn observe(&mut self, found: Found<'_>, now: Moment) -> Tenancy {
        let is_first = self.sightings.is_none();
        let mut sightings = self.sightings.take().unwrap_or_default();
        let mut present = BTreeSet::new();
        let mut changed = None;
        for content in foreign(found) {
            let key = content.key();
            present.insert(key.clone());
            let known = sightings.get(&key);
            if known.is_some_and(|known| known.content == content) {
                continue;
            }
            let what = if known.is_some() { "changed" } else { "appeared" };
            let counts = known.is_some() || content.is_foreign();
            if !is_first && counts && !self.is_outdated(&content) {
                changed.get_or_insert_with(|| format!("{} {what}", content.describe()));
            }
            sightings.insert(key, Sighting { content, first: now });
        }
        self.remember_ours(found.0);
        let tenancy = match changed {
            Some(seen) => Tenancy::Alive { seen },
            None => {
                let present = present.iter().filter_map(|key| sightings.get(key));
                let foreign = present.filter(|sighting| sighting.content.is_foreign());
                self.judge(&foreign.collect::<Vec<_>>(), now)
            }
        };
        self.sightings = Some(sightings);
        tenancy
    }

    /// Whether a foreign row is older than one of ours: this scan is stale. Java counts up, unless it
    /// creates a row again; then that one has to stand still like any other.
    fn is_outdated(&self, content: &Content) -> bool {
        match content {
            Content::Lease(lease) => {
                self.ours.get(&lease.key).is_some_and(|ours| lease.counter < *ours)
            }
            Content::Java(_) | Content::Unreadable(_) => false,
        }
    }

    fn remember_ours(&mut self, leases: &[Lease]) {
        for lease in leases.iter().filter(|lease| lease.is_ours()) {
            let greatest = self.ours.entry(lease.key.clone()).or_default();
            *greatest = lease.counter.max(*greatest);
        }
    }

    fn judge(&self, foreign: &[&Sighting], now: Moment) -> Tenancy {
        let until = |sighting: &Sighting| sighting.first + self.still_for(&sighting.content);
        let last = foreign.iter().max_by_key(|sighting| until(sighting));
        match last.map(|sighting| (until(sighting), sighting)) {
            Some((until, sighting)) if until > now => {
                let (count, example) = (foreign.len(), sighting.content.describe());
                let rows = if count == 1 { "row" } else { "rows" };
                let seen = format!("{count} {rows} of another library, such as {example}");
                Tenancy::Wait { until, seen }
            }
            Some(_) | None => Tenancy::Clear,
        }
    }

    fn still_for(&self, content: &Content) -> Duration {
        match content {
            Content::Java(JavaRow { holds_for: Some(holds_for), .. }) => {
                self.still_for.max(*holds_for)
            }
            Content::Java(_) | Content::Lease(_) | Content::Unreadable(_) => self.still_for,
        }
    }
}

fn foreign((leases, java, unreadable): Found<'_>) -> impl Iterator<Item = Content> {
    let leases = leases.iter().filter(|lease| !lease.is_ours());
    let leases = leases.map(|lease| Content::Lease(Box::new(lease.clone())));
    let unreadable = unreadable.iter().cloned().map(Content::Unreadable);
    leases.chain(java.iter().cloned().map(Content::Java)).chain(unreadable)
}

impl Content {
    fn key(&self) -> RowKey {
        match self {
            Self::Java(row) => RowKey::Java(row.key.clone()),
            Self::Lease(lease) => RowKey::Lease(lease.key.clone()),
            Self::Unreadable(row) => RowKey::Unreadable(row.key.clone()),
        }
    }

    /// Whether it is known to be another library's.
    const fn is_foreign(&self) -> bool {
        match self {
            Self::Java(_) | Self::Lease(_) => true,
            Self::Unreadable(_) => false,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Java(row) => format!("{} row {:?}", row.entity, row.key),
            Self::Lease(lease) => {
                let owner = lease.holder().map_or("nobody", |owner| owner.as_str());
                format!("lease {} of {owner} at counter {}", lease.key, lease.counter)
            }
            Self::Unreadable(row) => format!("row {:?}, whose {},", row.key, row.problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LeaseCounter, WriteStamp};
    use crate::shards::lineage::families;

    /// A scan as words: `lease=counter` is foreign, `lease=counter!` ours, `@row=content` a Java
    /// row, `@row=content~seconds` a lock that holds for so long, `?row=content` one that cannot be
    /// read.
    fn observe(watch: &mut TenancyWatch, text: &str, now: Moment) -> Tenancy {
        let (mut leases, mut java, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            let (name, content) = word.split_once('=').unwrap();
            if let Some(key) = name.strip_prefix('?') {
                let problem = "attribute \"checkpoint\" is missing".into();
                unreadable.push(UnreadableRow::new(key.into(), problem, content.into()));
            } else if let Some(key) = name.strip_prefix('@') {
                let holds_for = content.split_once('~').map(|(_, holds)| holds.parse().unwrap());
                let holds_for = holds_for.map(Duration::from_secs);
                java.push(JavaRow::new(key.into(), "LEADER".into(), content.into(), holds_for));
            } else {
                let table = families::leases(&format!("{name}:on"));
                let mut lease = table.into_values().next().unwrap();
                lease.counter = LeaseCounter(content.trim_end_matches('!').parse().unwrap());
                lease.last_write = content.ends_with('!').then(|| WriteStamp {
                    counter: lease.counter,
                    worker: "me".into(),
                    number: 1,
                });
                leases.push(lease);
            }
        }
        watch.observe((&leases, &java, &unreadable), now)
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    /// Scans with their times in seconds; then `clear`, `alive`, or until when to wait.
    #[track_caller]
    fn check_with(expiry: u64, scans: &[(u64, &str)], expected: &str) {
        let mut watch = TenancyWatch::new(Duration::from_secs(expiry));
        let mut found = None;
        for &(seconds, text) in scans {
            found = Some(observe(&mut watch, text, at(seconds)));
        }
        match found.unwrap() {
            Tenancy::Clear => assert_eq!("clear", expected),
            Tenancy::Alive { .. } => assert_eq!("alive", expected),
            Tenancy::Wait { until, .. } => assert_eq!(until, at(expected.parse().unwrap())),
        }
    }

    #[track_caller]
    fn check(scans: &[(u64, &str)], expected: &str) {
        check_with(10, scans, expected);
    }

    #[test]
    fn a_table_without_foreign_rows_is_clear_at_once() {
        check(&[(0, "")], "clear");
        check(&[(0, "0=4! 1=7!")], "clear");
    }

    #[test]
    fn foreign_rows_must_stand_still() {
        check(&[(1, "0=4")], "91");
        check(&[(1, "0=4"), (90, "0=4")], "91");
        check(&[(1, "0=4"), (91, "0=4")], "clear");
        check(&[(1, "@lock=a"), (90, "@lock=a")], "91");
        check(&[(1, "@lock=a"), (91, "@lock=a")], "clear");
    }

    #[test]
    fn a_longer_expiry_or_lock_is_waited_for() {
        check_with(120, &[(1, "0=4")], "121");
        check(&[(1, "0=4 @lock=a~200")], "201");
        check(&[(1, "0=4 @lock=a~200"), (200, "0=4 @lock=a~200")], "201");
        check(&[(1, "@lock=a~5")], "91");
    }

    #[test]
    fn a_foreign_row_that_changes_or_appears_is_alive() {
        check(&[(1, "0=4"), (2, "0=5")], "alive");
        check(&[(1, "@lock=a"), (2, "@lock=b")], "alive");
        check(&[(1, "0=4"), (2, "0=4 1=1")], "alive");
        check(&[(1, "0=4!"), (2, "0=5")], "alive");
        check(&[(1, "0=4"), (91, "0=5")], "alive");
    }

    #[test]
    fn a_row_that_changed_must_stand_still_again() {
        check(&[(1, "0=4 1=1"), (50, "0=5 1=1"), (51, "0=5 1=1")], "140");
    }

    #[test]
    fn our_rows_change_as_they_like() {
        check(&[(1, "0=4 1=7!"), (91, "0=4 1=9! 2=1!")], "clear");
    }

    #[test]
    fn workers_of_ours_may_take_and_delete_foreign_rows() {
        check(&[(1, "0=4 1=7"), (20, "0=5!")], "clear");
        check(&[(1, "0=4 1=7"), (20, "0=5! 1=7")], "91");
    }

    #[test]
    fn a_stale_scan_shows_no_java() {
        check(&[(1, "0=4 1=7"), (20, "0=5! 1=7"), (21, "0=4 1=7")], "91"); // Taken by a peer,
        check(&[(1, "0=4 1=7"), (20, "1=7"), (21, "0=4 1=7")], "91"); // or deleted.
        check(&[(1, "0=4 1=7"), (91, "0=5! 1=7"), (92, "0=4 1=7")], "clear");
        check(&[(1, "0=5! 1=7"), (2, "0=4 1=7")], "92"); // Taken before the first scan.
    }

    #[test]
    fn java_may_take_a_row_of_ours() {
        check(&[(1, "0=4 1=7"), (20, "0=5! 1=7"), (21, "0=6 1=7")], "alive");
        check(&[(1, "0=4"), (20, "0=5!"), (21, "0=4"), (22, "0=6")], "alive");
        check(&[(1, "0=5!"), (2, "0=6")], "alive");
        check(&[(1, "0=5! 1=7"), (2, "0=5 1=7")], "alive"); // Created again, and counted up.
    }

    #[test]
    fn a_row_that_cannot_be_read_holds_nobody_up_unless_it_changes() {
        check(&[(1, "?odd=a")], "clear");
        check(&[(1, "0=4 ?odd=a"), (91, "0=4 ?odd=a")], "clear");
        check(&[(1, "0=4 ?odd=a"), (2, "0=4 ?odd=b")], "alive");
        check(&[(1, "0=4"), (2, "0=4 ?odd=a")], "91");
        check(&[(1, "0=4"), (2, "0=4 ?odd=a"), (3, "0=4 ?odd=b")], "alive");
    }

    #[test]
    fn what_is_seen_is_said() {
        let mut watch = TenancyWatch::new(Duration::from_secs(10));
        let seen = "2 rows of another library, such as lease 0 of me at counter 4";
        let expected = Tenancy::Wait { until: at(90), seen: seen.into() };
        assert_eq!(observe(&mut watch, "0=4 @lock=a", at(0)), expected);
        let expected = Tenancy::Alive { seen: "lease 0 of me at counter 5 changed".into() };
        assert_eq!(observe(&mut watch, "0=5 @lock=a", at(1)), expected);
        let seen = "row \"odd\", whose attribute \"checkpoint\" is missing, changed";
        drop(observe(&mut watch, "0=5 ?odd=a", at(2)));
        let expected = Tenancy::Alive { seen: seen.into() };
        assert_eq!(observe(&mut watch, "0=5 ?odd=b", at(3)), expected);
    }
}
