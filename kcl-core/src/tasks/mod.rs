//! Supervised tasks, sleeping, chance, and the shards that consumers stopped.

pub(crate) mod chance;
pub(crate) mod sleep;
pub(crate) mod stopped_shards;
pub(crate) mod supervisor;
