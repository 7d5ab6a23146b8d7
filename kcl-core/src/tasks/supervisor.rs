//! Owns every task: the only place that spawns. A panic becomes a value.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use crate::report::error::RunError;

/// A group of tasks. Dropping it ends them all at their next await point.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: JoinSet<TaskEnd>,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) struct TaskEnd {
    /// Which task.
    pub(crate) task: &'static str,
    /// What it panicked with, if it did.
    pub(crate) panic: Option<String>,
}

impl TaskEnd {
    /// An error if the task panicked.
    pub(crate) fn check(self) -> Result<(), RunError> {
        let Self { task, panic } = self;
        panic.map_or(Ok(()), |message| Err(RunError::TaskPanicked { task, message }))
    }
}

impl Tasks {
    /// Starts a task within a span.
    pub(crate) fn spawn(
        &mut self,
        task: &'static str,
        span: Span,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let watched = async move {
            let panic =
                AssertUnwindSafe(work).catch_unwind().await.err().map(|panic| said(&*panic));
            TaskEnd { task, panic }
        };
        self.set.spawn(watched.instrument(span));
    }

    /// Waits for the next task to end; never ready while there is none.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn ended(&mut self) -> TaskEnd {
        match self.set.join_next().await {
            Some(Ok(end)) => end,
            Some(Err(error)) => TaskEnd { task: "task", panic: Some(error.to_string()) },
            None => std::future::pending().await,
        }
    }

    /// How many tasks there are.
    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned())
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
