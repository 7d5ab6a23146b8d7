//! The tasks. The only folder that spawns, sleeps and selects; it holds no rules.

pub(crate) mod link;

/// Placeholder until the engine lands.
#[derive(Debug)]
pub struct Worker;
/// Placeholder until the engine lands.
#[derive(Debug)]
pub struct WorkerHandle;
