//! The first start of an application: where it begins, and which leases it begins with.
//!
//! Every worker that finds the bootstrap unfinished repeats it as of the stored start; all of them
//! create the same leases, so it does not matter who comes first or crashes half-way.

use std::time::Duration;

use crate::error::RunError;
use crate::model::{
    Checkpoint, InitialPosition, LeaseKey, NewLease, Shard, StartPosition, StreamDescription,
    StreamStart, Timestamp,
};
use crate::record_source::ShardFilter;

/// How far apart two answers may put the creation of one and the same stream: some are in whole
/// seconds, some are not.
const CREATED_TOLERANCE: Duration = Duration::from_secs(1);

/// Where an application begins that has no stored start yet.
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

/// Whether the stream is still the one that the application began with.
///
/// # Errors
/// [`RunError::OtherStream`] if it is another one, [`RunError::StreamRecreated`] if it was deleted
/// and created again: the leases mean nothing there.
pub fn check(stored: &StreamStart, description: &StreamDescription) -> Result<(), RunError> {
    if stored.arn != description.arn {
        let (stored, found) = (stored.arn.clone(), description.arn.clone());
        return Err(RunError::OtherStream { stored, found });
    }
    let recreated = |stored: String, found: String| {
        Err(RunError::StreamRecreated { stream: description.name.clone(), stored, found })
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
