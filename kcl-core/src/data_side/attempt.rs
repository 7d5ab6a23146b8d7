//! One attempt to read a shard: waits for its time and for memory, opens a reader if there is none, and
//! looks who goes on with a shard that is gone.

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::consumer::read_size::RecordSize;
use kcl_proto::model::{Lease, Moment, ShardFilter, StreamStart, Timestamp};
use kcl_proto::shards::bootstrap;
use kcl_proto::shards::start_position::Resume;
use kcl_proto::shards::successors::{self, Ended, Successors};

use crate::backend::Clock;
use crate::backend::{Fetched, RecordSource, ShardReader, SourceError};
use crate::config::WorkerConfig;
use crate::memory::{MemoryShare, Reserved};
use crate::report::log::Events;
use crate::tasks::chance::Chance;
use crate::tasks::sleep::sleep_until;

/// What the fetch of a shard needs.
#[derive(Clone, Debug)]
pub(super) struct FetchParts {
    pub(super) source: Arc<dyn RecordSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Events,
    pub(super) chance: Arc<Chance>,
    pub(super) config: Arc<WorkerConfig>,
    pub(super) memory: MemoryShare,
    pub(super) lease: Arc<Lease>,
    pub(super) start: Arc<StreamStart>,
    pub(super) retention: Duration,
}

/// One attempt to read, and what it gives back.
pub(super) struct Attempt {
    pub(super) reader: Option<Box<dyn ShardReader>>,
    pub(super) opened_at: Option<Timestamp>,
    pub(super) started: Moment,
    pub(super) started_at: Timestamp,
    pub(super) memory: Reserved,
    pub(super) outcome: Result<Brought, SourceError>,
}

pub(super) enum Brought {
    Fetched(Fetched),
    /// The whole shard was trimmed, and these go on with its hash keys.
    Trimmed(Successors),
}

/// Reads once at `when`, with a reader opened first if there is none. It owns what it needs, so that
/// it can go on while others look at the fetch.
pub(super) async fn attempt(
    parts: FetchParts,
    resume: Resume,
    (when, size): (Moment, RecordSize),
    mut reader: Option<Box<dyn ShardReader>>,
) -> Attempt {
    sleep_until(&*parts.clock, when).await;
    let memory = parts.memory.reserve(size.want(parts.config.retrieval.records_max)).await;
    let (started, started_at) = (parts.clock.now(), parts.clock.time_of_day());
    let opened_at = reader.is_none().then_some(started_at);
    let outcome = match read(&parts, resume, &mut reader, memory.records()).await {
        Ok(fetched) => Ok(Brought::Fetched(fetched)),
        Err(error @ SourceError::ShardMissing { .. }) => {
            successors(&parts, resume).await.map(Brought::Trimmed).ok_or(error)
        }
        Err(error) => Err(error),
    };
    Attempt { reader, opened_at, started, started_at, memory, outcome }
}

async fn read(
    parts: &FetchParts,
    resume: Resume,
    reader: &mut Option<Box<dyn ShardReader>>,
    records_max: usize,
) -> Result<Fetched, SourceError> {
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(parts.source.open(&parts.lease.key.shard(), resume.from).await?),
    };
    reader.read(records_max).await
}

/// Who goes on with a shard that does not exist any more, if the list of shards proves that.
async fn successors(parts: &FetchParts, resume: Resume) -> Option<Successors> {
    // In another stream under this name the shard has no successors, whatever is listed.
    let description = parts.source.describe().await.ok()?;
    bootstrap::check(&parts.start, &description).ok()?;
    let shards = parts.source.list_shards(ShardFilter::All).await.ok()?;
    let ended = Ended {
        id: &parts.lease.key.shard(),
        parents: &parts.lease.parents,
        hash_range: parts.lease.hash_range,
        reached: resume.seam.map(|seam| seam.done.sequence),
    };
    successors::listed(&ended, &shards)
}
