//! The first start of an application: where it starts, and its first leases.
//!
//! A table with leases and without a stored start comes from another library, or lost the row in
//! one: its bootstrap is over, see [`taken_over`].
//!
//! Every worker that finds the bootstrap incomplete repeats it from the stored start. All of them
//! create the same leases, so it does not matter which one is first or crashes half-way.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::model::{
    Bulletin, Checkpoint, InitialPosition, LeaseKey, NewLease, Shard, ShardFilter, StartPosition,
    StreamArn, StreamDescription, StreamName, StreamStart, Timestamp, WorkerId,
};

/// How far apart two creation times of the same stream may be: some answers of Kinesis have whole
/// seconds, some have milliseconds.
const CREATED_TOLERANCE: Duration = Duration::from_secs(1);

/// Returns the start of an application that has neither a stored start nor a lease.
///
/// LATEST becomes the service's time, because this machine's clock may differ from it.
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
        bulletin: Bulletin::EMPTY,
    }
}

/// Returns the start of an application that has leases and no stored start: it comes from another
/// library.
///
/// Its bootstrap is over, regardless of the initial position. A shard without a lease came after
/// those with one, so it starts with its oldest record, as after any resharding. Starting it at a
/// time would skip records that arrived since its parents were last processed.
#[must_use]
pub fn taken_over(description: &StreamDescription) -> StreamStart {
    StreamStart { bootstrapped: true, ..start(InitialPosition::TrimHorizon, description) }
}

/// How a stream differs from the one that the leases belong to.
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
        /// The id or creation time of the stream that the leases belong to.
        stored: String,
        /// The id or creation time of the stream that exists now.
        found: String,
    },
}

/// Checks that the stream is still the one that the application started with.
///
/// # Errors
/// [`StreamMismatch::Other`] if the ARN differs, [`StreamMismatch::Recreated`] if the stream was
/// deleted and created again, which makes the leases meaningless.
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

/// Returns which shards to list for [`first_leases`].
#[must_use]
pub const fn filter(start: &StreamStart) -> ShardFilter {
    match start.position {
        StartPosition::TrimHorizon => ShardFilter::All,
        StartPosition::AtTimestamp(time) => ShardFilter::OpenAt(time),
    }
}

/// Returns the first leases: one for each listed shard, parents before children.
#[must_use]
pub fn first_leases(start: &StreamStart, listed: &[Shard]) -> Vec<NewLease> {
    in_order(listed.iter().collect()).into_iter().map(|shard| first_lease(start, shard)).collect()
}

/// Returns the first leases that do not exist yet, in the order in which `me` creates them: each
/// worker begins at another place, so that several workers that start at the same time share the
/// work.
///
/// The order does not matter otherwise, because no worker takes a lease before all exist.
#[must_use]
pub fn missing_leases(
    start: &StreamStart,
    listed: &[Shard],
    existing: &BTreeSet<LeaseKey>,
    me: &WorkerId,
) -> VecDeque<NewLease> {
    let mut missing: VecDeque<_> = first_leases(start, listed)
        .into_iter()
        .filter(|lease| !existing.contains(&lease.key))
        .collect();
    let place = me
        .as_str()
        .bytes()
        .fold(0_usize, |place, byte| place.wrapping_mul(31).wrapping_add(usize::from(byte)));
    missing.rotate_left(place.checked_rem(missing.len()).unwrap_or(0));
    missing
}

/// Returns the lease of a shard that starts where the application started.
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

/// Sorts shards by age, so that a worker that crashes while it creates leases leaves no child
/// without its parents.
pub(super) fn in_order(mut shards: Vec<&Shard>) -> Vec<&Shard> {
    shards.sort_by(|a, b| (a.starting_sequence, &a.id).cmp(&(b.starting_sequence, &b.id)));
    shards
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
