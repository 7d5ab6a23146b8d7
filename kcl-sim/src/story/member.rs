//! A worker of a story, and what can happen to it.

use std::rc::Rc;
use std::time::Duration;

use kcl_core::event::WorkerStatus;
use kcl_core::metrics::Snapshot;
use kcl_core::model::WorkerId;

use crate::error::SimError;
use crate::story::stage::{LOOK_EVERY, Stage};
use crate::world::{CallFault, Calls, End, end_of};

/// A worker of a story. It runs until it crashes, stops, or ends by itself; dropping this does
/// nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Member {
    /// Its id.
    pub id: WorkerId,
    /// The name under which the world knows it.
    name: String,
    stage: Rc<Stage>,
}

impl Member {
    #[track_caller]
    pub(super) fn new(name: String, stage: &Rc<Stage>) -> Self {
        let status = status_of(stage, &name);
        Self { id: status.worker, name, stage: Rc::clone(stage) }
    }

    /// Returns the status that the worker reports.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> WorkerStatus {
        status_of(&self.stage, &self.name)
    }

    /// Returns the worker's metrics.
    #[must_use]
    #[track_caller]
    pub fn metrics(&self) -> Snapshot {
        let metrics = self.stage.world.borrow().members.metrics(&self.name);
        metrics.unwrap_or_else(|error| self.stage.fail(error))
    }

    /// Kills the worker. Its calls that are on their way still land.
    #[track_caller]
    pub fn crash(&self) {
        self.stage.act(|world| world.crash(&self.name));
    }

    /// Shuts the worker down, waits until it has ended, and returns how.
    ///
    /// # Errors
    /// What ended it.
    #[track_caller]
    pub fn stop(&self) -> End {
        self.stage.act(|world| world.stop(&self.name));
        self.ended()
    }

    /// Waits until the worker has ended, by itself or because it was shut down, and returns how.
    ///
    /// # Errors
    /// What ended it.
    #[track_caller]
    pub fn ended(&self) -> End {
        self.stage.act(|world| end_of(world, &self.name, LOOK_EVERY))
    }

    /// Stops the process of the worker for this time, as SIGSTOP and SIGCONT do.
    #[track_caller]
    pub fn freeze(&self, time: Duration) {
        self.stage.act(|world| world.freeze(&self.name, time));
    }

    /// Suspends the machine of the worker for this time.
    #[track_caller]
    pub fn suspend(&self, time: Duration) {
        self.stage.act(|world| world.suspend(&self.name, time));
    }

    /// Strikes these calls of the worker with a fault, until it [recovers](Self::recover).
    pub fn fault(&self, calls: Calls, fault: CallFault) {
        self.add(calls, fault, None);
    }

    /// Strikes the next of these calls of the worker with a fault.
    pub fn fault_next(&self, calls: Calls, fault: CallFault) {
        self.add(calls, fault, Some(1));
    }

    /// Ends all faults of the worker's calls.
    pub fn recover(&self) {
        self.stage.world.borrow_mut().net.call_faults(&self.name).clear();
    }

    fn add(&self, calls: Calls, fault: CallFault, times: Option<u32>) {
        let mut world = self.stage.world.borrow_mut();
        world.net.call_faults(&self.name).add(calls, fault, times);
    }
}

/// The status of the worker that the world knows under this name.
#[track_caller]
fn status_of(stage: &Stage, name: &str) -> WorkerStatus {
    let world = stage.world.borrow();
    let mut all = world.members.names().into_iter().zip(world.members.statuses());
    let status = all.find(|(worker, _)| worker == name).map(|(_, status)| status);
    drop(world);
    status.unwrap_or_else(|| stage.fail(SimError::NotRunning { name: name.to_owned() }))
}
