//! The stream: which shards follow from which, which need a lease, and where reading starts.

pub mod bootstrap;
pub mod cleanup;
pub mod coverage;
pub mod creation_pace;
#[cfg(test)]
pub(crate) mod family;
pub mod lineage;
pub mod start_position;
pub mod successors;
pub mod sync;
pub mod uncovered;
