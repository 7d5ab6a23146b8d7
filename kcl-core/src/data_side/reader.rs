//! Reads one shard at its pace, one batch ahead, and goes on where a reader failed.

use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;

use futures::future::BoxFuture;
use kcl_proto::consumer::backoff;
use kcl_proto::consumer::read_pace::{Pace, ReadDone};
use kcl_proto::consumer::read_size::RecordSize;
use kcl_proto::model::{
    Checkpoint, ChildShard, Lease, Moment, Position, Record, ShardFilter, StreamStart, Timestamp,
};
use kcl_proto::shards::bootstrap;
use kcl_proto::shards::start_position::Resume;
use kcl_proto::shards::successors::{self, Ended, Successors};

use crate::backend::{Clock, Fetched, RecordSource, ShardReader, SourceError};
use crate::config::{LostDataPolicy, WorkerConfig};
use crate::data_side::deaggregate::Expander;
use crate::memory::{MemoryShare, Reserved};
use crate::processor::RecordBatch;
use crate::report::event::Event;
use crate::report::log::{Events, chain};
use crate::tasks::chance::Chance;
use crate::tasks::sleep::sleep_until;

/// The shortest and longest pause after a read failed for a reason that may pass.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The same for a reason that somebody has to mend.
const PAUSES_REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How many throttled reads in a row are told about once. Fewer are everyday life.
const THROTTLED_TOLD_EVERY: u32 = 10;

/// What there is to do next with a shard.
#[derive(Debug)]
pub(super) enum Next {
    /// Records to be processed.
    Batch(Batch),
    /// At this time nothing was left to read: what came before is all there was.
    CaughtUp(Timestamp),
    /// The shard is closed, and everything was read. Told again each time it is asked.
    End(Vec<ChildShard>),
    /// The shard is not read on. Told again each time it is asked.
    Hopeless(Hopeless),
}

/// Why a shard is not read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hopeless {
    /// It cannot be read here: another worker may be able to, or this one later.
    Unreadable,
    /// Records were lost, and the policy is to stop.
    LostData,
}

/// Records, and whether they reach up to the end.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) records: RecordBatch,
    /// When these were the last records of the shard, if they were.
    pub(super) caught_up_at: Option<Timestamp>,
    pub(super) read_at: Moment,
    /// What the records take until they are done.
    pub(super) memory: Arc<Reserved>,
}

/// Reads one shard. Holds at most one batch.
pub(super) struct Fetch {
    parts: FetchParts,
    resume: Resume,
    /// Whether the records after `resume` are known to follow without a gap.
    is_seamless: bool,
    /// When the first reader was opened.
    opened_at: Option<Timestamp>,
    reader: Option<Box<dyn ShardReader>>,
    attempt: Option<BoxFuture<'static, Attempt>>,
    expander: Expander,
    pace: Pace,
    size: RecordSize,
    next_read: Moment,
    failing: Option<Failing>,
    throttled: u32,
    batch: Option<Batch>,
    unexpanded: Option<Unexpanded>,
    caught_up_at: Option<Timestamp>,
    end: Option<Vec<ChildShard>>,
    hopeless: Option<Hopeless>,
}

/// What is left of a reply.
#[derive(Debug)]
struct Unexpanded {
    records: IntoIter<Record>,
    behind_latest: Option<Duration>,
    read_at: Moment,
    memory: Arc<Reserved>,
    /// Where the reply ends, if it has records.
    last: Option<Position>,
    caught_up_at: Option<Timestamp>,
    end: Option<Vec<ChildShard>>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Moment,
    tries: u32,
}

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

impl Fetch {
    pub(super) fn new(parts: FetchParts, resume: Resume) -> Self {
        let next_read = parts.clock.now();
        let pace = Pace::new(parts.config.retrieval.poll_every);
        let expander = Expander::new(&parts.config.retrieval, &parts.lease);
        Self {
            parts,
            resume,
            is_seamless: false,
            opened_at: None,
            reader: None,
            attempt: None,
            expander,
            pace,
            size: RecordSize::default(),
            next_read,
            failing: None,
            throttled: 0,
            batch: None,
            unexpanded: None,
            caught_up_at: None,
            end: None,
            hopeless: None,
        }
    }

