//! Aggregates that a story puts.

use bytes::Bytes;
use kcl_core::model::{Position, SequenceNumber, ShardId};

use super::simulation::Simulation;
use crate::error::SimError;
use crate::oracle::Put;

/// Puts an aggregate at a hash key. Consumers get its user records at these places.
pub(crate) fn put_aggregate(
    sim: &mut Simulation,
    hash_key: u128,
    data: Bytes,
    places: impl IntoIterator<Item = u64>,
) -> Result<SequenceNumber, SimError> {
    let put = sim.stream.memory().put_at(hash_key, "key", data);
    let (shard, sequence) = put.map_err(SimError::Put)?;
    expect_user_records(sim, &shard, sequence, places);
    Ok(sequence)
}

/// Expects that consumers get the user records of an aggregate at these places.
pub(crate) fn expect_user_records(
    sim: &mut Simulation,
    shard: &ShardId,
    sequence: SequenceNumber,
    places: impl IntoIterator<Item = u64>,
) {
    let at = sim.clock.time_of_day();
    let mut places = places.into_iter().peekable();
    if places.peek().is_none() {
        sim.observed.facts.put_hollow(shard, sequence);
    }
    for sub_sequence in places {
        let position = Position { sequence, sub_sequence };
        sim.observed.facts.put(shard, Put { position, at, key: 0, is_poison: false });
    }
}
