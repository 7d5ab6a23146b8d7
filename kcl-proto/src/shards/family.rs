//! Families of shards and their leases, for tests. Shards are numbers, and a greater one is
//! younger.

use std::collections::BTreeMap;

use crate::model::{
    Checkpoint, HashKeyRange, Lease, LeaseCounter, LeaseKey, Shard, ShardId, Timestamp,
};

/// An open shard without parents, of all hash keys.
pub(crate) fn shard(number: u32) -> Shard {
    let starting_sequence = (u128::from(number) * 10).into();
    Shard { id: id(number), starting_sequence, ..Shard::sample() }
}

/// A lease that no worker ever took, from the oldest record, without parents or hash keys.
pub(crate) fn lease(number: u32) -> Lease {
    Lease { key: LeaseKey::from(&id(number)), hash_range: None, ..Lease::sample() }
}

/// The leases by their keys.
pub(crate) fn table(leases: impl IntoIterator<Item = Lease>) -> BTreeMap<LeaseKey, Lease> {
    leases.into_iter().map(|lease| (lease.key.clone(), lease)).collect()
}

/// The range from one sixteenth of all hash keys through another, from 0 to 15.
pub(crate) fn sixteenths(first: u128, last: u128) -> HashKeyRange {
    HashKeyRange { start: first << 124, end: last << 124 | (u128::MAX >> 4) }
}

fn id(number: u32) -> ShardId {
    ShardId::new(number.to_string())
}

/// What shards and leases have in common.
pub(crate) trait Member: Sized {
    /// Sets the parents.
    fn child_of<const N: usize>(self, parents: [u32; N]) -> Self;

    /// Sets the hash keys, in [`sixteenths`].
    fn hash_keys(self, first: u128, last: u128) -> Self;
}

impl Member for Shard {
    fn child_of<const N: usize>(self, parents: [u32; N]) -> Self {
        Self { parents: parents.map(id).into(), ..self }
    }

    fn hash_keys(self, first: u128, last: u128) -> Self {
        Self { hash_range: sixteenths(first, last), ..self }
    }
}

impl Member for Lease {
    fn child_of<const N: usize>(self, parents: [u32; N]) -> Self {
        Self { parents: parents.map(id).into(), ..self }
    }

    fn hash_keys(self, first: u128, last: u128) -> Self {
        Self { hash_range: Some(sixteenths(first, last)), ..self }
    }
}

/// The states of a shard besides open.
pub(crate) trait ShardState {
    /// The shard takes no more records.
    fn closed(self) -> Self;
}

impl ShardState for Shard {
    fn closed(self) -> Self {
        let number: u128 = self.id.as_str().parse().expect("ids are numbers");
        Self { ending_sequence: Some((number * 10 + 5).into()), ..self }
    }
}

/// The states of a lease besides untouched.
pub(crate) trait LeaseState: Sized {
    /// The shard's children are known.
    fn parent_of<const N: usize>(self, children: [u32; N]) -> Self;

    /// The lease starts at a time, and no worker ever took it.
    fn at_time(self) -> Self;

    /// A worker took the lease and has made no progress.
    fn held(self) -> Self;

    /// A worker took the lease and has processed records.
    fn progressed(self) -> Self;

    /// The shard is finished.
    fn ended(self) -> Self;
}

impl LeaseState for Lease {
    fn parent_of<const N: usize>(self, children: [u32; N]) -> Self {
        Self { children: children.map(id).into(), ..self }
    }

    fn at_time(self) -> Self {
        let start_at = Some(Timestamp::from_epoch_seconds(1));
        Self { checkpoint: Checkpoint::AtTimestamp, start_at, ..self }
    }

    fn held(self) -> Self {
        Self { owner: Some("me".into()), counter: LeaseCounter(5), ..self }
    }

    fn progressed(self) -> Self {
        Self { checkpoint: Checkpoint::after(7), ..self.held() }
    }

    fn ended(self) -> Self {
        Self { checkpoint: Checkpoint::ShardEnd, ..self.held() }
    }
}
