//! Reads one shard, one batch ahead, and resumes where a reader failed.

use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;

use futures::future::BoxFuture;
use kcl_proto::consumer::read_pace::ReadDone;
use kcl_proto::consumer::read_size::RecordSize;
use kcl_proto::model::{Checkpoint, ChildShard, Moment, Position, Record, ShardFilter, Timestamp};
use kcl_proto::shards::bootstrap;
use kcl_proto::shards::start_position::Resume;
use kcl_proto::shards::successors::{self, Ended, Successors};

use crate::backend::{Fetched, ShardReader, SourceError};
use crate::config::LostDataPolicy;
use crate::data_side::deaggregate::Expander;
use crate::data_side::parts::ReadParts;
use crate::data_side::read_schedule::ReadSchedule;
use crate::memory::Reserved;
use crate::processor::RecordBatch;
use crate::report::event::Event;
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;

/// What comes next from a shard.
#[derive(Debug)]
pub(super) enum Next {
    /// Records to process.
    Batch(Batch),
    /// Everything before this time was read.
    CaughtUp(Timestamp),
    /// The shard is closed, and everything was read. Repeated on every call.
    End(Vec<ChildShard>),
    /// The shard is not read further. Repeated on every call.
    Unrecoverable(Unrecoverable),
}

/// Why a shard is not read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unrecoverable {
    /// This worker cannot read it. Another one may be able to, or this one later.
    Unreadable,
    /// Records were lost, and the policy is to stop.
    LostData,
}

/// Records that were read together.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) records: RecordBatch,
    /// When these were the last records of the shard, or `None` if more followed.
    pub(super) caught_up_at: Option<Timestamp>,
    pub(super) read_at: Moment,
    /// The memory that the records hold until they are done.
    pub(super) memory: Arc<Reserved>,
}

/// Reads one shard. Holds at most one batch.
pub(super) struct Reader {
    parts: ReadParts,
    resume: Resume,
    /// Whether the next records are known to follow `resume` without a gap.
    is_seamless: bool,
    /// When the first shard reader was opened.
    opened_at: Option<Timestamp>,
    shard_reader: Option<Box<dyn ShardReader>>,
    attempt: Option<BoxFuture<'static, Attempt>>,
    schedule: ReadSchedule,
    size: RecordSize,
    expander: Expander,
    rest: Option<RestOfReply>,
    ready: Ready,
}

/// What was read and not taken.
#[derive(Debug, Default)]
struct Ready {
    caught_up_at: Option<Timestamp>,
    batch: Option<Batch>,
    unrecoverable: Option<Unrecoverable>,
    end: Option<Vec<ChildShard>>,
}

/// The part of a reply that is not expanded.
#[derive(Debug)]
struct RestOfReply {
    records: IntoIter<Record>,
    behind_latest: Option<Duration>,
    read_at: Moment,
    memory: Arc<Reserved>,
    /// The last position of the reply, or `None` if it has no records.
    last: Option<Position>,
    caught_up_at: Option<Timestamp>,
    end: Option<Vec<ChildShard>>,
}

/// An attempt to read, with everything that it returns to the reader.
struct Attempt {
    shard_reader: Option<Box<dyn ShardReader>>,
    opened_at: Option<Timestamp>,
    started: Moment,
    started_at: Timestamp,
    memory: Reserved,
    outcome: Result<Reply, SourceError>,
}

enum Reply {
    Fetched(Fetched),
    /// The whole shard was trimmed, and these shards cover its hash keys.
    Trimmed(Successors),
}

impl Ready {
    /// Whether nothing is left to read before something is taken.
    const fn is_filled(&self) -> bool {
        self.batch.is_some() || self.end.is_some() || self.unrecoverable.is_some()
    }

    fn take(&mut self) -> Option<Next> {
        // It precedes the read that returned the batch.
        if let Some(at) = self.caught_up_at.take() {
            return Some(Next::CaughtUp(at));
        }
        if let Some(batch) = self.batch.take() {
            return Some(Next::Batch(batch));
        }
        if let Some(reason) = self.unrecoverable {
            return Some(Next::Unrecoverable(reason));
        }
        self.end.clone().map(Next::End)
    }
}

impl Reader {
    pub(super) fn new(parts: ReadParts, resume: Resume) -> Self {
        let schedule = ReadSchedule::new(parts.config.retrieval.poll_every, parts.clock.now());
        let expander = Expander::new(&parts.config.retrieval, &parts.lease);
        Self {
            parts,
            resume,
            is_seamless: false,
            opened_at: None,
            shard_reader: None,
            attempt: None,
            schedule,
            size: RecordSize::default(),
            expander,
            rest: None,
            ready: Ready::default(),
        }
    }

