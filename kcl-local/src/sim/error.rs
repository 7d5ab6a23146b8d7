//! Why a simulation ended.

use kcl_core::config::ConfigError;
use kcl_core::record_source::SourceError;
use thiserror::Error;

use super::oracle::Violation;

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
    /// Something was to be done to a worker that was never started.
    #[error("no worker {name:?} was ever started: start it, or mend the name")]
    NoSuchWorker {
        /// The name.
        name: String,
    },
    /// A worker had nothing that could be delivered again.
    #[error(
        "{name:?} finishes no records that are not checkpointed: put records, and let it hold a shard"
    )]
    NothingAtStake {
        /// The worker's name.
        name: String,
    },
    /// A record could not be put.
    #[error("record cannot be put")]
    Put(#[source] SourceError),
}
