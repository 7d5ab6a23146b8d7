//! Calls that a task makes beside its other work.

use std::future::pending;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

/// The calls of one task. Dropping it cancels them.
#[derive(Debug)]
pub(super) struct Jobs<T>(FuturesUnordered<BoxFuture<'static, T>>);

impl<T: Send> Jobs<T> {
    pub(super) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    /// Adds a job. It makes progress while [`next`](Self::next) is polled.
    pub(super) fn push(&self, job: impl Future<Output = T> + Send + 'static) {
        self.0.push(Box::pin(job));
    }

    /// Waits for the next job to end; never ready while there is none.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> T {
        match self.0.next().await {
            Some(end) => end,
            None => pending().await,
        }
    }
}
