//! The records of a world: who puts them, and when.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::backend::Clock;
use kcl_core::kpl::hash_key;
use kcl_core::model::{Position, Record, SequenceNumber, ShardId};

use crate::chance::Chance;
use crate::error::SimError;
use crate::oracle::Put;
use crate::time::millis;
use crate::world::{Due, World};

/// What is put every so often.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    producer: Option<Producer>,
    /// Whether its next record stands in the agenda.
    is_due: bool,
}

/// Makes the record of a number: its partition key and its data.
type Make = Box<dyn FnMut(u64) -> (String, Bytes) + Send>;

struct Producer {
    pause: Duration,
    chance: Chance,
    number: u64,
    /// Without it, records have random hash keys, and nobody wants to know what is in them.
    make: Option<Make>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("pause", &self.pause)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl World {
    /// Puts a record of yours. What becomes of it shows in [`deliveries`](Self::deliveries).
    ///
    /// # Errors
    /// If the stream was deleted.
    pub fn put(
        &mut self,
        partition_key: &str,
        data: impl Into<Bytes>,
    ) -> Result<Position, SimError> {
        self.put_exactly(hash_key(partition_key), partition_key, data.into(), false)
    }

    /// Puts a record of a user at a hash key.
    pub(crate) fn put_exactly(
        &mut self,
        hash_key: u128,
        partition_key: &str,
        data: Bytes,
        is_poison: bool,
    ) -> Result<Position, SimError> {
        let put = self.services.stream.put_at(hash_key, partition_key, data.clone());
        let (shard, number) = put.map_err(SimError::Put)?;
        let position = Position::of(number);
        let arrived = self.clock.time_of_day();
        self.ledger.put(shard.clone(), Record::new(position, partition_key, data, Some(arrived)));
        let key = key_number(partition_key);
        self.facts.put(&shard, Put { position, at: arrived, key, is_poison });
        Ok(position)
    }

    /// Puts an aggregate at a hash key, of whose user records consumers get those at these places.
    pub(crate) fn put_aggregate(
        &mut self,
        hash_key: u128,
        data: Bytes,
        places: impl IntoIterator<Item = u64>,
    ) -> Result<SequenceNumber, SimError> {
        let put = self.services.stream.put_at(hash_key, "key", data);
        let (shard, sequence) = put.map_err(SimError::Put)?;
        self.expect_user_records(&shard, sequence, places);
        Ok(sequence)
    }

    /// Expects that consumers get the user records of an aggregate at these places.
    pub(crate) fn expect_user_records(
        &mut self,
        shard: &ShardId,
        sequence: SequenceNumber,
        places: impl IntoIterator<Item = u64>,
    ) {
        let at = self.clock.time_of_day();
        for sub_sequence in places {
            let position = Position { sequence, sub_sequence };
            self.facts.put(shard, Put { position, at, key: 0, is_poison: false });
        }
    }

    /// Puts a record of yours about every so often, from now on until the world
    /// [heals](Self::heal) or [`send_no_more`](Self::send_no_more). `record` makes each one of its
    /// number, from 0 on: its partition key and its data.
    pub fn put_every<K: Into<String>, D: Into<Bytes>>(
        &mut self,
        pause: Duration,
        mut record: impl FnMut(u64) -> (K, D) + Send + 'static,
    ) {
        let make = move |number| {
            let (key, data) = record(number);
            (key.into(), data.into())
        };
        self.produce(pause, Some(Box::new(make)));
    }

    /// Puts records that mean nothing at random hash keys, about every so often, from now on.
    pub fn send_every(&mut self, pause: Duration) {
        self.produce(pause, None);
    }

    /// Puts no more records.
    pub fn send_no_more(&mut self) {
        self.traffic.producer = None;
    }

    fn produce(&mut self, pause: Duration, make: Option<Make>) {
        let chance = Chance::of(self.seed, u64::MAX);
        self.traffic.producer = Some(Producer { pause, chance, number: 0, make });
        if !self.traffic.is_due {
            self.traffic.is_due = true;
            self.agenda.push(self.now + pause, Due::Put);
        }
    }

    pub(crate) fn put_next(&mut self) {
        self.traffic.is_due = false;
        let Some(producer) = &mut self.traffic.producer else { return };
        let high = u128::from(producer.chance.between(0, u64::MAX));
        let most = (2 * millis(producer.pause)).max(2);
        let next = self.now + Duration::from_millis(producer.chance.between(1, most));
        let record = producer.make.as_mut().map(|make| make(producer.number));
        producer.number += 1;
        self.agenda.push(next, Due::Put);
        self.traffic.is_due = true;
        match record {
            // A stream that was deleted takes none.
            Some((key, data)) => drop(self.put(&key, data)),
            None => self.put_load(high << 64),
        }
    }
}

/// A number for a partition key: the low half of its hash key.
fn key_number(partition_key: &str) -> u64 {
    let low = hash_key(partition_key) & u128::from(u64::MAX);
    u64::try_from(low).unwrap_or_default()
}
