//! The records of a world: who puts them, and when.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::backend::Clock;
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
        let data = data.into();
        let put = self.services.stream.put(partition_key, data.clone());
        let (shard, number) = put.map_err(SimError::Put)?;
        let position = Position::of(number);
        let arrived = self.clock.time_of_day();
        self.ledger.put(shard.clone(), Record::new(position, partition_key, data, Some(arrived)));
        self.was_put(&shard, number);
        Ok(position)
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

    fn was_put(&mut self, shard: &ShardId, number: SequenceNumber) {
        let (position, at) = (Position::of(number), self.clock.time_of_day());
        self.facts.put(shard, Put { position, at, key: 0, is_poison: false });
    }
}
