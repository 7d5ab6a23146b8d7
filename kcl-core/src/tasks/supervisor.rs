//! Owns every task: the only place that spawns. A task's panic is returned as a value.

use std::any::Any;
use std::future::pending;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

/// A group of tasks. Dropping it cancels all of them at their next await point.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: JoinSet<TaskEnd>,
    crash: CancellationToken,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) struct TaskEnd {
    /// Which task.
    pub(crate) task: &'static str,
    /// The panic's message, or `None` if the task returned.
    pub(crate) panic: Option<String>,
}

/// A task panicked.
#[derive(Debug)]
pub(crate) struct TaskPanic {
    /// Which task.
    pub(crate) task: &'static str,
    /// The panic's message.
    pub(crate) message: String,
}

impl TaskEnd {
    /// Returns an error if the task panicked.
    pub(crate) fn check(self) -> Result<(), TaskPanic> {
        let Self { task, panic } = self;
        panic.map_or(Ok(()), |message| Err(TaskPanic { task, message }))
    }
}

impl Tasks {
    /// A group of tasks that are not polled any more once `crash` is cancelled.
    pub(crate) fn until(crash: CancellationToken) -> Self {
        Self { set: JoinSet::new(), crash }
    }

    /// Spawns a task within a span.
    pub(crate) fn spawn(
        &mut self,
        task: &'static str,
        span: Span,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let crash = self.crash.clone();
        // An async function or block has room for each argument twice: as it came, and as it is
        // used. Three of them follow.
        let work = Box::pin(work);
        let watched = async move {
            let panic = tokio::select! {
                biased;
                () = crash.cancelled() => pending().await,
                panic = panic_of(work) => panic,
            };
            TaskEnd { task, panic }
        };
        self.set.spawn(watched.instrument(span));
    }

    /// Waits for the next task to end. Never returns while the group is empty.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn ended(&mut self) -> TaskEnd {
        match self.set.join_next().await {
            Some(Ok(end)) => end,
            Some(Err(error)) => TaskEnd { task: "task", panic: Some(error.to_string()) },
            None => pending().await,
        }
    }

    /// The number of tasks.
    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }
}

/// Carries out `work`. Returns the message of its panic, or `None` if it returned.
pub(crate) async fn panic_of(work: impl Future<Output = ()> + Send) -> Option<String> {
    let end = AssertUnwindSafe(work).catch_unwind().await;
    end.err().map(|panic| panic_message(&*panic))
}

/// The message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        let mut tasks = Tasks::default();
        tasks.spawn("doomed", Span::none(), async { panic!("no {}", "more") });
        let end = tasks.ended().await;
        assert_eq!((end.task, end.panic.as_deref()), ("doomed", Some("no more")));
        assert_eq!(tasks.len(), 0);
    }
}
