//! Acknowledgements of single records: [`Ack`].

use std::sync::Arc;

use tokio::sync::watch;

use crate::BoxError;
use crate::decide::checkpointing::{AckFailure, Marks};
use crate::model::{Position, Record};
use crate::telemetry::chain;

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
    ledger: Option<Arc<Ledger>>,
}

impl Ack {
    pub(crate) const fn new(position: Position, ledger: Option<Arc<Ledger>>) -> Self {
        Self { position, ledger }
    }

    /// The record's position.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The record is done.
    pub fn done(mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.acknowledge(self.position);
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
        if let Some(ledger) = self.ledger.take() {
            ledger.fail(AckFailure { position: self.position, error, is_final });
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if self.ledger.is_some() {
            self.failed("its acknowledgement was dropped".to_owned(), false);
        }
    }
}

/// Where the acknowledgements of one processor's records are written down.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Shared with the consumer and the checkpointer.
    marks: watch::Sender<Marks>,
}

impl Ledger {
    pub(crate) const fn new(marks: watch::Sender<Marks>) -> Self {
        Self { marks }
    }

    /// Begins to wait for an acknowledgement of each record. Says whether it does.
    pub(crate) fn detach(&self, records: &[Record]) -> bool {
        let positions = records.iter().map(|record| record.position);
        self.marks.send_if_modified(|marks| marks.detach(positions))
    }

    /// Whether this record waits for those before it, or for an acknowledgement of its own.
    pub(crate) fn is_detached(&self, position: Position) -> bool {
        self.marks.borrow().is_detached(position)
    }

    fn acknowledge(&self, position: Position) {
        self.marks.send_if_modified(|marks| marks.acknowledge(position));
    }

    fn fail(&self, failure: AckFailure) {
        self.marks.send_if_modified(|marks| marks.fail(failure));
    }
}
