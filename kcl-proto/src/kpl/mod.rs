//! Aggregated records of the Kinesis Producer Library (KPL): many user records in one record.
//!
//! **Invariant:** nothing here is `async`, reads a clock, draws randomness, logs or performs I/O.
//! No input makes it panic, and user records share the memory of their aggregated record.
//!
//! A worker expands aggregated records by itself. Without a worker:
//!
//! ```
//! use kcl_proto::kpl::{Aggregator, Deaggregator, Expansion};
//! use kcl_proto::model::{Position, Record};
//!
//! let mut aggregator = Aggregator::new(50_000);
//! aggregator.add("customer-7", None, b"a pound of tea")?;
//! aggregator.add("customer-8", None, b"a cake")?;
//! let aggregate = aggregator.finish().expect("two user records");
//!
//! let position = Position::of(42.into());
//! let record = Record::new(position, aggregate.partition_key, aggregate.data, None);
//! let mut records = Vec::new();
//! let expansion = Deaggregator::default().expand(record, &mut records);
//! assert_eq!(expansion, Expansion::Aggregate { user_records: 2, out_of_range: 0 });
//! assert_eq!(&records[1].data[..], b"a cake");
//! assert_eq!(records[1].position, Position { sub_sequence: 1, ..position });
//! # Ok::<(), kcl_proto::kpl::TooLarge>(())
//! ```

mod aggregator;
mod deaggregate;
mod frame;
mod user_records;
mod wire;

pub use aggregator::{Aggregate, Aggregator, TooLarge};
pub use deaggregate::{Deaggregator, Expansion, HashRangePolicy};
pub use frame::{Malformed, USER_RECORDS_MAX, open, seal};
pub use user_records::{UserRecord, UserRecords, hash_key};
