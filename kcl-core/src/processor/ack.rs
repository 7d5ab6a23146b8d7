//! Acknowledgements of single records: [`Ack`].

use std::sync::{Arc, Weak};

use kcl_proto::consumer::checkpointing::{AckFailure, Marks};
use kcl_proto::consumer::under_way::Delivered;
use kcl_proto::model::{Position, Record};
use tokio::sync::watch;

use crate::BoxError;
use crate::memory::Reserved;
use crate::report::log::chain;

/// Says that one record is done, from wherever that becomes known.
///
/// Dropping it without a word is a failure of the record. Once the ownership of the shard is over it
/// does nothing: the next owner gets the record again.
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
#[must_use = "an acknowledgement that is dropped is a failure"]
pub struct Ack {
    position: Position,
    /// None once it said its word, or where nobody listens.
    detached: Option<Arc<Detached>>,
}

impl Ack {
    pub(crate) const fn new(position: Position, detached: Option<Arc<Detached>>) -> Self {
        Self { position, detached }
    }

    /// The record's position.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The record is done.
    pub fn done(mut self) {
        if let Some(detached) = self.detached.take() {
            detached.acknowledge(self.position);
        }
    }

    /// The record failed. A new processor gets it, and what is not done after it, again, as often as
    /// the [policy](crate::config::FailurePolicy) says.
    pub fn fail(mut self, error: impl Into<BoxError>) {
        let error: BoxError = error.into();
        self.failed(chain(&*error), false);
    }

    /// The record failed, and its attempts are used up.
    pub(crate) fn give_up(mut self, error: String) {
        self.failed(error, true);
    }

    fn failed(&mut self, error: String, is_final: bool) {
        if let Some(detached) = self.detached.take() {
            detached.fail(AckFailure { position: self.position, error, is_final });
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if self.detached.is_some() {
            self.failed("its acknowledgement was dropped".to_owned(), false);
        }
    }
}

/// Where the acknowledgements of one batch are written down.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Shared with the consumer and the checkpointer.
    marks: watch::Sender<Marks>,
    /// What the batch takes. A batch that the application keeps does not hold it.
    memory: Weak<Reserved>,
    delivered: Delivered,
}

impl Ledger {
    pub(crate) const fn new(
        marks: watch::Sender<Marks>,
        memory: Weak<Reserved>,
        delivered: Delivered,
    ) -> Self {
        Self { marks, memory, delivered }
    }

    /// Begins to wait for an acknowledgement of each record; none if nobody waits for them.
    pub(crate) fn detach(&self, records: &[Record]) -> Option<Arc<Detached>> {
        let positions = records.iter().map(|record| record.position);
        let is_new = self.marks.send_if_modified(|marks| marks.detach(positions, self.delivered));
        let detached = || Detached { marks: self.marks.clone(), _memory: self.memory.upgrade() };
        is_new.then(|| Arc::new(detached()))
    }

    /// Whether this record waits for those before it, or for an acknowledgement of its own.
    pub(crate) fn is_detached(&self, position: Position) -> bool {
        self.marks.borrow().is_detached(position)
    }
}

/// The records of one batch that are acknowledged one by one. Each acknowledgement holds it until it
/// says its word.
#[derive(Debug)]
pub(crate) struct Detached {
    marks: watch::Sender<Marks>,
    /// What the batch takes: given back with the last acknowledgement.
    _memory: Option<Arc<Reserved>>,
}

impl Detached {
    fn acknowledge(&self, position: Position) {
        self.marks.send_if_modified(|marks| marks.acknowledge(position));
    }

    fn fail(&self, failure: AckFailure) {
        self.marks.send_if_modified(|marks| marks.fail(failure));
    }
}
