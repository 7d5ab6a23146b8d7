//! Collects the parts of a worker, and checks its settings once.

use std::sync::Arc;

use kcl_proto::model::{OnExhausted, Record};

use crate::BoxError;
use crate::backend::DeadLetter;
use crate::backend::LeaseStore;
use crate::backend::RecordSource;
use crate::backend::{Clock, SystemClock};
use crate::config::{
    ConfigError, DeliveryConfig, LeaseConfig, Mistake, RetrievalConfig, ShutdownConfig,
    WorkerConfig,
};
use crate::data_side::erased::ErasedFactory;
use crate::memory::MemoryBudget;
use crate::processor::{ProcessorFactory, RecordProcessor, ShardContext, for_each};
use crate::report::event::Observer;
use crate::report::log::Events;
use crate::worker::{Placement, Worker, WorkerParts};

/// Collects the parts of a [`Worker`].
///
/// Three parts are needed: where records come from, where leases are kept, and what to do with the
/// records. Everything else has a default.
#[derive(Debug)]
#[must_use = "a worker is made by `build`"]
pub struct WorkerBuilder {
    application: String,
    worker_name: Option<String>,
    incarnation: Option<u64>,
    source: Option<Arc<dyn RecordSource>>,
    store: Option<Arc<dyn LeaseStore>>,
    factory: Option<Arc<dyn ErasedFactory>>,
    dead_letter: Option<Arc<dyn DeadLetter>>,
    config: WorkerConfig,
    memory: Option<MemoryBudget>,
    clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn Observer>>,
    placement: Placement,
}

/// The longest name of a worker: it becomes part of a row's key.
const NAME_LENGTH_MAX: usize = 200;

impl WorkerBuilder {
    pub(crate) fn new(application: impl Into<String>) -> Self {
        Self {
            application: application.into(),
            worker_name: None,
            incarnation: None,
            source: None,
            store: None,
            factory: None,
            dead_letter: None,
            config: WorkerConfig::default(),
            memory: None,
            clock: Arc::new(SystemClock),
            observer: None,
            placement: Placement::OwnThread,
        }
    }

    /// Names the worker: a host or a pod. By default the host's name.
    ///
    /// The name is part of the id under which the worker owns leases, and is for people to read. Two
    /// workers may have the same one, since every start gets an id of its own.
    pub fn worker_name(mut self, name: impl Into<String>) -> Self {
        self.worker_name = Some(name.into());
        self
    }

