//! Collects the parts of a worker, and checks its settings once.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use kcl_proto::model::{OnExhausted, Record};

use crate::BoxError;
use crate::backend::{Clock, DeadLetter, LeaseStore, RecordSource, SystemClock};
use crate::config::{
    ConfigError, DeliveryConfig, InvalidSetting, LeaseConfig, RetrievalConfig, ShutdownConfig,
    WorkerConfig,
};
use crate::data_side::erased::ErasedFactory;
use crate::memory::MemoryBudget;
use crate::processor::{ProcessorFactory, RecordProcessor, ShardContext, for_each};
use crate::report::event::Observer;
use crate::worker::{Placement, Worker, WorkerParts};

/// Collects the parts of a [`Worker`].
///
/// Three parts are required: a source of [`records`](Self::records), a store of
/// [`leases`](Self::leases) and a [`processor`](Self::processor). Everything else has a default.
///
/// [`clock`](Self::clock), [`incarnation`](Self::incarnation) and
/// [`on_one_runtime`](Self::on_one_runtime) are for simulations.
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
    observers: Vec<Arc<dyn Observer>>,
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
            observers: Vec::new(),
            placement: Placement::OwnThread,
        }
    }

    /// Names the worker, such as after a host or a pod. By default it has the host's name.
    ///
    /// The name is the readable part of the worker's id, which stands in its leases. Two workers
    /// may have the same one, since every start has an id of its own.
    pub fn worker_name(mut self, name: impl Into<String>) -> Self {
        self.worker_name = Some(name.into());
        self
    }

    /// Sets the source of records, such as `kcl_kinesis::KinesisSource`.
    pub fn records(mut self, source: impl RecordSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Sets the store of leases, such as `kcl_dynamo::DynamoLeaseStore`.
    pub fn leases(mut self, store: impl LeaseStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets the closure that makes a processor for each shard whose lease the worker acquires.
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
    /// [`for_each`](crate::processor::for_each()) or
    /// [`for_stream`](crate::processor::for_stream()).
    pub fn processor_factory(mut self, factory: impl ProcessorFactory) -> Self {
        self.factory = Some(Arc::new(factory));
        self
    }

    /// Sets the closure that processes each record. Records of a shard are processed concurrently,
    /// in order within each partition key. Short for `.processor_factory(for_each(handler))`; see
    /// [`for_each`](crate::processor::for_each()).
    pub fn for_each<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(Record) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.processor_factory(for_each(handler))
    }

    /// Sets the store of records that used up their attempts, such as
    /// [`FileDeadLetter`](crate::backend::FileDeadLetter). Required if
    /// [`FailurePolicy::then`](crate::config::FailurePolicy::then) is [`OnExhausted::DeadLetter`],
    /// and refused otherwise.
    pub fn dead_letter(mut self, dead_letter: impl DeadLetter) -> Self {
        self.dead_letter = Some(Arc::new(dead_letter));
        self
    }

    /// Replaces all settings.
    pub fn config(mut self, config: WorkerConfig) -> Self {
        self.config = config;
        self
    }

    /// Replaces the settings of leases.
    pub fn lease_config(mut self, config: LeaseConfig) -> Self {
        self.config.lease = config;
        self
    }

    /// Replaces the settings of reading.
    pub fn retrieval_config(mut self, config: RetrievalConfig) -> Self {
        self.config.retrieval = config;
        self
    }

    /// Replaces the settings of delivery.
    pub fn delivery_config(mut self, config: DeliveryConfig) -> Self {
        self.config.delivery = config;
        self
    }

    /// Replaces the settings of shutting down.
    pub fn shutdown_config(mut self, config: ShutdownConfig) -> Self {
        self.config.shutdown = config;
        self
    }

    /// Sets a memory budget for records, to share it with other workers of this process. By default
    /// each worker has one of `retrieval.memory_max` bytes.
    pub fn memory(mut self, budget: MemoryBudget) -> Self {
        self.memory = Some(budget);
        self
    }

    /// Adds an observer, which gets every event beside the log. May be called repeatedly.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Replaces the clock, for simulations.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the incarnation's number, for simulations. It must differ for each start of a worker,
    /// and is random by default.
    pub const fn incarnation(mut self, number: u64) -> Self {
        self.incarnation = Some(number);
        self
    }

    /// Runs the lease side on the runtime that runs the worker, for simulations. By default it has
    /// a thread of its own, so that a blocking processor cannot stop renewals.
    pub const fn on_one_runtime(mut self) -> Self {
        self.placement = Placement::OneRuntime;
        self
    }

    /// Checks all settings and returns the worker.
    ///
    /// # Errors
    /// [`ConfigError`] names every part that is missing and every setting that cannot work.
    pub fn build(self) -> Result<Worker, ConfigError> {
        let name = self.worker_name.clone().unwrap_or_else(host_name);
        ConfigError::unless_empty(self.invalid_settings(&name))?;
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
            observers: self.observers,
            placement: self.placement,
        }))
    }

    /// Returns all settings that cannot work, and all parts that are missing.
    fn invalid_settings(&self, name: &str) -> Vec<InvalidSetting> {
        let WorkerConfig { lease, delivery, .. } = &self.config;
        let mut invalid = self.config.invalid_settings();
        invalid.extend(self.source.iter().flat_map(|source| source.validate()));
        invalid.extend(self.factory.iter().flat_map(|factory| factory.validate(delivery)));
        invalid.extend(self.store.iter().flat_map(|store| store.validate(lease)));
        if self.application.is_empty() {
            let reason = "must not be empty: name the application in Worker::builder";
            invalid.push(InvalidSetting::new("application", &self.application, reason));
        }
        if name.is_empty() || name.len() > NAME_LENGTH_MAX {
            invalid.push(InvalidSetting::new("worker_name", name, "must have 1 to 200 bytes"));
        }
        let parts = [
            ("records", self.source.is_some(), "is missing: say where to read records"),
            ("leases", self.store.is_some(), "is missing: say where to keep leases"),
            ("processor", self.factory.is_some(), "is missing: say what to do with records"),
        ];
        let missing = parts.into_iter().filter(|(_, is_set, _)| !is_set);
        invalid.extend(missing.map(|(part, _, reason)| InvalidSetting::missing(part, reason)));
        let then = delivery.failure.then;
        match (then == OnExhausted::DeadLetter, &self.dead_letter) {
            (true, None) => {
                let reason = "is missing: delivery.failure.then is DeadLetter";
                invalid.push(InvalidSetting::missing("dead_letter", reason));
            }
            (false, Some(_)) => {
                let reason = "must be DeadLetter where a dead letter is given";
                invalid.push(InvalidSetting::new("delivery.failure.then", then, reason));
            }
            (true, Some(_)) | (false, None) => {}
        }
        invalid
    }
}

/// Returns the name of this host, or `worker` if the system has none.
fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = String::new();
    if name.is_empty() { "worker".to_owned() } else { name }
}

/// Returns a number that no other start of any worker has.
fn fresh_incarnation() -> u64 {
    // The standard library keys its hashers with the system's randomness.
    RandomState::new().hash_one(std::process::id())
}
