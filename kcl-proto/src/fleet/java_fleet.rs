//! Whether Java workers still use the table: they must be proven gone before this library writes to
//! it.
//!
//! A Java fleet is visible only by what it changes, and writes nothing for a minute while it
//! starts. So every row that this library did not write must stand still for a while first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{JavaRow, Lease, LeaseCounter, LeaseKey, Moment, UnreadableRow};

/// How long foreign rows must stand still at least. A Java fleet writes nothing for up to 60 s
/// while its first worker starts.
const STILL_AT_LEAST: Duration = Duration::from_secs(90);

/// Whether the table may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "yes, not yet, or no")]
#[must_use]
pub enum Tenancy {
    /// No other library uses the table.
    Clear,
    /// There are foreign rows, which have not stood still for long enough.
    Wait {
        /// When the table is clear if no row changes.
        until: Moment,
        /// How many foreign rows there are, and one of them.
        seen: String,
    },
    /// A foreign row changed or appeared, or an unreadable row changed.
    Alive {
        /// The row and what happened to it.
        seen: String,
    },
}

/// Watches foreign rows over several scans, until the table is clear.
///
/// Rows that this library wrote may change freely. A foreign row may become one of these or vanish,
/// because running workers of this library take and delete such rows. A stale scan returns such a
/// row as it was before, so the watch forgets no row.
///
/// An unreadable row belongs to no one and blocks nothing until it changes.
///
/// Each worker watches when it starts. A worker that joins a running fleet waits while there is a
/// row that the fleet has not taken over, such as a Java leader's.
#[derive(Clone, Debug)]
pub struct TenancyWatch {
    still_for: Duration,
    /// `None` before the first scan, whose rows do not count as having appeared.
    sightings: Option<BTreeMap<RowKey, Sighting>>,
    /// The greatest counter that this library is known to have written to each lease.
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

/// The rows of one scan.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The leases.
    pub leases: &'a [Lease],
    /// The rows of the Java KCL that are not leases.
    pub java: &'a [JavaRow],
    /// The rows that could not be read.
    pub unreadable: &'a [UnreadableRow],
}

#[derive(Clone, Debug)]
struct Sighting {
    content: Content,
    first: Moment,
}

impl TenancyWatch {
    /// Creates the watch of a worker with this lease expiry. Rows must stand still for that time,
    /// and for at least 90 s.
    #[must_use]
    pub fn new(expiry: Duration) -> Self {
        let (still_for, sightings) = (expiry.max(STILL_AT_LEAST), None);
        Self { still_for, sightings, ours: BTreeMap::new() }
    }

    /// Records one whole scan, which was complete at `now`, and returns what all scans so far
    /// prove.
    pub fn observe(&mut self, found: Rows<'_>, now: Moment) -> Tenancy {
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
        self.remember_ours(found.leases);
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

    /// Whether a foreign row is older than one that this library wrote, so that the scan is stale.
    /// Java counts up, unless it creates a row again: then that row has to stand still like any
    /// other.
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

fn foreign(found: Rows<'_>) -> impl Iterator<Item = Content> {
    let leases = found.leases.iter().filter(|lease| !lease.is_ours());
    let leases = leases.map(|lease| Content::Lease(Box::new(lease.clone())));
    let unreadable = found.unreadable.iter().cloned().map(Content::Unreadable);
    leases.chain(found.java.iter().cloned().map(Content::Java)).chain(unreadable)
}

impl Content {
    fn key(&self) -> RowKey {
        match self {
            Self::Java(row) => RowKey::Java(row.key.clone()),
            Self::Lease(lease) => RowKey::Lease(lease.key.clone()),
            Self::Unreadable(row) => RowKey::Unreadable(row.key.clone()),
        }
    }

    /// Whether another library is known to own the row.
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
                let owner = lease.holder().map_or("no owner", |owner| owner.as_str());
                format!("lease {} of {owner} at counter {}", lease.key, lease.counter)
            }
            Self::Unreadable(row) => format!("row {:?}, whose {},", row.key, row.problem),
        }
    }
}

#[cfg(test)]
#[path = "java_fleet_tests.rs"]
mod tests;
