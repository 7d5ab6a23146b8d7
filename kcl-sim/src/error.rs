//! Errors of a simulation.

use kcl_core::backend::SourceError;
use kcl_core::config::ConfigError;
use kcl_core::model::ShardId;
use thiserror::Error;

use crate::oracle::Violation;
use crate::time::Time;

/// Why a simulation, or a step of it, failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// A promise was broken.
    #[error("seed {seed}: {violation}")]
    Broken {
        /// The seed.
        seed: u64,
        /// The broken promise.
        violation: Violation,
    },
    /// A setting of a worker is out of range.
    #[error("worker cannot start")]
    Config(#[source] ConfigError),
    /// A runtime could not be created.
    #[error("runtime cannot start")]
    Runtime(#[source] std::io::Error),
    /// The worker does not run: it ended or crashed.
    #[error("worker {name:?} does not run: start it again first")]
    NotRunning {
        /// The worker's name.
        name: String,
    },
    /// The worker stands still already.
    #[error("worker {name:?} stands still until {until} s: let time pass until then")]
    StandsStill {
        /// The worker's name.
        name: String,
        /// Until when it stands still.
        until: Time,
    },
    /// No worker ended within three minutes.
    #[error(
        "no worker ended within three minutes: stop one, or give one a reason to end by itself"
    )]
    NoWorkerEnds,
    /// The shard does not allow this.
    #[error("{shard}: {why}")]
    Shard {
        /// The shard.
        shard: ShardId,
        /// The reason, and what to do instead.
        why: &'static str,
    },
    /// No worker of this name was ever started.
    #[error("no worker {name:?} was ever started: start it, or correct the name")]
    NoSuchWorker {
        /// The name.
        name: String,
    },
    /// The worker finished no records that its checkpoints did not cover.
    #[error(
        "worker {name:?} finished no records in two minutes that its checkpoints do not cover: put \
         records, let it hold a shard, and let its processor return before its checkpoint is stored"
    )]
    NothingToRedeliver {
        /// The worker's name.
        name: String,
    },
    /// A record could not be put.
    #[error("record cannot be put")]
    Put(#[source] SourceError),
}
