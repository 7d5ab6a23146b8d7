//! A processor under watch: every call and every poll of it stands in the journal.

use std::future::poll_fn;
use std::pin::pin;

use kcl_core::model::Position;
use kcl_core::processor::ShardInfo;
use kcl_core::{
    BoxError, PartialFailure, ProcessorFactory, RecordBatch, RecordProcessor, ShardContext,
};

use crate::journal::{Journal, Ownership, Said};
use crate::processor::ownership;

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
        let of = ownership(shard.info());
        let (resume, pending) = (shard.resumed_from(), shard.pending().cloned());
        self.journal.say(Said::Made { of: of.clone(), resume, pending });
        let journal = self.journal.clone();
        let end = SaysGone { journal: journal.clone(), of: of.clone() };
        Watched { inner: self.inner.create(shard), journal, of, _end: end }
    }
}

/// A processor that is watched.
pub(crate) struct Watched<P> {
    inner: P,
    journal: Journal,
    of: Ownership,
    _end: SaysGone,
}

/// Notes when it is dropped.
struct SaysGone {
    journal: Journal,
    of: Ownership,
}

impl Drop for SaysGone {
    fn drop(&mut self) {
        self.journal.say(Said::Gone { of: self.of.clone() });
    }
}

/// Notes each poll of a processor's future.
async fn watch<T>(journal: &Journal, of: &Ownership, work: impl Future<Output = T> + Send) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        journal.say(Said::Polled { of: of.clone() });
        work.as_mut().poll(context)
    })
    .await
}

/// Notes how a call ends: it returns, or its future is dropped.
struct SaysEnd<'a> {
    journal: &'a Journal,
    of: &'a Ownership,
    has_returned: bool,
}

impl<'a> SaysEnd<'a> {
    const fn of(journal: &'a Journal, of: &'a Ownership) -> Self {
        Self { journal, of, has_returned: false }
    }
}

impl Drop for SaysEnd<'_> {
    fn drop(&mut self) {
        let of = self.of.clone();
        let end = if self.has_returned { Said::Returned { of } } else { Said::Dropped { of } };
        self.journal.say(end);
    }
}

/// Notes each poll of a call's future, and how the call ends.
async fn call<T>(journal: &Journal, of: &Ownership, work: impl Future<Output = T> + Send) -> T {
    let mut end = SaysEnd::of(journal, of);
    let output = watch(journal, of, work).await;
    end.has_returned = true;
    output
}

/// The records that an error says are done.
fn before_the_failed(records: &[Position], error: &BoxError) -> Vec<Position> {
    let failed = error.downcast_ref::<PartialFailure>().map_or(&[][..], PartialFailure::failed);
    let first = records.iter().position(|record| failed.contains(record)).unwrap_or(0);
    records.iter().take(first).copied().collect()
}

impl<P: RecordProcessor> Watched<P> {
    fn called(&self, call: &'static str) {
        self.journal.say(Said::Called { of: self.of.clone(), call });
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
        let data = batch.iter().map(|record| record.data.clone()).collect();
        let (of, attempt) = (self.of.clone(), batch.attempt());
        let delivered = Said::Delivered { of: of.clone(), records: records.clone(), data, attempt };
        self.journal.say(delivered);
        let work = self.inner.process_records(batch.clone(), shard);
        match call(&self.journal, &self.of, work).await {
            Ok(()) if batch.is_detached() => self.journal.say(Said::Detached { of }),
            Ok(()) => self.journal.say(Said::Processed { of }),
            Err(error) => {
                for record in before_the_failed(&records, &error) {
                    self.journal.say(Said::Done { of: of.clone(), record });
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
        let mut end = SaysEnd::of(&self.journal, &self.of);
        self.inner.lease_lost(shard).await;
        end.has_returned = true;
    }
}
