//! Is the table ours alone? Java workers may be using it, and must be proven gone first.
//!
//! A Java fleet shows only by what it changes, and is silent for a minute while it starts. So every
//! row that this library did not write must stand still for a while before anything is written.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lease_store::JavaRow;
use crate::model::{Lease, LeaseKey, Moment};

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
    /// A foreign row changed or appeared.
    Alive {
        /// Which.
        seen: String,
    },
}

/// Watches the rows that are not ours, over scans, until the table is clear.
///
/// Rows of ours may change as they like, and a foreign row may become ours or go: workers of this
/// fleet that are already at work take and delete such rows.
#[derive(Clone, Debug)]
pub struct TenancyWatch {
    still_for: Duration,
    /// None before the first scan: what that one finds has not appeared.
    sightings: Option<BTreeMap<RowKey, Sighting>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    Java(String),
    Lease(LeaseKey),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Java(JavaRow),
    Lease(Box<Lease>),
}

#[derive(Clone, Debug)]
struct Sighting {
    content: Content,
    first: Moment,
}

impl TenancyWatch {
    /// A watch of a worker with this lease expiry.
    #[must_use]
    pub fn new(expiry: Duration) -> Self {
        Self { still_for: expiry.max(STILL_AT_LEAST), sightings: None }
    }

    /// Takes in one whole scan, which was complete at `now`.
    pub fn observe(&mut self, leases: &[Lease], java: &[JavaRow], now: Moment) -> Tenancy {
        let before = self.sightings.take();
        let mut sightings = BTreeMap::new();
        let mut changed = None;
        for content in foreign(leases, java) {
            let key = content.key();
            let known = before.as_ref().and_then(|before| before.get(&key));
            let first = match known {
                Some(known) if known.content == content => known.first,
                Some(_) => {
                    changed.get_or_insert_with(|| format!("{} changed", content.describe()));
                    now
                }
                None if before.is_some() => {
                    changed.get_or_insert_with(|| format!("{} appeared", content.describe()));
                    now
                }
                None => now,
            };
            sightings.insert(key, Sighting { content, first });
        }
        let tenancy = match changed {
            Some(seen) => Tenancy::Alive { seen },
            None => self.judge(&sightings, now),
        };
        self.sightings = Some(sightings);
        tenancy
    }

    fn judge(&self, sightings: &BTreeMap<RowKey, Sighting>, now: Moment) -> Tenancy {
        let until = |sighting: &Sighting| sighting.first + self.still_for(&sighting.content);
        let last = sightings.values().max_by_key(|sighting| until(sighting));
        match last.map(|sighting| (until(sighting), sighting)) {
            Some((until, sighting)) if until > now => {
                let (count, example) = (sightings.len(), sighting.content.describe());
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
            Content::Java(_) | Content::Lease(_) => self.still_for,
        }
    }
}

fn foreign(leases: &[Lease], java: &[JavaRow]) -> impl Iterator<Item = Content> {
    let leases = leases.iter().filter(|lease| !lease.is_ours());
    let leases = leases.map(|lease| Content::Lease(Box::new(lease.clone())));
    leases.chain(java.iter().cloned().map(Content::Java))
}

impl Content {
    fn key(&self) -> RowKey {
        match self {
            Self::Java(row) => RowKey::Java(row.key.clone()),
            Self::Lease(lease) => RowKey::Lease(lease.key.clone()),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Java(row) => format!("{} row {:?}", row.entity, row.key),
            Self::Lease(lease) => {
                let owner = lease.holder().map_or("nobody", |owner| owner.as_str());
                format!("lease {} of {owner} at counter {}", lease.key, lease.counter)
            }
        }
    }
}
