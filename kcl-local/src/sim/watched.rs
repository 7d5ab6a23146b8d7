//! A processor under watch: every call and every poll of it stands in the journal.

use std::future::poll_fn;
use std::pin::pin;

use kcl_core::context::{ShardContext, ShardInfo};
use kcl_core::{BoxError, ProcessorFactory, RecordBatch, RecordProcessor};

use super::journal::{Journal, Ownership, Said};

/// A factory whose processors are watched.
pub(super) struct WatchedFactory<F> {
    inner: F,
    journal: Journal,
}

impl<F> WatchedFactory<F> {
    pub(super) const fn new(inner: F, journal: Journal) -> Self {
        Self { inner, journal }
    }
}

impl<F: ProcessorFactory> ProcessorFactory for WatchedFactory<F> {
    type Processor = Watched<F::Processor>;

    fn create(&self, shard: &ShardContext) -> Self::Processor {
        let of = ownership(shard.info());
        self.journal.say(Said::Made { of: of.clone(), resume: shard.resumed_from() });
        Watched { inner: self.inner.create(shard), journal: self.journal.clone(), of }
    }
}

fn ownership(shard: &ShardInfo) -> Ownership {
    Ownership { shard: shard.shard_id.clone(), token: shard.token.get() }
}

/// A processor that is watched.
pub(super) struct Watched<P> {
    inner: P,
    journal: Journal,
    of: Ownership,
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

impl<P: RecordProcessor> Watched<P> {
    fn called(&self, call: &'static str) {
        self.journal.say(Said::Called { of: self.of.clone(), call });
    }
}

impl<P: RecordProcessor> RecordProcessor for Watched<P> {
    async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.called("initialize");
        watch(&self.journal, &self.of, self.inner.initialize(shard)).await
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let records = batch.iter().map(|record| record.position).collect();
        let (of, attempt) = (self.of.clone(), batch.attempt());
        self.journal.say(Said::Delivered { of: of.clone(), records, attempt });
        let end = watch(&self.journal, &self.of, self.inner.process_records(batch, shard)).await;
        if end.is_ok() {
            self.journal.say(Said::Processed { of });
        }
        end
    }

    async fn shard_ended(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.called("shard_ended");
        watch(&self.journal, &self.of, self.inner.shard_ended(shard)).await
    }

    async fn shutdown_requested(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.called("shutdown_requested");
        watch(&self.journal, &self.of, self.inner.shutdown_requested(shard)).await
    }

    async fn lease_lost(&mut self, shard: &ShardInfo) {
        self.called("lease_lost");
        self.inner.lease_lost(shard).await;
    }
}
