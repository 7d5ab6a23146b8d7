//! The acknowledgement of a single record: [`Ack`].

use std::sync::{Arc, Weak};

use kcl_proto::consumer::progress::{AckFailure, Progress, UnfinishedBatch};
use kcl_proto::model::{Position, Record};
use tokio::sync::watch;

use crate::BoxError;
use crate::memory::Reserved;
use crate::report::log::chain;

/// The acknowledgement of one record. It can move to other tasks and threads.
///
/// Dropping it without [`done`](Self::done) counts as a failure of the record. Once the ownership
/// of the shard has ended, it has no effect: the next owner receives the record again.
///
/// # Examples
/// ```
/// use kcl_core::{Ack, BoxError, Record};
///
/// async fn handle(record: Record, ack: Ack) {
///     match store(&record).await {
///         Ok(()) => ack.done(),
///         Err(error) => ack.fail(error),
///     }
/// }
/// # async fn store(_: &Record) -> Result<(), BoxError> { Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping an acknowledgement counts as a failure"]
pub struct Ack {
    position: Position,
    /// `None` once acknowledged, or if there is no consumer to report to.
    open: Option<Arc<OpenBatch>>,
}

impl Ack {
    pub(crate) const fn new(position: Position, open: Option<Arc<OpenBatch>>) -> Self {
        Self { position, open }
    }

    /// The position of the record.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Marks the record as done.
    pub fn done(mut self) {
        if let Some(open) = self.open.take() {
            open.progress.send_if_modified(|progress| progress.acknowledge(self.position));
        }
    }

    /// Reports that the record failed. A new processor receives it and every record after it that
    /// is not done, as often as the [policy](crate::config::FailurePolicy) allows.
    pub fn fail(mut self, error: impl Into<BoxError>) {
        let error: BoxError = error.into();
        self.failed(chain(&*error), false);
    }

    /// Reports that the record failed and has used up its attempts.
    pub(crate) fn fail_finally(mut self, error: String) {
        self.failed(error, true);
    }

    fn failed(&mut self, error: String, is_final: bool) {
        if let Some(open) = self.open.take() {
            let failure = AckFailure { position: self.position, error, is_final };
            open.progress.send_if_modified(|progress| progress.fail(failure));
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if self.open.is_some() {
            self.failed("its acknowledgement was dropped".to_owned(), false);
        }
    }
}

/// A batch that was delivered to a processor.
#[derive(Debug)]
pub(crate) struct DeliveredBatch {
    /// Shared with the consumer and the checkpointer.
    progress: watch::Sender<Progress>,
    /// Weak, so that a batch kept by the application does not hold its memory.
    memory: Weak<Reserved>,
    batch: UnfinishedBatch,
}

impl DeliveredBatch {
    pub(crate) const fn new(
        progress: watch::Sender<Progress>,
        memory: Weak<Reserved>,
        batch: UnfinishedBatch,
    ) -> Self {
        Self { progress, memory, batch }
    }

    /// Has each record wait for an acknowledgement of its own. Returns `None` if the records are
    /// detached or done already, or the ownership has ended.
    pub(crate) fn detach(&self, records: &[Record]) -> Option<Arc<OpenBatch>> {
        let positions = records.iter().map(|record| record.position);
        let is_new =
            self.progress.send_if_modified(|progress| progress.detach(positions, self.batch));
        let open = || OpenBatch { progress: self.progress.clone(), _memory: self.memory.upgrade() };
        is_new.then(|| Arc::new(open()))
    }

    /// Whether the record at `position` was detached, and it or one before it is not acknowledged.
    pub(crate) fn is_detached(&self, position: Position) -> bool {
        self.progress.borrow().is_detached(position)
    }
}

/// A batch with acknowledgements that are still to come. Each of them holds it.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    progress: watch::Sender<Progress>,
    /// Released with the last acknowledgement.
    _memory: Option<Arc<Reserved>>,
}
