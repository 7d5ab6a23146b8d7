//! A producer: which records it puts, and when.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::kpl::{Aggregator, hash_key};

use crate::chance::Chance;
use crate::processor::POISON;
use crate::time::millis;

/// The most user records of an aggregate.
const USER_RECORDS_MAX: u64 = 12;

/// The most bytes of an aggregate: more than it can have.
const AGGREGATE_MAX: usize = 50_000;

/// What records the simulator draws.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// How many partition keys there are beside the first one.
    pub(crate) more_keys: u64,
    /// The probability that a record is poison.
    pub(crate) poison: f64,
    /// The probability that several records are put as one aggregate.
    pub(crate) aggregated: f64,
}

/// Makes the partition key and the data of a record from its number.
type Make = Box<dyn FnMut(u64) -> (String, Bytes) + Send>;

enum Records {
    Users(Make),
    Drawn(Load, Chance),
}

/// Puts records, with random pauses between them.
pub(crate) struct Producer {
    /// The mean pause between two records.
    pause: Duration,
    chance: Chance,
    number: u64,
    records: Records,
}

/// What a producer puts.
pub(crate) enum Produced {
    /// A record of the user's.
    Users { partition_key: String, data: Bytes },
    /// Records that the simulator drew: one, or several as an aggregate.
    Drawn { hash_key: u128, records: Vec<DrawnRecord>, is_aggregated: bool },
}

/// A record that the simulator drew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DrawnRecord {
    pub(crate) key: u64,
    pub(crate) is_poison: bool,
}

impl Producer {
    /// A producer of records that `make` makes from their numbers, counted from 0.
    pub(crate) fn of_users(
        seed: u64,
        pause: Duration,
        make: impl FnMut(u64) -> (String, Bytes) + Send + 'static,
    ) -> Self {
        Self::new(seed, pause, Records::Users(Box::new(make)))
    }

    /// A producer of records that the simulator draws.
    pub(crate) fn of_load(seed: u64, pause: Duration, load: Load) -> Self {
        Self::new(seed, pause, Records::Drawn(load, Chance::of(seed, u64::MAX - 1)))
    }

    fn new(seed: u64, pause: Duration, records: Records) -> Self {
        Self { pause, chance: Chance::of(seed, u64::MAX), number: 0, records }
    }

    /// Returns what to put now, and the pause after it.
    pub(crate) fn draw(&mut self) -> (Produced, Duration) {
        let high = u128::from(self.chance.between(0, u64::MAX));
        let most = (2 * millis(self.pause)).max(2);
        let pause = Duration::from_millis(self.chance.between(1, most));
        let produced = match &mut self.records {
            Records::Users(make) => {
                let (partition_key, data) = make(self.number);
                Produced::Users { partition_key, data }
            }
            Records::Drawn(load, chance) => {
                let (records, is_aggregated) = load.draw(chance);
                Produced::Drawn { hash_key: high << 64, records, is_aggregated }
            }
        };
        self.number += 1;
        (produced, pause)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("pause", &self.pause)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Load {
    /// Draws one record, or the records of an aggregate.
    fn draw(self, chance: &mut Chance) -> (Vec<DrawnRecord>, bool) {
        let mut records = vec![self.draw_record(chance)];
        let is_aggregated = chance.hits(self.aggregated);
        if is_aggregated {
            let more = chance.between(0, USER_RECORDS_MAX - 1);
            records.extend((0..more).map(|_| self.draw_record(chance)));
        }
        (records, is_aggregated)
    }

    fn draw_record(self, chance: &mut Chance) -> DrawnRecord {
        DrawnRecord { key: chance.between(0, self.more_keys), is_poison: chance.hits(self.poison) }
    }
}

impl DrawnRecord {
    fn partition_key(self) -> String {
        format!("key-{}", self.key)
    }

    const fn data(self) -> &'static [u8] {
        if self.is_poison { POISON } else { b"data" }
    }
}

/// Returns the partition key and the data under which drawn records are put.
pub(crate) fn encode(records: &[DrawnRecord], is_aggregated: bool) -> (String, Bytes) {
    let first = records.first().copied().unwrap_or_default();
    if !is_aggregated {
        return (first.partition_key(), Bytes::from_static(first.data()));
    }
    let mut aggregator = Aggregator::new(AGGREGATE_MAX);
    for record in records {
        // A dozen small records fit.
        drop(aggregator.add(&record.partition_key(), None, record.data()));
    }
    let aggregate = aggregator.finish();
    let data = aggregate.map(|aggregate| aggregate.data).unwrap_or_default();
    (first.partition_key(), data)
}

/// A number for a partition key: the low half of its hash key.
pub(crate) fn key_number(partition_key: &str) -> u64 {
    let low = hash_key(partition_key) & u128::from(u64::MAX);
    u64::try_from(low).unwrap_or_default()
}
