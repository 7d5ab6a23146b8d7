//! What consumers and their readers share.

use std::sync::Arc;

use kcl_proto::model::{Lease, StreamStart};

use crate::backend::{Clock, DeadLetter, RecordSource};
use crate::config::WorkerConfig;
use crate::data_side::closed_shards::ClosedShards;
use crate::data_side::erased::ErasedFactory;
use crate::memory::{MemoryBudget, MemoryShare};
use crate::metrics::shard_series::ShardSeries;
use crate::report::events::Events;
use crate::retention::Retention;
use crate::tasks::chance::Chance;
use crate::tasks::stopped_shards::StoppedShards;

/// What all consumers of a worker share.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerParts {
    pub(crate) source: Arc<dyn RecordSource>,
    pub(crate) factory: Arc<dyn ErasedFactory>,
    pub(crate) dead_letter: Option<Arc<dyn DeadLetter>>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    pub(crate) chance: Arc<Chance>,
    pub(crate) memory: MemoryBudget,
    pub(crate) stopped: StoppedShards,
    pub(crate) ends: ClosedShards,
}

/// What a consumer shares with its reader.
#[derive(Clone, Debug)]
pub(super) struct ReadParts {
    pub(super) source: Arc<dyn RecordSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Events,
    pub(super) chance: Arc<Chance>,
    pub(super) config: Arc<WorkerConfig>,
    pub(super) memory: MemoryShare,
    pub(super) series: Arc<ShardSeries>,
    pub(super) lease: Arc<Lease>,
    pub(super) start: Arc<StreamStart>,
    pub(super) retention: Retention,
    pub(super) ends: ClosedShards,
}

impl ConsumerParts {
    /// What the consumer of `lease` shares with its reader.
    pub(super) fn reading(
        &self,
        lease: &Arc<Lease>,
        start: Arc<StreamStart>,
        retention: Retention,
        series: &Arc<ShardSeries>,
    ) -> ReadParts {
        ReadParts {
            source: Arc::clone(&self.source),
            clock: Arc::clone(&self.clock),
            events: self.events.clone(),
            chance: Arc::clone(&self.chance),
            config: Arc::clone(&self.config),
            memory: self.memory.join(),
            series: Arc::clone(series),
            lease: Arc::clone(lease),
            start,
            retention,
            ends: self.ends.clone(),
        }
    }
}
