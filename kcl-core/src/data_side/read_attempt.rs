//! An attempt to read a shard, and what its reply means.

use futures::FutureExt as _;

use kcl_proto::consumer::read_size::{COPIES_DEFAULT, ReadRequest, RecordSize};
use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::model::{Moment, ShardFilter, ShardId, Timestamp};
use kcl_proto::shards::bootstrap;
use kcl_proto::shards::start_position::{RETENTION_MIN, Resume};
use kcl_proto::shards::successors::{self, Ended, Successors};

use crate::backend::{Fetched, ShardReader, SourceError};
use crate::data_side::parts::ReadParts;
use crate::memory::Reserved;
use crate::tasks::sleep::sleep_until;

/// A read that is to be made.
pub(super) struct DueRead {
    pub(super) resume: Resume,
    pub(super) when: Moment,
    pub(super) size: RecordSize,
    pub(super) lag: Option<Lag>,
}

/// An attempt to read, with everything that it returns to the reader.
pub(super) struct Attempt {
    pub(super) shard_reader: Option<Box<dyn ShardReader>>,
    pub(super) opened_at: Option<Timestamp>,
    pub(super) started: Moment,
    pub(super) started_at: Timestamp,
    /// When the reader had to wait for something to read, if it had to.
    pub(super) waited_at: Option<Timestamp>,
    pub(super) memory: Reserved,
    pub(super) outcome: Result<Reply, SourceError>,
}

pub(super) enum Reply {
    Fetched(Fetched),
    /// The reply announced the shard's end, and the shard is open.
    Unended(Fetched),
    /// The whole shard was trimmed, and these shards cover its hash keys.
    Trimmed(Successors),
}

impl Attempt {
    /// Reads once it is time, and opens a shard reader first if there is none.
    ///
    /// The future owns everything it needs, so it can run while the reader is used.
    pub(super) async fn start(
        parts: ReadParts,
        DueRead { resume, when, size, lag }: DueRead,
        mut shard_reader: Option<Box<dyn ShardReader>>,
    ) -> Self {
        sleep_until(&*parts.clock, when).await;
        let copies = shard_reader.as_ref().map_or(COPIES_DEFAULT, |reader| reader.copies());
        // Memory is reserved once it is known that there is something to read, and how much. Only a
        // reader that is about to be opened holds some while it waits.
        let Waited { ready, at: waited_at } = wait(&parts, shard_reader.as_mut()).await;
        let request = match ready {
            Ok(Some(bytes)) => ReadRequest::pushed(bytes, copies),
            Ok(None) | Err(_) => size.request(parts.config.retrieval.records_max, copies),
        };
        let asked = parts.clock.now();
        let memory = parts.memory.reserve(request).await;
        parts.series.waited_for_memory(parts.clock.now().since(asked));
        if is_trimmed_meanwhile(&parts, resume, lag).await {
            shard_reader = None; // Kinesis skips trimmed records silently: the seam shows it.
        }
        let (started, started_at) = (parts.clock.now(), parts.clock.time_of_day());
        let opened_at = shard_reader.is_none().then_some(started_at);
        let fetched = match ready {
            Ok(_) => read(&parts, resume, &mut shard_reader, memory.records()).await,
            Err(error) => Err(error),
        };
        let outcome = match fetched {
            Ok(fetched) if is_refuted(&parts, resume, &fetched).await => {
                Ok(Reply::Unended(Fetched { end: None, ..fetched }))
            }
            Ok(fetched) => Ok(Reply::Fetched(fetched)),
            Err(error @ SourceError::ShardMissing { .. }) => {
                successors(&parts, resume).await.map(Reply::Trimmed).ok_or(error)
            }
            Err(error) => Err(error),
        };
        Self { shard_reader, opened_at, started, started_at, waited_at, memory, outcome }
    }
}

/// That a reader is ready, or why it cannot be.
struct Waited {
    ready: Result<Option<u64>, SourceError>,
    /// When it was not ready yet: all that the service had sent was read.
    at: Option<Timestamp>,
}

/// Waits until a reader is ready. Without one nothing is known.
async fn wait(parts: &ReadParts, reader: Option<&mut Box<dyn ShardReader>>) -> Waited {
    let Some(reader) = reader else { return Waited { ready: Ok(None), at: None } };
    let now = parts.clock.time_of_day();
    let mut ready = reader.ready();
    match (&mut ready).now_or_never() {
        Some(ready) => Waited { ready, at: None },
        None => Waited { ready: ready.await, at: Some(now) },
    }
}

/// Whether records that were not read yet may have been trimmed since the last read.
async fn is_trimmed_meanwhile(parts: &ReadParts, resume: Resume, lag: Option<Lag>) -> bool {
    let now = parts.clock.time_of_day();
    let caught_up_at = resume.seam.and_then(|seam| seam.caught_up_at);
    let age = lag.map(|lag| lag.age(parts.clock.now()));
    if age.max(caught_up_at.map(|at| now.since(at))) >= Some(RETENTION_MIN / 2) {
        parts.retention.refresh(&*parts.source, &*parts.clock).await;
    }
    age > Some(parts.retention.get())
}

async fn read(
    parts: &ReadParts,
    resume: Resume,
    shard_reader: &mut Option<Box<dyn ShardReader>>,
    records_max: usize,
) -> Result<Fetched, SourceError> {
    let shard_reader = match shard_reader {
        Some(reader) => reader,
        None => {
            shard_reader.insert(parts.source.open(&parts.lease.key.shard(), resume.from).await?)
        }
    };
    shard_reader.read(records_max).await
}

/// Whether the list of shards refutes the end that a read announced.
async fn is_refuted(parts: &ReadParts, resume: Resume, fetched: &Fetched) -> bool {
    let Some(end) = &fetched.end else { return false };
    let shard = parts.lease.key.shard();
    let ended = ended(parts, &shard, resume);
    if successors::announced(&ended, &end.children).is_some() {
        return false;
    }
    let shards = parts.source.list_shards(ShardFilter::All).await;
    shards.is_ok_and(|shards| successors::is_open(&shard, &shards))
}

/// The shards that cover the hash keys of a trimmed shard, if the list of shards proves that.
async fn successors(parts: &ReadParts, resume: Resume) -> Option<Successors> {
    // In another stream of this name the shard has no successors.
    let description = parts.source.describe().await.ok()?;
    bootstrap::check(&parts.start, &description).ok()?;
    let shards = parts.source.list_shards(ShardFilter::All).await.ok()?;
    successors::listed(&ended(parts, &parts.lease.key.shard(), resume), &shards)
}

fn ended<'a>(parts: &'a ReadParts, id: &'a ShardId, resume: Resume) -> Ended<'a> {
    Ended {
        id,
        parents: &parts.lease.parents,
        hash_range: parts.lease.hash_range,
        reached: resume.seam.map(|seam| seam.done.sequence),
    }
}