    /// A reader that resumes elsewhere, at the pace of this one.
    pub(super) fn restarted(&mut self, parts: ReadParts, resume: Resume) -> Self {
        let schedule = self.schedule.restarted(self.attempt.is_some(), self.parts.clock.now());
        let (opened_at, size) = (self.opened_at, self.size);
        let resume = opened_at.map_or(resume, |opened_at| resume.again(opened_at));
        Self { opened_at, schedule, size, ..Self::new(parts, resume) }
    }

    /// Takes what comes next, in order, or `None` if it has to be read.
    pub(super) fn take(&mut self) -> Option<Next> {
        self.ready.take()
    }

    /// Reads until a batch or the end is there.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn read_ahead(&mut self) {
        while !self.ready.is_filled() {
            self.step().await;
        }
    }

    /// Expands more of the last reply, or reads once when it is time. The result can be
    /// [taken](Self::take) afterwards.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn step(&mut self) {
        if let Some(mut rest) = self.rest.take() {
            let records = self.expand(&mut rest.records);
            return self.add(records, rest);
        }
        let attempt = match &mut self.attempt {
            Some(attempt) => attempt,
            None => {
                let attempt = Attempt::start(
                    self.parts.clone(),
                    self.resume,
                    self.schedule.next(),
                    self.size,
                    self.shard_reader.take(),
                );
                self.attempt.insert(Box::pin(attempt))
            }
        };
        let mut attempt = attempt.await;
        self.attempt = None;
        self.opened_at = self.opened_at.or(attempt.opened_at);
        self.shard_reader = attempt.shard_reader.take();
        match attempt.outcome {
            Ok(Reply::Fetched(fetched)) => {
                let Attempt { started, started_at, memory, .. } = attempt;
                self.fetched(fetched, started, started_at, memory);
            }
            Ok(Reply::Trimmed(successors)) => self.trimmed(successors),
            Err(error) => self.failed(&error),
        }
    }

    fn fetched(
        &mut self,
        fetched: Fetched,
        started: Moment,
        started_at: Timestamp,
        mut memory: Reserved,
    ) {
        let is_caught_up = fetched.is_caught_up();
        let read = ReadDone { started, bytes: bytes(&fetched), is_caught_up };
        self.schedule.succeeded(read, self.parts.clock.now());
        let count = fetched.records.len();
        let first = fetched.records.first().map(|record| record.position);
        if !self.is_seamless && (first.is_some() || is_caught_up) {
            self.check_seam(first);
            if self.ready.unrecoverable.is_some() {
                return;
            }
        }
        let last = fetched.records.last().map(|record| Position::of(record.position.sequence));
        let mut left = fetched.records.into_iter();
        let records = self.expand(&mut left);
        // The next batch is expanded while this one is in hand.
        let batches = if left.as_slice().is_empty() { 1 } else { 2 };
        let needed = read.bytes + batches * footprint(&records);
        self.size.observe(count, read.bytes, needed);
        memory.settle(needed);
        let rest = RestOfReply {
            records: left,
            behind_latest: fetched.behind_latest,
            read_at: started,
            memory: Arc::new(memory),
            last,
            caught_up_at: is_caught_up.then_some(started_at),
            end: fetched.end.map(|closed| closed.children),
        };
        self.add(records, rest);
    }

    /// The records of the next batch: a few aggregates may hold a hundred thousand user records.
    fn expand(&mut self, left: &mut IntoIter<Record>) -> Vec<Record> {
        let ReadParts { lease, events, config, .. } = &self.parts;
        self.expander.expand(left, config.retrieval.records_max, lease, events)
    }

    /// Adds the next records of a reply, and keeps the rest of it.
    fn add(&mut self, mut records: Vec<Record>, rest: RestOfReply) {
        let is_last = rest.records.as_slice().is_empty();
        let (caught_up_at, reached) =
            if is_last { (rest.caught_up_at, rest.last) } else { (None, None) };
        if let Some(seam) = self.resume.seam {
            seam.drop_done(&mut records);
        }
        let last = records.last().map(|record| record.position);
        self.resume = self.resume.reached(last.max(reached), caught_up_at);
        if records.is_empty() {
            self.ready.caught_up_at = caught_up_at;
        } else {
            let RestOfReply { behind_latest, read_at, ref memory, .. } = rest;
            let (records, memory) = (RecordBatch::new(records, behind_latest), Arc::clone(memory));
            self.ready.batch = Some(Batch { records, caught_up_at, read_at, memory });
        }
        if is_last {
            self.ready.end = rest.end;
        } else {
            self.rest = Some(rest);
        }
    }

    /// Checks whether records were trimmed before `first`, the first one that is left.
    fn check_seam(&mut self, first: Option<Position>) {
        self.is_seamless = true;
        let now = self.parts.clock.time_of_day();
        let sequence = first.map(|first| first.sequence);
        let Some(seam) = self.resume.seam else { return };
        if seam.is_torn(sequence, self.parts.retention, now) {
            let to = first.map_or(Checkpoint::Latest, Checkpoint::After);
            self.data_lost(Checkpoint::After(seam.done), to, seam.caught_up_at);
        }
    }

    fn trimmed(&mut self, successors: Successors) {
        let (Successors::Children(children) | Successors::Descendants(children)) = successors;
        let now = self.parts.clock.time_of_day();
        match self.resume.seam {
            None => self.data_lost(self.parts.lease.checkpoint, Checkpoint::ShardEnd, None),
            Some(seam) if seam.is_torn(None, self.parts.retention, now) => {
                let from = Checkpoint::After(seam.done);
                self.data_lost(from, Checkpoint::ShardEnd, seam.caught_up_at);
            }
            Some(_) => {}
        }
        self.ready.end = Some(children);
    }

    fn data_lost(&mut self, from: Checkpoint, to: Checkpoint, caught_up_at: Option<Timestamp>) {
        let shard = self.parts.lease.key.shard();
        self.parts.events.emit(&Event::DataLost { shard, from, to, caught_up_at });
        self.ready.unrecoverable = match self.parts.config.delivery.lost_data {
            LostDataPolicy::Continue => None,
            LostDataPolicy::Stop => Some(Unrecoverable::LostData),
        };
    }

    fn failed(&mut self, error: &SourceError) {
        let now = self.parts.clock.now();
        let failure = if matches!(error, SourceError::Throttled { .. }) {
            self.schedule.throttled(self.parts.chance.draw(), now)
        } else {
            self.shard_reader = None;
            self.is_seamless = false;
            if let Some(opened_at) = self.opened_at {
                self.resume = self.resume.again(opened_at);
            }
            self.schedule.failed(error, || self.parts.chance.draw(), now)
        };
        if failure.is_unreadable {
            self.ready.unrecoverable = Some(Unrecoverable::Unreadable);
        }
        if let Some(retry_in) = failure.retry_in {
            let (shard, error) = (self.parts.lease.key.shard(), chain(error));
            self.parts.events.emit(&Event::FetchFailed { shard, error, retry_in });
        }
    }
}

