//! What tasks are made of: supervision, sleeping, chance.

pub(crate) mod chance;
pub(crate) mod sleep;
pub(crate) mod stopped_shards;
pub(crate) mod supervisor;
