//! Why a simulation ended.

use kcl_core::backend::SourceError;
use kcl_core::config::ConfigError;
use kcl_core::model::ShardId;
use thiserror::Error;

use crate::oracle::Violation;
use crate::time::Time;

/// A simulation ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// A promise was broken.
    #[error("seed {seed}: {violation}")]
    Broken {
        /// The seed.
        seed: u64,
        /// What was broken.
        violation: Violation,
    },
    /// A worker's settings are out of range.
    #[error("worker cannot start")]
    Config(#[source] ConfigError),
    /// A runtime could not be made.
    #[error("runtime cannot start")]
    Runtime(#[source] std::io::Error),
    /// Something was to be done to a worker that does not run: it ended, or crashed.
    #[error("worker {name:?} does not run: start it again first")]
    NotRunning {
        /// The worker's name.
        name: String,
    },
    /// A worker that stands still was to stand still.
    #[error("worker {name:?} stands still until {until} s: let that pass first")]
    StandsStill {
        /// The worker's name.
        name: String,
        /// Until when.
        until: Time,
    },
    /// A worker was to end, and none did.
    #[error("no worker ends: stop one, or give one cause to end by itself")]
    NobodyEnds,
    /// Something could not be done to a shard.
    #[error("{shard}: {why}")]
    Shard {
        /// The shard.
        shard: ShardId,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// Something was to be done to a worker that was never started.
    #[error("no worker {name:?} was ever started: start it, or mend the name")]
    NoSuchWorker {
        /// The name.
        name: String,
    },
    /// A worker had nothing that could be delivered again.
    #[error(
        "{name:?} finished no records in two minutes that its checkpoints do not cover: put records, \
         let it hold a shard, and let its processor return without storing all that is done"
    )]
    NothingAtStake {
        /// The worker's name.
        name: String,
    },
    /// A record could not be put.
    #[error("record cannot be put")]
    Put(#[source] SourceError),
}
