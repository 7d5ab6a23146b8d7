//! A source of records whose calls are counted and timed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kcl_proto::model::{ReadFrom, Shard, ShardFilter, ShardId, StreamDescription};

use crate::backend::{Clock, Fetched, RecordSource, ShardReader, SourceError};
use crate::config::InvalidSetting;
use crate::metrics::registry::Registry;
use crate::metrics::shard_series::ShardSeries;

/// A source of records whose calls a registry counts.
#[derive(Debug)]
pub(crate) struct MeteredSource {
    source: Arc<dyn RecordSource>,
    registry: Arc<Registry>,
}

impl MeteredSource {
    pub(crate) const fn new(source: Arc<dyn RecordSource>, registry: Arc<Registry>) -> Self {
        Self { source, registry }
    }
}

fn outcome<T>(end: &Result<T, SourceError>) -> &'static str {
    match end {
        Ok(_) => "ok",
        Err(SourceError::Throttled { .. }) => "throttled",
        Err(_) => "error",
    }
}

#[async_trait]
impl RecordSource for MeteredSource {
    fn validate(&self) -> Vec<InvalidSetting> {
        self.source.validate()
    }

    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        let end = self.source.describe().await;
        self.registry.series.stream_called("describe", outcome(&end));
        if let Ok(description) = &end {
            self.registry.set_stream(&description.name);
        }
        end
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        let end = self.source.list_shards(filter).await;
        self.registry.series.stream_called("list_shards", outcome(&end));
        end
    }

    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError> {
        let Some(series) = self.registry.held(shard) else {
            return self.source.open(shard, from).await;
        };
        let clock = Arc::clone(&self.registry.clock);
        let began = clock.now();
        let end = self.source.open(shard, from).await;
        series.open_ended(outcome(&end), clock.now().since(began));
        Ok(Box::new(MeteredReader { reader: end?, series, clock }))
    }
}

/// A reader of one shard whose reads are counted.
#[derive(Debug)]
struct MeteredReader {
    reader: Box<dyn ShardReader>,
    series: Arc<ShardSeries>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl ShardReader for MeteredReader {
    fn copies(&self) -> u64 {
        self.reader.copies()
    }

    async fn ready(&mut self) -> Result<Option<u64>, SourceError> {
        let error = match self.reader.ready().await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => Err(error),
        };
        self.series.read_ended(&error, Duration::ZERO); // Waiting is no read.
        error.map(|_| None)
    }

    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        let began = self.clock.now();
        let end = self.reader.read(records_max).await;
        self.series.read_ended(&end, self.clock.now().since(began));
        end
    }
}
