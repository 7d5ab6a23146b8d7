//! Where and when a worker's events happen.

use std::sync::{Arc, OnceLock};

use kcl_proto::model::{Moment, StreamName, WorkerId};
use tokio::sync::watch;

use crate::backend::Clock;
use crate::report::event::EventContext;

/// One worker, as the origin of its events.
#[derive(Debug)]
pub(crate) struct Origin {
    application: String,
    worker: watch::Sender<WorkerId>,
    /// Set once, when the worker has looked at the stream.
    stream: OnceLock<StreamName>,
    clock: Arc<dyn Clock>,
}

impl Origin {
    pub(crate) fn new(application: String, worker: WorkerId, clock: Arc<dyn Clock>) -> Self {
        let worker = watch::Sender::new(worker);
        Self { application, worker, stream: OnceLock::new(), clock }
    }

    /// Replaces the worker in the context of later events.
    pub(super) fn set_worker(&self, worker: &WorkerId) {
        self.worker.send_replace(worker.clone());
    }

    /// Adds the stream to the context of later events.
    pub(super) fn set_stream(&self, stream: &StreamName) {
        self.stream.get_or_init(|| stream.clone());
    }

    /// Returns the context of an event that happens now.
    pub(super) fn context(&self) -> EventContext {
        EventContext {
            time: self.clock.time_of_day(),
            application: self.application.clone(),
            worker: self.worker.borrow().clone(),
            stream: self.stream.get().cloned(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }
}