impl Attempt {
    /// Reads once at `when`, and opens a shard reader first if there is none.
    ///
    /// The future owns everything it needs, so it can run while the reader is used.
    async fn start(
        parts: ReadParts,
        resume: Resume,
        when: Moment,
        size: RecordSize,
        mut shard_reader: Option<Box<dyn ShardReader>>,
    ) -> Self {
        sleep_until(&*parts.clock, when).await;
        let memory = parts.memory.reserve(size.request(parts.config.retrieval.records_max)).await;
        let (started, started_at) = (parts.clock.now(), parts.clock.time_of_day());
        let opened_at = shard_reader.is_none().then_some(started_at);
        let outcome = match read(&parts, resume, &mut shard_reader, memory.records()).await {
            Ok(fetched) => Ok(Reply::Fetched(fetched)),
            Err(error @ SourceError::ShardMissing { .. }) => {
                successors(&parts, resume).await.map(Reply::Trimmed).ok_or(error)
            }
            Err(error) => Err(error),
        };
        Self { shard_reader, opened_at, started, started_at, memory, outcome }
    }
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

/// The shards that cover the hash keys of a trimmed shard, if the list of shards proves that.
async fn successors(parts: &ReadParts, resume: Resume) -> Option<Successors> {
    // In another stream of this name the shard has no successors.
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

fn bytes(fetched: &Fetched) -> u64 {
    let bytes = fetched
        .records
        .iter()
        .map(|record| record.data.len() + record.partition_key.as_str().len())
        .sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The memory of records, without their data and keys.
fn footprint(records: &[Record]) -> u64 {
    u64::try_from(size_of_val(records)).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("shard", &self.parts.lease.key)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}
