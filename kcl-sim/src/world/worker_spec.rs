//! How to start a worker, and start it again.

use std::fmt;
use std::sync::Arc;

use kcl_core::backend::DeadLetter;
use kcl_core::config::WorkerConfig;
use kcl_core::{ProcessorFactory, ShardContext};

use super::member::{Member, Start};
use crate::error::SimError;
use crate::journal::Journal;
use crate::processor::Equipment;

/// Starts a worker with processors of one kind.
type Starter = dyn Fn(Start<'_>, WorkerConfig) -> Result<Member, SimError> + Send + Sync;

/// The settings of a worker and the factory of its processors.
#[derive(Clone)]
pub(crate) struct WorkerSpec {
    /// The speed of its clock, in thousandths of the world's.
    pub(crate) speed: u64,
    pub(crate) config: WorkerConfig,
    start: Arc<Starter>,
}

impl WorkerSpec {
    /// A worker whose processors `factory` creates.
    pub(crate) fn new(speed: u64, config: WorkerConfig, factory: impl ProcessorFactory) -> Self {
        let factory = Arc::new(factory);
        Self::equipped(speed, config, move |journal| {
            Equipment::new(SharedFactory(Arc::clone(&factory)), journal)
        })
    }

    /// A worker whose processors and dead letter store `equip` creates at each start.
    pub(crate) fn equipped<F: ProcessorFactory, D: DeadLetter>(
        speed: u64,
        config: WorkerConfig,
        equip: impl Fn(&Journal) -> Equipment<F, D> + Send + Sync + 'static,
    ) -> Self {
        let start = move |start: Start<'_>, config| Member::start(start, config, &equip);
        Self { speed, config, start: Arc::new(start) }
    }

    pub(crate) fn start(self, start: Start<'_>) -> Result<Member, SimError> {
        (self.start)(start, self.config)
    }
}

impl fmt::Debug for WorkerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSpec")
            .field("speed", &self.speed)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A factory that outlives the workers which use it.
pub(crate) struct SharedFactory<F>(pub(crate) Arc<F>);

impl<F: ProcessorFactory> ProcessorFactory for SharedFactory<F> {
    type Processor = F::Processor;

    fn create(&self, shard: &ShardContext) -> F::Processor {
        self.0.create(shard)
    }
}
