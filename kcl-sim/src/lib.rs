//! A simulator of whole fleets: the real engine, through every fault, in virtual time.
//!
//! Each worker runs on a paused runtime of its own, so its time is what the world says. A worker
//! runs ahead until its next call to the table or the stream, or until an answer is due to it:
//! nothing else can affect it. The [`World`] owns the table and the stream, and decides when a call
//! lands, whether it lands, lands twice, or lands after its caller gave up. Every choice is drawn
//! from one seed, so a seed gives the same run, byte for byte. What is dropped is a kill, what does
//! not run while its clock goes on is a SIGSTOP, what does not run while its clock stands still is a
//! suspended machine, and a clock can run at another speed. After every step [oracles](Oracle) look
//! for broken promises; when the faults have stopped, the fleet must heal.
//!
//! A [`story`] is a world for a test in which only what the test says goes wrong.
//!
//! Processors of your own run in a world as they are, as long as they do no I/O, block no thread and
//! ask no real clock: their runtimes are paused, and have timers only. Pause with `tokio::time`, and
//! let something in memory stand for a database. A world cannot run inside of another runtime: call
//! it from a `#[test]`, not from a `#[tokio::test]`.
//!
//! ```
//! use std::time::Duration;
//!
//! use kcl_core::config::WorkerConfig;
//! use kcl_core::ShardContext;
//! use kcl_core::model::InitialPosition;
//! use kcl_core::{BoxError, RecordBatch, RecordProcessor};
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
//! let mut world = World::new(7, 4)?;
//! for name in ["ann", "ben"] {
//!     world.start(name, config.clone(), |_: &ShardContext| Mine)?;
//! }
//! world.put_every(Duration::from_millis(200), |number| {
//!     (format!("key {}", number % 9), format!("record {number}"))
//! });
//! world.run_for(Duration::from_secs(20))?;
//! let again = world.redeliver("ann")?;
//! world.freeze("ben", Duration::from_secs(30))?;
//! world.heal()?;
//! assert!(world.deliveries().len() >= world.records().count() + again);
//! # Ok::<(), SimError>(())
//! ```

mod campaign;
mod chance;
mod error;
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

pub use campaign::Campaign;
pub use chance::Chance;
pub use error::SimError;
pub use journal::Ownership;
pub use oracle::{Oracle, Violation};
pub use scenario::{Outcome, Scenario};
pub use time::Time;
pub use world::World;
pub use world::faults::{Fault, Tally, Weather};
pub use world::ledger::Delivery;
pub use world::member::End;