    /// Where records come from, such as `kcl_kinesis::KinesisSource`.
    pub fn records(mut self, source: impl RecordSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Where leases are kept, such as `kcl_dynamo::DynamoLeaseStore`.
    pub fn leases(mut self, store: impl LeaseStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets the closure that makes a processor for each shard this worker comes to hold.
    ///
    /// ```
    /// # use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker};
    /// # struct Printer;
    /// # impl RecordProcessor for Printer {
    /// #     async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// let builder = Worker::builder("orders").processor(|_| Printer);
    /// ```
    pub fn processor<F, P>(self, make: F) -> Self
    where
        F: Fn(&ShardContext) -> P + Send + Sync + 'static,
        P: RecordProcessor,
    {
        self.processor_factory(make)
    }

    /// Sets the factory that makes a processor for each shard: your own [`ProcessorFactory`],
    /// [`for_each`](crate::processor::for_each()) or [`for_stream`](crate::processor::for_stream()).
    pub fn processor_factory(mut self, factory: impl ProcessorFactory) -> Self {
        self.factory = Some(Arc::new(factory));
        self
    }

    /// What to do with each record: a closure. Records of a shard are processed concurrently, in
    /// order within each partition key. Short for `.processor_factory(for_each(handler))`; see
    /// [`for_each`](crate::processor::for_each()).
    pub fn for_each<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(Record) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.processor_factory(for_each(handler))
    }

    /// Where records go that used up their attempts, such as
    /// [`FileDeadLetter`](crate::backend::FileDeadLetter). Needed, and used, where
    /// [`FailurePolicy::then`](kcl_proto::model::FailurePolicy::then) is
    /// [`OnExhausted::DeadLetter`].
    pub fn dead_letter(mut self, dead_letter: impl DeadLetter) -> Self {
        self.dead_letter = Some(Arc::new(dead_letter));
        self
    }

    /// All settings at once.
    pub fn config(mut self, config: WorkerConfig) -> Self {
        self.config = config;
        self
    }

    /// Settings of leases.
    pub fn lease_config(mut self, config: LeaseConfig) -> Self {
        self.config.lease = config;
        self
    }

    /// Settings of reading.
    pub fn retrieval_config(mut self, config: RetrievalConfig) -> Self {
        self.config.retrieval = config;
        self
    }

    /// Settings of delivery.
    pub fn delivery_config(mut self, config: DeliveryConfig) -> Self {
        self.config.delivery = config;
        self
    }

    /// Settings of shutting down.
    pub fn shutdown_config(mut self, config: ShutdownConfig) -> Self {
        self.config.shutdown = config;
        self
    }

    /// The memory that this worker's records may take, shared with other workers of this process. By
    /// default each worker has `retrieval.memory_max` of its own.
    pub fn memory(mut self, budget: MemoryBudget) -> Self {
        self.memory = Some(budget);
        self
    }

    /// Who gets every event, beside the log.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// What time it is, for simulations.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The incarnation's number, for simulations: it must differ for each start of a worker. By
    /// default it is drawn from the system's source of chance.
    pub const fn incarnation(mut self, number: u64) -> Self {
        self.incarnation = Some(number);
        self
    }

    /// Runs the lease side on the runtime that the worker is run on, for simulations. By default it
    /// has a thread of its own, which keeps a blocking processor from stopping renewals.
    pub const fn on_one_runtime(mut self) -> Self {
        self.placement = Placement::OneRuntime;
        self
    }

    /// The worker, ready to run.
    ///
    /// # Errors
    /// [`ConfigError`] names every part that is missing and every setting out of its range.
    pub fn build(self) -> Result<Worker, ConfigError> {
        let mut mistakes = match self.config.check() {
            Ok(()) => Vec::new(),
            Err(error) => error.mistakes().to_vec(),
        };
        mistakes.extend(self.source.iter().flat_map(|source| source.mistakes()));
        let WorkerConfig { lease: leases, delivery, .. } = &self.config;
        mistakes.extend(self.factory.iter().flat_map(|factory| factory.mistakes(delivery)));
        mistakes.extend(self.store.iter().flat_map(|store| store.mistakes(leases)));
        let mut missing = |setting, problem: &str| {
            mistakes.push(Mistake { setting, problem: problem.to_owned() });
        };
        if self.application.is_empty() {
            missing("application", "is empty: name the application in Worker::builder");
        }
        let name = self.worker_name.unwrap_or_else(host_name);
        if name.is_empty() || name.len() > NAME_LENGTH_MAX {
            missing("worker_name", "must have 1 to 200 bytes");
        }
        if self.source.is_none() {
            missing("records", "is missing: say where records come from");
        }
        if self.store.is_none() {
            missing("leases", "is missing: say where leases are kept");
        }
        if self.factory.is_none() {
            missing("processor", "is missing: say what to do with the records");
        }
        let wants_dead_letter = self.config.delivery.failure.then == OnExhausted::DeadLetter;
        match (wants_dead_letter, &self.dead_letter) {
            (true, None) => missing("dead_letter", "is missing: delivery.failure.then wants one"),
            (false, Some(_)) => {
                missing("delivery.failure.then", "must be DeadLetter where a dead letter is given");
            }
            (true, Some(_)) | (false, None) => {}
        }
        ConfigError::unless_empty(mistakes)?;
        let (Some(source), Some(store), Some(factory)) = (self.source, self.store, self.factory)
        else {
            return Err(ConfigError::default());
        };
        let own = || MemoryBudget::new(self.config.retrieval.memory_max);
        let memory = self.memory.unwrap_or_else(own);
        Ok(Worker::new(WorkerParts {
            application: self.application,
            name,
            incarnation: self.incarnation.unwrap_or_else(fresh_incarnation),
            source,
            store,
            factory,
            dead_letter: self.dead_letter,
            memory,
            config: Arc::new(self.config),
            clock: self.clock,
            events: Events::new(self.observer),
            placement: self.placement,
        }))
    }
}

/// The name of this host; `worker` if the system has none.
fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = String::new();
    if name.is_empty() { "worker".to_owned() } else { name }
}

/// A number that no other start of any worker has.
fn fresh_incarnation() -> u64 {
    use rand::TryRng;
    rand::rngs::SysRng.try_next_u64().unwrap_or_else(|_| {
        // Without a source of chance, the start's own time and process tell it from others.
        let millis = SystemClock.time_of_day().epoch_millis().unsigned_abs();
        millis.rotate_left(20) ^ u64::from(std::process::id())
    })
}
