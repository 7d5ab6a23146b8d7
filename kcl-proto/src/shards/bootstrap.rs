//! The first start of an application: where it begins, and which leases it begins with.
//!
//! A table that has leases and no stored start was begun by another library, or lost the row on its
//! way through one: there is nothing to begin, see [`taken_over`].
//!
//! Every worker that finds the bootstrap unfinished repeats it as of the stored start; all of them
//! create the same leases, so it does not matter who comes first or crashes half-way.

use std::time::Duration;

use crate::model::{
    Checkpoint, InitialPosition, LeaseKey, NewLease, Shard, ShardFilter, StartPosition, StreamArn,
    StreamDescription, StreamName, StreamStart, Timestamp,
};

/// How far apart two answers may put the creation of one and the same stream: some are in whole
/// seconds, some are not.
const CREATED_TOLERANCE: Duration = Duration::from_secs(1);

/// Where an application begins that has neither a stored start nor a lease.
///
/// LATEST becomes the service's own time: the time of this machine may lie behind or ahead of it.
#[must_use]
pub fn start(position: InitialPosition, description: &StreamDescription) -> StreamStart {
    StreamStart {
        stream: description.name.clone(),
        arn: description.arn.clone(),
        id: description.id.clone(),
        created: description.created,
        position: match position {
            InitialPosition::TrimHorizon => StartPosition::TrimHorizon,
            InitialPosition::Latest => StartPosition::AtTimestamp(description.now),
            InitialPosition::AtTimestamp(time) => StartPosition::AtTimestamp(time),
        },
        bootstrapped: false,
    }
}

/// Where an application began that has leases and no stored start: it comes from another library.
///
/// Its bootstrap is over, whatever the configuration says. A shard that has no lease yet came after
/// those that have: it owes all its records, so it starts with the oldest one, as after any
/// resharding. Starting it at a time would skip what arrived since its parents were left.
#[must_use]
pub fn taken_over(description: &StreamDescription) -> StreamStart {
    StreamStart { bootstrapped: true, ..start(InitialPosition::TrimHorizon, description) }
}

/// The stream is not the one that the leases belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMismatch {
    /// The leases belong to another stream.
    Other {
        /// The stream that the leases belong to.
        stored: StreamArn,
        /// The stream that the worker consumes.
        found: StreamArn,
    },
    /// The stream was deleted and created again under its name.
    Recreated {
        /// The stream.
        stream: StreamName,
        /// Identity of the stream that the leases belong to: its id or creation time.
        stored: String,
        /// Identity of the stream that exists now.
        found: String,
    },
}

/// Whether the stream is still the one that the application began with.
///
/// # Errors
/// [`StreamMismatch::Other`] if it is another one, [`StreamMismatch::Recreated`] if it was deleted
/// and created again: the leases mean nothing there.
pub fn check(stored: &StreamStart, description: &StreamDescription) -> Result<(), StreamMismatch> {
    if stored.arn != description.arn {
        let (stored, found) = (stored.arn.clone(), description.arn.clone());
        return Err(StreamMismatch::Other { stored, found });
    }
    let recreated = |stored: String, found: String| {
        Err(StreamMismatch::Recreated { stream: description.name.clone(), stored, found })
    };
    if let (Some(before), Some(now)) = (&stored.id, &description.id)
        && before != now
    {
        return recreated(format!("id {before}"), format!("id {now}"));
    }
    let (before, now) = (stored.created, description.created);
    if before.since(now).max(now.since(before)) > CREATED_TOLERANCE {
        return recreated(format!("created {before}"), format!("created {now}"));
    }
    Ok(())
}

/// Which shards to list for [`first_leases`].
#[must_use]
pub const fn filter(start: &StreamStart) -> ShardFilter {
    match start.position {
        StartPosition::TrimHorizon => ShardFilter::All,
        StartPosition::AtTimestamp(time) => ShardFilter::OpenAt(time),
    }
}

/// The first leases: one for each shard listed, parents before children.
#[must_use]
pub fn first_leases(start: &StreamStart, listed: &[Shard]) -> Vec<NewLease> {
    in_order(listed.iter().collect()).into_iter().map(|shard| first_lease(start, shard)).collect()
}

/// The lease of a shard that begins where the application began.
pub(super) fn first_lease(start: &StreamStart, shard: &Shard) -> NewLease {
    let (checkpoint, start_at): (_, Option<Timestamp>) = match start.position {
        StartPosition::TrimHorizon => (Checkpoint::TrimHorizon, None),
        StartPosition::AtTimestamp(time) => (Checkpoint::AtTimestamp, Some(time)),
    };
    NewLease {
        key: LeaseKey::from(&shard.id),
        checkpoint,
        start_at,
        parents: shard.parents.iter().cloned().collect(),
        hash_range: shard.hash_range,
    }
}

