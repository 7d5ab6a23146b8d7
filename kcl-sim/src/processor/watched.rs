//! A wrapper that logs every call and every poll of a processor.

use std::future::poll_fn;
use std::pin::pin;

use kcl_core::model::Position;
use kcl_core::processor::ShardInfo;
use kcl_core::{
    BoxError, PartialFailure, ProcessorFactory, RecordBatch, RecordProcessor, ShardContext,
};

use crate::journal::{Entry, Journal, Ownership};

/// A factory whose processors are watched.
pub(crate) struct WatchedFactory<F> {
    inner: F,
    journal: Journal,
}

impl<F> WatchedFactory<F> {
    pub(crate) const fn new(inner: F, journal: Journal) -> Self {
        Self { inner, journal }
    }
}

impl<F: ProcessorFactory> ProcessorFactory for WatchedFactory<F> {
    type Processor = Watched<F::Processor>;

    fn create(&self, shard: &ShardContext) -> Self::Processor {
        let of = Ownership::of(shard.info());
        let (resume, pending) = (shard.resumed_from(), shard.pending().cloned());
        self.journal.log(Entry::Made { of: of.clone(), resume, pending });
        let journal = self.journal.clone();
        let end = LogsDrop { journal: journal.clone(), of: of.clone() };
        Watched { inner: self.inner.create(shard), journal, of, _end: end }
    }
}

/// A watched processor.
pub(crate) struct Watched<P> {
    inner: P,
    journal: Journal,
    of: Ownership,
    _end: LogsDrop,
}

/// Logs its own drop.
struct LogsDrop {
    journal: Journal,
    of: Ownership,
}

impl Drop for LogsDrop {
    fn drop(&mut self) {
        self.journal.log(Entry::Gone { of: self.of.clone() });
    }
}

/// Logs each poll of a processor's future.
async fn watch<T>(journal: &Journal, of: &Ownership, work: impl Future<Output = T> + Send) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        journal.log(Entry::Polled { of: of.clone() });
        work.as_mut().poll(context)
    })
    .await
}

/// Logs how a call ends: it returns, or its future is dropped.
struct LogsEnd<'a> {
    journal: &'a Journal,
    of: &'a Ownership,
    has_returned: bool,
}

impl<'a> LogsEnd<'a> {
    const fn of(journal: &'a Journal, of: &'a Ownership) -> Self {
        Self { journal, of, has_returned: false }
    }
}

impl Drop for LogsEnd<'_> {
    fn drop(&mut self) {
        let of = self.of.clone();
        let end = if self.has_returned { Entry::Returned { of } } else { Entry::Dropped { of } };
        self.journal.log(end);
    }
}

/// Logs each poll of a call's future, and how the call ends.
async fn call<T>(journal: &Journal, of: &Ownership, work: impl Future<Output = T> + Send) -> T {
    let mut end = LogsEnd::of(journal, of);
    let output = watch(journal, of, work).await;
    end.has_returned = true;
    output
}

/// Returns the records before the first one that failed.
fn before_failed(records: &[Position], error: &BoxError) -> Vec<Position> {
    let failed = error.downcast_ref::<PartialFailure>().map_or(&[][..], PartialFailure::failed);
    let first = records.iter().position(|record| failed.contains(record)).unwrap_or(0);
    records.iter().take(first).copied().collect()
}

impl<P: RecordProcessor> Watched<P> {
    fn called(&self, call: &'static str) {
        self.journal.log(Entry::Called { of: self.of.clone(), call });
    }
}

impl<P: RecordProcessor> RecordProcessor for Watched<P> {
    async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.called("initialize");
        call(&self.journal, &self.of, self.inner.initialize(shard)).await
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let records: Vec<_> = batch.iter().map(|record| record.position).collect();
        let (of, attempt) = (self.of.clone(), batch.attempt());
        let data = batch.iter().map(|record| record.data.clone()).collect();
        let delivered =
            Entry::Delivered { of: of.clone(), records: records.clone(), data, attempt };
        self.journal.log(delivered);
        let work = self.inner.process_records(batch.clone(), shard);
        match call(&self.journal, &self.of, work).await {
            Ok(()) if batch.is_detached() => self.journal.log(Entry::Detached { of }),
            Ok(()) => self.journal.log(Entry::Processed { of }),
            Err(error) => {
                for record in before_failed(&records, &error) {
                    self.journal.log(Entry::Done { of: of.clone(), record });
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn background(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        watch(&self.journal, &self.of, self.inner.background(shard)).await
    }

    async fn shard_ended(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.called("shard_ended");
        call(&self.journal, &self.of, self.inner.shard_ended(shard)).await
    }

    async fn shutdown_requested(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.called("shutdown_requested");
        call(&self.journal, &self.of, self.inner.shutdown_requested(shard)).await
    }

    async fn lease_lost(&mut self, shard: &ShardInfo) {
        self.called("lease_lost");
        let mut end = LogsEnd::of(&self.journal, &self.of);
        self.inner.lease_lost(shard).await;
        end.has_returned = true;
    }
}
