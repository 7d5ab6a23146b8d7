//! Hides the processor's type, so that the engine has no type parameter.

use std::fmt;

use futures::future::BoxFuture;
use kcl_proto::model::ShardInfo;

use crate::BoxError;
use crate::config::{DeliveryConfig, InvalidSetting};
use crate::processor::RecordBatch;
use crate::processor::ShardContext;
use crate::processor::{ProcessorFactory, RecordProcessor};

/// [`RecordProcessor`], object-safe.
pub(crate) trait ErasedProcessor: Send {
    fn initialize<'a>(&'a mut self, shard: &'a ShardContext)
    -> BoxFuture<'a, Result<(), BoxError>>;
    fn process_records<'a>(
        &'a mut self,
        batch: RecordBatch,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
    fn background<'a>(&'a mut self, shard: &'a ShardContext)
    -> BoxFuture<'a, Result<(), BoxError>>;
    fn shard_ended<'a>(
        &'a mut self,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
    fn shutdown_requested<'a>(
        &'a mut self,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
    fn lease_lost<'a>(&'a mut self, shard: &'a ShardInfo) -> BoxFuture<'a, ()>;
}

impl<P: RecordProcessor> ErasedProcessor for P {
    fn initialize<'a>(
        &'a mut self,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RecordProcessor::initialize(self, shard))
    }

    fn process_records<'a>(
        &'a mut self,
        batch: RecordBatch,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RecordProcessor::process_records(self, batch, shard))
    }

    fn background<'a>(
        &'a mut self,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RecordProcessor::background(self, shard))
    }

    fn shard_ended<'a>(
        &'a mut self,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RecordProcessor::shard_ended(self, shard))
    }

    fn shutdown_requested<'a>(
        &'a mut self,
        shard: &'a ShardContext,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(RecordProcessor::shutdown_requested(self, shard))
    }

    fn lease_lost<'a>(&'a mut self, shard: &'a ShardInfo) -> BoxFuture<'a, ()> {
        Box::pin(RecordProcessor::lease_lost(self, shard))
    }
}

/// [`ProcessorFactory`], object-safe.
pub(crate) trait ErasedFactory: Send + Sync {
    fn create(&self, shard: &ShardContext) -> Box<dyn ErasedProcessor>;
    fn validate(&self, delivery: &DeliveryConfig) -> Vec<InvalidSetting>;
}

impl<F: ProcessorFactory> ErasedFactory for F {
    fn create(&self, shard: &ShardContext) -> Box<dyn ErasedProcessor> {
        Box::new(ProcessorFactory::create(self, shard))
    }

    fn validate(&self, delivery: &DeliveryConfig) -> Vec<InvalidSetting> {
        ProcessorFactory::validate(self, delivery)
    }
}

impl fmt::Debug for dyn ErasedFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessorFactory")
    }
}

impl fmt::Debug for dyn ErasedProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordProcessor")
    }
}
