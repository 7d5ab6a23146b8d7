//! Looks at fleets of Kinesis consumers from their lease tables, without changing anything.
//!
//! A lease table shows which worker holds which shard, how far behind it is, and whether it stands
//! still. Tables of the Java KCL are read as well. The program `kclctl` shows what
//! this crate finds.
//!
//! ```no_run
//! use kcl_operate::{FleetReport, Looker, Seen};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sdk = aws_config::load_from_env().await;
//! let looker = Looker::new(&sdk, "orders-consumer");
//! let look = looker.look().await?.look;
//! let report = FleetReport::of(&Seen::once(looker.application(), &look));
//! println!("{}: {} workers", report.verdict, report.workers_alive());
//! # Ok(())
//! # }
//! ```

mod error;
pub mod iam;
mod looker;
mod service_time;
mod tables;

pub use error::{ErrorKind, OperateError, PolicyLine};
pub use kcl_kinesis::{ParseStreamIdError, StreamId};
pub use kcl_proto::operate::finding::{Finding, FindingKind, Severity, Verdict};
pub use kcl_proto::operate::fleet_report::{FleetReport, WrittenBy};
pub use kcl_proto::operate::look::{Look, Seen, StreamFacts};
pub use kcl_proto::operate::shard_report::{ShardReport, ShardState, note, short_name};
pub use kcl_proto::operate::why::{Check, Found, Why, shard_named, spoken};
pub use kcl_proto::operate::worker_report::{WorkerReport, WorkerState};
pub use looker::{Looked, Looker};
pub use tables::lease_tables;

/// The backends of AWS, for programs that also run workers.
pub mod backends {
    pub use kcl_dynamo::DynamoLeaseStore;
    pub use kcl_kinesis::KinesisSource;
}
