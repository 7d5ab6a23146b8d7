//! Leases of the Kinesis consumer framework in a DynamoDB table, in the format of the Java KCL.
//!
//! ```no_run
//! use kcl_core::backend::LeaseStore;
//! use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sdk = aws_config::load_from_env().await;
//! let setup = TableSetup::CreateIfMissing(NewTable::default().with_point_in_time_recovery());
//! let config = DynamoLeaseStoreConfig::new("orders-consumer").with_setup(setup);
//! let store = DynamoLeaseStore::new(&sdk, config);
//! store.prepare().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The table
//!
//! One table, hash key `leaseKey` (a string), no sort key. A row is a lease, unless its
//! `entityType` says otherwise: `WORKER_METRIC_STATS` is a worker, `STREAM` is where consumption of
//! a stream began. The store keeps foreign rows and attributes.
//!
//! | Attribute of a lease | Type | Whose | Meaning |
//! |---|---|---|---|
//! | `leaseKey` | S | Java | the shard's id |
//! | `entityType` | S | Java | `LEASE`; older leases have none |
//! | `leaseOwner` | S | Java | its owner; during a hand-over, its next owner |
//! | `checkpointOwner` | S | Java | during a hand-over: the worker that still processes the shard |
//! | `leaseCounter` | N | Java | grows with every write but the start of a hand-over |
//! | `ownerSwitchesSinceCheckpoint` | N | Java | informative |
//! | `checkpoint`, `checkpointSubSequenceNumber` | S, N | Java | how far the shard is processed |
//! | `pendingCheckpoint`, `pendingCheckpointSubSequenceNumber`, `pendingCheckpointState` | S, N, B | Java | prepared, not committed |
//! | `parentShardId`, `childShardIds` | SS | Java | the shard's parents; its children once it has ended |
//! | `startingHashKey`, `endingHashKey` | S | Java | the shard's hash keys, decimal, inclusive |
//! | `startAt` | N | ours | for `AT_TIMESTAMP`: where to start, epoch milliseconds |
//! | `expiryMillis` | N | ours | the owner's lease expiry |
//! | `token` | N | ours | the counter that the last take set |
//! | `caughtUpAt` | N | ours | when the consumer was last at the end, epoch milliseconds |
//! | `lastWrite` | S | ours | the write that set the counter: `counter/worker/number` |
//!
//! # Permissions
//!
//! `dynamodb:` `DescribeTable`, `Scan`, `GetItem`, `BatchGetItem`, `PutItem`, `UpdateItem` and
//! `DeleteItem` on the table; to create it also `CreateTable`, with tags `TagResource`, with
//! point-in-time recovery `UpdateContinuousBackups`.

mod attributes;
mod bulletin;
mod config;
mod error;
mod expression;
mod item;
mod page;
mod session;
mod store;
mod stream;
mod table;
#[cfg(feature = "test-util")]
pub mod testing;

pub use crate::config::{DynamoLeaseStoreConfig, NewTable, TableSetup};
pub use crate::store::DynamoLeaseStore;