    /// One that reads from elsewhere, at the pace of this one.
    pub(super) fn again(&mut self, parts: FetchParts, resume: Resume) -> Self {
        if self.attempt.is_some() {
            // It may have been sent, and the service counts it.
            self.next_read = self.pace.after_lost(self.parts.clock.now());
        }
        let Self { opened_at, size, next_read, .. } = *self;
        let resume = opened_at.map_or(resume, |opened_at| resume.again(opened_at));
        let pace = self.pace.clone();
        Self { opened_at, pace, size, next_read, ..Self::new(parts, resume) }
    }

    /// Takes what is there to be done, in order.
    pub(super) fn take(&mut self) -> Option<Next> {
        // Its time is before that of the batch's read.
        if let Some(at) = self.caught_up_at.take() {
            return Some(Next::CaughtUp(at));
        }
        if let Some(batch) = self.batch.take() {
            return Some(Next::Batch(batch));
        }
        if let Some(why) = self.hopeless {
            return Some(Next::Hopeless(why));
        }
        self.end.clone().map(Next::End)
    }

    /// Reads until a batch or the end is there, then never again.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn fill(&mut self) {
        while self.batch.is_none() && self.end.is_none() && self.hopeless.is_none() {
            self.step().await;
        }
    }

    /// Goes on with what was read, or reads once, when it is time. What that brings is there to be
    /// [taken](Self::take) then.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn step(&mut self) {
        if let Some(mut unexpanded) = self.unexpanded.take() {
            let records = self.expand(&mut unexpanded.records);
            return self.bring(records, unexpanded);
        }
        let attempt = match &mut self.attempt {
            Some(attempt) => attempt,
            None => {
                let reader = self.reader.take();
                self.attempt.insert(Box::pin(attempt(
                    self.parts.clone(),
                    self.resume,
                    (self.next_read, self.size),
                    reader,
                )))
            }
        };
        let done = attempt.await;
        self.attempt = None;
        self.opened_at = self.opened_at.or(done.opened_at);
        self.reader = done.reader;
        match done.outcome {
            Ok(Brought::Fetched(fetched)) => {
                self.take_in(fetched, (done.started, done.started_at), done.memory);
            }
            Ok(Brought::Trimmed(successors)) => self.trimmed(successors),
            Err(error) => self.failed(&error),
        }
    }

    fn take_in(
        &mut self,
        fetched: Fetched,
        (started, started_at): (Moment, Timestamp),
        mut memory: Reserved,
    ) {
        (self.failing, self.throttled) = (None, 0);
        let is_caught_up = fetched.is_caught_up();
        let read = ReadDone { started, bytes: bytes(&fetched), is_caught_up };
        self.next_read = self.pace.after_read(read, self.parts.clock.now());
        let count = fetched.records.len();
        let first = fetched.records.first().map(|record| record.position);
        if !self.is_seamless && (first.is_some() || is_caught_up) {
            self.look_for_gap(first);
            if self.hopeless.is_some() {
                return;
            }
        }
        let last = fetched.records.last().map(|record| Position::of(record.position.sequence));
        let mut left = fetched.records.into_iter();
        let records = self.expand(&mut left);
        // While a batch is in hand, the next one is there.
        let batches = if left.as_slice().is_empty() { 1 } else { 2 };
        let needed = read.bytes + batches * footprint(&records);
        self.size.observe(count, read.bytes, needed);
        memory.settle(needed);
        let unexpanded = Unexpanded {
            records: left,
            behind_latest: fetched.behind_latest,
            read_at: started,
            memory: Arc::new(memory),
            last,
            caught_up_at: is_caught_up.then_some(started_at),
            end: fetched.end.map(|closed| closed.children),
        };
        self.bring(records, unexpanded);
    }

    /// The records of the next batch: a few aggregates may be a hundred thousand user records.
    fn expand(&mut self, left: &mut IntoIter<Record>) -> Vec<Record> {
        let FetchParts { lease, events, config, .. } = &self.parts;
        self.expander.expand(left, config.retrieval.records_max, lease, events)
    }

    /// Takes in the next records of a reply, and what is left of it after them.
    fn bring(&mut self, mut records: Vec<Record>, unexpanded: Unexpanded) {
        let is_last = unexpanded.records.as_slice().is_empty();
        let (caught_up_at, reached) =
            if is_last { (unexpanded.caught_up_at, unexpanded.last) } else { (None, None) };
        if let Some(seam) = self.resume.seam {
            seam.drop_done(&mut records);
        }
        let last = records.last().map(|record| record.position);
        self.resume = self.resume.reached(last.max(reached), caught_up_at);
        if records.is_empty() {
            self.caught_up_at = caught_up_at;
        } else {
            let Unexpanded { behind_latest, read_at, ref memory, .. } = unexpanded;
            let (records, memory) = (RecordBatch::new(records, behind_latest), Arc::clone(memory));
            self.batch = Some(Batch { records, caught_up_at, read_at, memory });
        }
        if is_last {
            self.end = unexpanded.end;
        } else {
            self.unexpanded = Some(unexpanded);
        }
    }

    /// Looks whether records were trimmed before the `first` one that is left.
    fn look_for_gap(&mut self, first: Option<Position>) {
        self.is_seamless = true;
        let now = self.parts.clock.time_of_day();
        let sequence = first.map(|first| first.sequence);
        let Some(seam) = self.resume.seam else { return };
        if seam.is_torn(sequence, self.parts.retention, now) {
            let to = first.map_or(Checkpoint::Latest, Checkpoint::After);
            self.lost(Checkpoint::After(seam.done), to, seam.caught_up_at);
        }
    }

    fn trimmed(&mut self, successors: Successors) {
        let (Successors::Children(children) | Successors::Descendants(children)) = successors;
        let now = self.parts.clock.time_of_day();
        match self.resume.seam {
            None => self.lost(self.parts.lease.checkpoint, Checkpoint::ShardEnd, None),
            Some(seam) if seam.is_torn(None, self.parts.retention, now) => {
                let from = Checkpoint::After(seam.done);
                self.lost(from, Checkpoint::ShardEnd, seam.caught_up_at);
            }
            Some(_) => {}
        }
        self.end = Some(children);
    }

    fn lost(&mut self, from: Checkpoint, to: Checkpoint, caught_up_at: Option<Timestamp>) {
        let shard = self.parts.lease.key.shard();
        self.parts.events.emit(&Event::DataLost { shard, from, to, caught_up_at });
        self.hopeless = match self.parts.config.delivery.lost_data {
            LostDataPolicy::Continue => None,
            LostDataPolicy::Stop => Some(Hopeless::LostData),
        };
    }

    fn failed(&mut self, error: &SourceError) {
        let now = self.parts.clock.now();
        if matches!(error, SourceError::Throttled { .. }) {
            self.throttled = self.throttled.saturating_add(1);
            self.next_read = self.pace.after_throttled(self.parts.chance.draw(), now);
            if self.throttled.is_multiple_of(THROTTLED_TOLD_EVERY) {
                self.tell(error, self.next_read - now);
            }
            return;
        }
        // It may have reached the service, which counts it.
        self.next_read = self.next_read.max(self.pace.after_lost(now));
        self.reader = None;
        self.is_seamless = false;
        if let Some(opened_at) = self.opened_at {
            self.resume = self.resume.again(opened_at);
        }
        let failing = self.failing.get_or_insert(Failing { since: now, tries: 0 });
        failing.tries = failing.tries.saturating_add(1);
        let Failing { since, tries } = *failing;
        if tries == 1 && matches!(error, SourceError::Expired) {
            return; // A reader that rested for too long: it is opened again at once.
        }
        let is_retryable = error.is_retryable();
        let limits = if is_retryable { PAUSES } else { PAUSES_REFUSED };
        let retry_in = backoff::pause(tries, limits, self.parts.chance.draw());
        self.next_read = self.next_read.max(now + retry_in);
        let is_hopeless = backoff::is_hopeless(now - since, is_retryable);
        self.hopeless = is_hopeless.then_some(Hopeless::Unreadable);
        self.tell(error, retry_in);
    }

    fn tell(&self, error: &SourceError, retry_in: Duration) {
        let shard = self.parts.lease.key.shard();
        self.parts.events.emit(&Event::FetchFailed { shard, error: chain(error), retry_in });
    }
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

fn bytes(fetched: &Fetched) -> u64 {
    let bytes = fetched
        .records
        .iter()
        .map(|record| record.data.len() + record.partition_key.as_str().len())
        .sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What records take beside their data and keys.
fn footprint(records: &[Record]) -> u64 {
    u64::try_from(size_of_val(records)).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("shard", &self.parts.lease.key)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}