/// Shards by age, so that a worker which crashes while it creates leases leaves no child without
/// its parents.
pub(super) fn in_order(mut shards: Vec<&Shard>) -> Vec<&Shard> {
    shards.sort_by(|a, b| (a.starting_sequence, &a.id).cmp(&(b.starting_sequence, &b.id)));
    shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StreamStatus;
    use crate::shards::lineage::families::{leases, shards};
    use crate::shards::sync::{self, SyncPlan};

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_epoch_millis(seconds * 1_000)
    }

    fn description() -> StreamDescription {
        StreamDescription {
            name: "orders".into(),
            arn: "arn:1".into(),
            id: None,
            created: seconds(100),
            retention: Duration::from_hours(24),
            status: StreamStatus::Active,
            now: seconds(500),
        }
    }

    #[test]
    fn latest_is_stored_as_the_time_of_the_service() {
        let check = |position, expected| {
            let start = start(position, &description());
            assert_eq!((start.position, start.bootstrapped), (expected, false));
        };
        check(InitialPosition::Latest, StartPosition::AtTimestamp(seconds(500)));
        check(InitialPosition::AtTimestamp(seconds(7)), StartPosition::AtTimestamp(seconds(7)));
        check(InitialPosition::TrimHorizon, StartPosition::TrimHorizon);
    }

    /// A split while nobody worked: the table has a lease of the parent alone.
    #[test]
    fn children_of_a_lease_that_was_taken_over_start_with_the_oldest_record() {
        let listed = shards("0:closed 1<0#0-7 2<0#8-f");
        let start = taken_over(&description());
        let plan = sync::plan(&listed, &leases("0#0-f:on"), &start);
        let found: Vec<_> =
            plan.create.iter().map(|new| (new.key.as_str(), new.checkpoint)).collect();
        assert_eq!(found, [("1", Checkpoint::TrimHorizon), ("2", Checkpoint::TrimHorizon)]);
    }

    #[test]
    fn nothing_finished_comes_back_when_a_table_is_taken_over() {
        let listed = shards("0:closed 1<0#0-7 2<0#8-f");
        let start = taken_over(&description());
        let plan = sync::plan(&listed, &leases("1<0#0-7:on 2<0#8-f:on"), &start);
        assert_eq!(plan, SyncPlan::default());
    }

    /// `same`, `other` or `recreated`.
    #[track_caller]
    fn check_identity(change: impl FnOnce(&mut StreamStart), id: Option<&str>, expected: &str) {
        let description = StreamDescription { id: id.map(Into::into), ..description() };
        let mut stored = start(InitialPosition::Latest, &description);
        change(&mut stored);
        let found = match check(&stored, &description) {
            Ok(()) => "same",
            Err(StreamMismatch::Other { .. }) => "other",
            Err(StreamMismatch::Recreated { .. }) => "recreated",
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_stream_is_told_from_its_namesakes() {
        check_identity(|_| {}, Some("a"), "same");
        check_identity(|start| start.arn = "arn:2".into(), None, "other");
        check_identity(|start| start.id = Some("b".into()), Some("a"), "recreated");
        check_identity(|start| start.id = None, Some("a"), "same");
        check_identity(|start| start.id = Some("b".into()), None, "same");
    }

    #[test]
    fn a_creation_time_may_be_rounded_but_not_differ() {
        let created = |millis| {
            move |start: &mut StreamStart| start.created = Timestamp::from_epoch_millis(millis)
        };
        check_identity(created(99_000), None, "same");
        check_identity(created(101_000), None, "same");
        check_identity(created(98_999), None, "recreated");
        check_identity(created(101_001), None, "recreated");
    }

    #[track_caller]
    fn check_first(position: InitialPosition, expected: (Checkpoint, Option<Timestamp>)) {
        let listed = shards("2<0#8-f 1<0#0-7 0:closed");
        let found = first_leases(&start(position, &description()), &listed);
        let of = |id: &str, parents: &[&str], shard: &Shard| NewLease {
            key: id.into(),
            checkpoint: expected.0,
            start_at: expected.1,
            parents: parents.iter().map(|parent| (*parent).into()).collect(),
            hash_range: shard.hash_range,
        };
        let expected =
            [of("0", &[], &listed[2]), of("1", &["0"], &listed[1]), of("2", &["0"], &listed[0])];
        assert_eq!(found, expected);
    }

    #[test]
    fn first_leases_start_where_the_stream_does() {
        check_first(InitialPosition::TrimHorizon, (Checkpoint::TrimHorizon, None));
        check_first(InitialPosition::Latest, (Checkpoint::AtTimestamp, Some(seconds(500))));
    }

    #[test]
    fn shards_are_listed_as_of_the_start() {
        let filter = |position| filter(&start(position, &description()));
        assert_eq!(filter(InitialPosition::TrimHorizon), ShardFilter::All);
        assert_eq!(filter(InitialPosition::Latest), ShardFilter::OpenAt(seconds(500)));
    }
}
