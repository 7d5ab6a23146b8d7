//! Why a simulation ended.

use kcl_core::config::ConfigError;
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
}
