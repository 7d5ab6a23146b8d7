//! A page of a scan: its items, sorted by the kind of their row.

use std::time::Duration;

use kcl_core::backend::{JavaRow, Page, UnreadableRow};
use kcl_core::model::{Lease, Session, StreamStart, Timestamp};

use crate::attributes::{Attributes, Item, Problem, fingerprint};
use crate::item::{ENTITY_LEASE, ENTITY_TYPE, LEASE_COUNTER, LEASE_KEY};
use crate::session::ENTITY_WORKER;
use crate::stream::ENTITY_STREAM;
use crate::{item, session, stream};

/// The `entityType` of Java's leader lock. Java: `LeaderLock`.
const ENTITY_LEADER: &str = "LEADER";
/// The `entityType` of the state of a migration from 2.x to 3.x. Java: `MigrationState`.
const ENTITY_CLIENT_VERSION: &str = "CLIENT_VERSION_MIGRATION";
/// The `entityType` of the state of a migration to one table. Java: `TableMigrationState`.
const ENTITY_TABLE_MIGRATION: &str = "TABLE_MIGRATION";
/// How long a leader's lock holds: milliseconds, as a string. Java: the lock client's
/// `LEASE_DURATION`.
const LEADER_LEASE_DURATION: &str = "leaseDuration";

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Row {
    /// A lease.
    Lease(Box<Lease>),
    /// A worker of this library.
    Session(Box<Session>),
    /// Where consumption of a stream began.
    Stream(StreamStart),
    /// A row of the Java KCL that is not a lease.
    Java(JavaRow),
}

/// Reads an item of any kind.
pub(crate) fn read(found: &Item) -> Result<Row, Problem> {
    let row = Attributes(found);
    match row.text(ENTITY_TYPE)? {
        Some(ENTITY_LEASE) => Ok(Row::Lease(Box::new(item::decode(found)?))),
        None if row.has(LEASE_COUNTER) => Ok(Row::Lease(Box::new(item::decode(found)?))),
        None => Err(Problem::missing(LEASE_COUNTER)),
        Some(ENTITY_WORKER) => match session::decode(row)? {
            Some(session) => Ok(Row::Session(Box::new(session))),
            None => java_worker(found),
        },
        Some(ENTITY_STREAM) => match stream::decode(row)? {
            Some(start) => Ok(Row::Stream(start)),
            None => java(found, ENTITY_STREAM, None),
        },
        Some(ENTITY_LEADER) => java(found, ENTITY_LEADER, Some(holds_for(row)?)),
        Some(kind @ (ENTITY_CLIENT_VERSION | ENTITY_TABLE_MIGRATION)) => java(found, kind, None),
        Some(other) => Err(Problem::value(ENTITY_TYPE, other, "a known kind of row")),
    }
}

/// Sorts the items of a page by kind.
pub(crate) fn sort<'a>(items: impl IntoIterator<Item = &'a Item>) -> Page {
    let mut page = Page::default();
    for item in items {
        match read(item) {
            Ok(Row::Lease(lease)) => page.leases.push(*lease),
            Ok(Row::Session(session)) => page.sessions.push(*session),
            Ok(Row::Stream(start)) => page.stream_starts.push(start),
            Ok(Row::Java(row)) => page.java.push(row),
            Err(problem) => {
                let (key, problem) = (key(item), problem.to_string());
                page.unreadable.push(UnreadableRow::new(key, problem, fingerprint(item)));
            }
        }
    }
    page
}

/// Returns the key of an item of any kind.
pub(crate) fn key(item: &Item) -> String {
    Attributes(item).text(LEASE_KEY).ok().flatten().unwrap_or_default().to_owned()
}

fn java_worker(found: &Item) -> Result<Row, Problem> {
    let row = Attributes(found);
    let key = row.required_text(LEASE_KEY)?.to_owned();
    let mut worker = JavaRow::new(key, ENTITY_WORKER.to_owned(), fingerprint(found), None);
    let seconds: Option<i64> = row.number(session::LAST_UPDATE).ok().flatten();
    worker.updated_at =
        seconds.map(|seconds| Timestamp::from_epoch_millis(seconds.saturating_mul(1_000)));
    Ok(Row::Java(worker))
}

fn java(item: &Item, entity: &str, holds_for: Option<Duration>) -> Result<Row, Problem> {
    let key = Attributes(item).required_text(LEASE_KEY)?.to_owned();
    Ok(Row::Java(JavaRow::new(key, entity.to_owned(), fingerprint(item), holds_for)))
}

fn holds_for(row: Attributes<'_>) -> Result<Duration, Problem> {
    let stored = row.required_text(LEADER_LEASE_DURATION)?;
    let wrong = |_| Problem::value(LEADER_LEASE_DURATION, stored, "a number of milliseconds");
    stored.parse().map(Duration::from_millis).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{number, text};

    fn row(attributes: &[(&str, aws_sdk_dynamodb::types::AttributeValue)]) -> Item {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[track_caller]
    fn unreadable(item: &Item, problem: &str) {
        let page = sort([item]);
        let found: Vec<_> = page.unreadable.iter().map(|row| row.problem.as_str()).collect();
        assert_eq!(found, [problem]);
    }

    #[test]
    fn row_without_kind_is_a_lease_if_it_has_a_counter() {
        let mut old = row(&[
            (LEASE_KEY, text("shardId-000000000000")),
            (LEASE_COUNTER, number(3)),
            ("ownerSwitchesSinceCheckpoint", number(0)),
            ("checkpoint", text("TRIM_HORIZON")),
        ]);
        assert_eq!(sort([&old]).leases.len(), 1);
        old.remove(LEASE_COUNTER);
        unreadable(&old, "attribute \"leaseCounter\" is missing");
    }

    #[test]
    fn unknown_kind_is_unreadable() {
        let strange = row(&[(LEASE_KEY, text("x")), (ENTITY_TYPE, text("LEASES"))]);
        unreadable(&strange, "attribute \"entityType\" is \"LEASES\", not a known kind of row");
        let lock = row(&[
            (LEASE_KEY, text("Leader")),
            (ENTITY_TYPE, text("LEADER")),
            (LEADER_LEASE_DURATION, text("120000")),
        ]);
        let page = sort([&strange, &lock]);
        assert_eq!(page.unreadable.len(), 1);
        assert_eq!(page.java[0].holds_for, Some(Duration::from_mins(2)));
    }

    #[test]
    fn problem_names_the_mistyped_attribute() {
        let lease = |name: &str, value| {
            let mut item = row(&[
                (LEASE_KEY, text("shardId-000000000000")),
                (ENTITY_TYPE, text(ENTITY_LEASE)),
                (LEASE_COUNTER, number(3)),
                ("ownerSwitchesSinceCheckpoint", number(0)),
                ("checkpoint", text("TRIM_HORIZON")),
            ]);
            item.insert(name.to_owned(), value);
            item
        };
        for (name, value, problem) in [
            ("leaseCounter", text("3"), "is a string, not a number"),
            ("leaseCounter", number("-3"), "is \"-3\", not an integer in range"),
            ("leaseOwner", number(3), "is a number, not a string"),
            ("checkpoint", text("trim_horizon"), "is \"trim_horizon\", not a checkpoint"),
            ("pendingCheckpoint", text("x"), "is \"x\", not a checkpoint"),
            ("parentShardId", text("x"), "is a string, not a set of strings"),
            ("expiryMillis", text("x"), "is a string, not a number"),
            ("lastWrite", text("x"), "is \"x\", not counter/worker/number"),
        ] {
            unreadable(&lease(name, value), &format!("attribute {name:?} {problem}"));
        }
    }
}
