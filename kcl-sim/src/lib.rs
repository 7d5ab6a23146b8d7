//! Tests for stream processors: a simulator of whole fleets, without AWS.
//!
//! A [`World`] runs any number of workers of the real engine, with your processors and your
//! settings, against a stream and a lease table in memory. It injects faults, and checks after
//! every step that no promise of the framework is broken. Time is virtual: five minutes of a fleet
//! take a fraction of a second. Every choice follows from a seed, so a failing test fails again.
//!
//! ```
//! use std::time::Duration;
//!
//! use kcl_core::config::WorkerConfig;
//! use kcl_core::model::InitialPosition;
//! use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext};
//! use kcl_sim::{SimError, World};
//!
//! struct Mine;
//!
//! impl RecordProcessor for Mine {
//!     async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
//!         Ok(())
//!     }
//! }
//!
//! let mut config = WorkerConfig::default();
//! config.retrieval.initial_position = InitialPosition::TrimHorizon;
//!
//! // A seed, and the number of shards.
//! let mut world = World::new(7, 4)?;
//! for name in ["ann", "ben"] {
//!     world.start(name, config.clone(), |_: &ShardContext| Mine)?;
//! }
//! world.put_every(Duration::from_millis(200), |number| {
//!     (format!("key {}", number % 9), format!("record {number}"))
//! });
//! world.run_for(Duration::from_secs(20))?;
//!
//! // Kills ann after its work and before its checkpoint.
//! let again = world.redeliver("ann")?;
//! world.freeze("ben", Duration::from_secs(30))?;
//!
//! // Ends the faults, and waits until every record is processed and checkpointed.
//! world.heal()?;
//! assert!(world.deliveries().len() >= world.records().count() + again);
//! # Ok::<(), SimError>(())
//! ```
//!
//! # What it simulates
//!
//! - Calls that are slow, lost, duplicated, throttled, or carried out after their caller timed out;
//!   stale and torn scans; expired iterators: [`World::set_weather`].
//! - Workers that crash, stop, freeze or are suspended, cannot reach the table or the stream, or
//!   have a clock that runs too fast or too slow: [`World::crash`] and its neighbours.
//! - Splits and merges, stale and torn shard lists, trimmed records, deleted rows, and a stream
//!   that is deleted and created again: [`World::split`] and its neighbours.
//! - All of it at random: [`World::storm`].
//!
//! # What it checks
//!
//! [`Oracle`] lists the promises. The first one that is broken ends the world with
//! [`SimError::Broken`]. [`World::heal`] checks that the fleet recovers, and
//! [`World::expect_within`] that no record waits too long. Assert on [`World::deliveries`], and on
//! what your processors have done.
//!
//! # What it cannot do
//!
//! - A processor runs on a paused runtime that has timers and nothing else. It sleeps with
//!   `tokio::time`; it must not do I/O, block a thread or read a real clock. Replace a database by
//!   something in memory that the processors share.
//! - A world has runtimes of its own and cannot run inside another: call it from a `#[test]`, not
//!   from a `#[tokio::test]`.
//! - It does not simulate the AWS SDK, HTTP, credentials or the behavior of a real network.
//!   `kcl-local` runs those parts against local services.
//!
//! # Stories
//!
//! A [`story`] is a world in which only those faults occur that the test asks for.
//!
//! # Whole campaigns
//!
//! [`Scenario`] and [`Campaign`] run the framework's own worlds, whose workers, faults and
//! processors are drawn from a seed. The command `simulate` (feature `cli`) runs them from a shell.
//!
//! The backends in [`memory`] also work without a world, in tests on a real clock.

mod campaign;
mod chance;
mod course;
mod course_plan;
mod error;
mod fault;
mod fleet_mode;
mod journal;
pub mod memory;
mod oracle;
mod plan;
mod processor;
mod run;
mod scenario;
pub mod story;
mod time;
mod trace;
mod world;

pub use campaign::{Campaign, WorldId};
pub use chance::Chance;
pub use error::SimError;
pub use fault::{Fault, Tally};
pub use fleet_mode::FleetMode;
pub use journal::Ownership;
pub use oracle::{Oracle, Violation};
pub use scenario::{Outcome, Scenario};
pub use time::Time;
pub use world::{Delivery, End, Weather, World};
