//! What records are put: under which keys, alone or aggregated, and how many are poison.

use bytes::Bytes;
use kcl_core::backend::Clock;
use kcl_core::kpl::Aggregator;
use kcl_core::model::{Position, SequenceNumber, ShardId};

use crate::chance::Chance;
use crate::oracle::Put;
use crate::processor::POISON;
use crate::world::World;
use crate::world::faults::Fault;

/// The most user records of an aggregate.
const USER_RECORDS_MAX: u64 = 12;

/// The most bytes of an aggregate: more than it can have.
const AGGREGATE_MAX: usize = 50_000;

/// What records are put.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// How many partition keys there are, beside the first one.
    pub(crate) more_keys: u64,
    /// The probability that a record is poison.
    pub(crate) poison: f64,
    /// The probability that several records come as one aggregate.
    pub(crate) aggregated: f64,
}

/// One record, as its producer knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    key: u64,
    is_poison: bool,
}

impl Sent {
    fn partition_key(self) -> String {
        format!("key-{}", self.key)
    }

    const fn data(self) -> &'static [u8] {
        if self.is_poison { POISON } else { b"data" }
    }
}

impl Load {
    fn draw(self, chance: &mut Chance) -> Sent {
        Sent { key: chance.between(0, self.more_keys), is_poison: chance.hits(self.poison) }
    }
}

impl World {
    /// What records are put from now on.
    pub(crate) fn set_load(&mut self, load: Load) {
        self.load = (load, Chance::of(self.seed, u64::MAX - 1));
    }

    /// Puts what comes next at a hash key.
    pub(crate) fn put_load(&mut self, hash_key: u128) {
        let (load, chance) = &mut self.load;
        let load = *load;
        let mut sent = vec![load.draw(chance)];
        let is_aggregated = chance.hits(load.aggregated);
        if is_aggregated {
            let more = chance.between(0, USER_RECORDS_MAX - 1);
            sent.extend((0..more).map(|_| load.draw(chance)));
        }
        let (key, data) = if is_aggregated { aggregate(&sent) } else { alone(&sent) };
        let Ok((shard, number)) = self.services.stream.put_at(hash_key, &key, data) else { return };
        self.note(&shard, number, &sent);
    }

    fn note(&mut self, shard: &ShardId, sequence: SequenceNumber, sent: &[Sent]) {
        for (sub_sequence, sent) in (0..).zip(sent) {
            if sent.is_poison {
                self.tally.count(Fault::Poison);
            }
            let position = Position { sequence, sub_sequence };
            let (at, is_poison) = (self.clock.time_of_day(), sent.is_poison);
            self.facts.put(shard, Put { position, at, key: sent.key, is_poison });
        }
    }
}

fn alone(sent: &[Sent]) -> (String, Bytes) {
    let sent = sent.first().copied().unwrap_or_default();
    (sent.partition_key(), Bytes::from_static(sent.data()))
}

fn aggregate(sent: &[Sent]) -> (String, Bytes) {
    let mut aggregator = Aggregator::new(AGGREGATE_MAX);
    for sent in sent {
        // A dozen small records fit.
        drop(aggregator.add(&sent.partition_key(), None, sent.data()));
    }
    let aggregate = aggregator.finish();
    let data = aggregate.map(|aggregate| aggregate.data).unwrap_or_default();
    (sent.first().copied().unwrap_or_default().partition_key(), data)
}
