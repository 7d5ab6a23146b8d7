//! What applications read a worker's metrics from: [`Meter`].

use std::sync::Arc;

pub use kcl_proto::worker::health::Signs as Health;

use crate::metrics::period::{PeriodReader, TooManyReaders};
use crate::metrics::registry::Registry;
use crate::metrics::snapshot::Snapshot;

/// The metrics of one worker. Clones are the same.
///
/// [`WorkerHandle::meter`](crate::WorkerHandle::meter) returns it. It answers from memory, also
/// while the worker starts, hangs or has stopped.
///
/// ```no_run
/// # fn f(handle: &kcl_core::WorkerHandle) {
/// let snapshot = handle.meter().snapshot();
/// for sample in &snapshot.samples {
///     println!("{} {:?}", sample.metric.name, sample.value);
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Meter(Arc<Registry>);

impl Meter {
    pub(crate) const fn new(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    /// Returns all series as they are now. Shards whose leases the worker no longer holds have
    /// none.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            application: self.0.application.clone(),
            worker_name: self.0.worker_name.clone(),
            stream: self.0.stream.get().cloned(),
            samples: self.0.read(None),
        }
    }

    /// Returns what is known about the worker's health, to be judged by
    /// [`alive`](Health::alive), [`ready`](Health::ready) and [`verdict`](Health::verdict).
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health()
    }

    /// Returns a reader of what happens in periods, for systems that want the differences between
    /// two reports. A meter has two at most.
    ///
    /// # Errors
    /// [`TooManyReaders`] if both are in use: drop one.
    pub fn periods(&self) -> Result<PeriodReader, TooManyReaders> {
        PeriodReader::new(Arc::clone(&self.0))
    }
}
