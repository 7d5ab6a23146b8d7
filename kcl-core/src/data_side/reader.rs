//! Reads one shard, one batch ahead, and resumes where a reader failed.

use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;

use futures::future::BoxFuture;
use kcl_proto::consumer::end_watch::{self, Due, EndWatch};
use kcl_proto::consumer::read_pace::ReadDone;
use kcl_proto::consumer::read_size::RecordSize;
use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::model::{Checkpoint, ChildShard, Moment, Position, Record, Timestamp};
use kcl_proto::shards::start_position::Resume;
use kcl_proto::shards::successors::Successors;

use crate::backend::{Fetched, Retrieval, ShardReader, SourceError};
use crate::config::LostDataPolicy;
use crate::data_side::deaggregate::{Expanded, Expander};
use crate::data_side::parts::ReadParts;
use crate::data_side::read_attempt::{Attempt, DueRead, Reply};
use crate::data_side::read_schedule::ReadSchedule;
use crate::memory::Reserved;
use crate::processor::RecordBatch;
use crate::report::event::Event;
use crate::report::log::chain;

/// What comes next from a shard.
#[derive(Debug)]
pub(super) enum Next {
    /// Records to process.
    Batch(Batch),
    /// A read that left nothing to process.
    Passed(Passed),
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

/// Reads that left nothing to process: replies without records, or with records that were dropped
/// or done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    /// The end of their records, or `None` if they had none.
    pub(super) through: Option<Position>,
    /// How far the last one was behind the end of the shard, or `None` if that is not known.
    pub(super) behind_latest: Option<Duration>,
    /// When the last one took place.
    pub(super) read_at: Moment,
    /// When the reader was last at the end of the shard, or `None` if it was not.
    pub(super) caught_up_at: Option<Timestamp>,
}

/// Records that were read together. Never empty when it is read.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) records: RecordBatch,
    /// The end of the batch: its last record, or a later one that was dropped.
    pub(super) through: Position,
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
    /// When the shard reader last had to wait for a push.
    waited_at: Option<Timestamp>,
    size: RecordSize,
    /// How far the last read was behind, or `None` if that is not known.
    lag: Option<Lag>,
    end_watch: EndWatch,
    expander: Expander,
    rest: Option<RestOfReply>,
    ready: Ready,
}

/// What was read and not taken.
#[derive(Debug, Default)]
struct Ready {
    passed: Option<Passed>,
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
    caught_up_at: Option<Timestamp>,
    end: Option<Vec<ChildShard>>,
}

impl Ready {
    /// Whether nothing is left to read before something is taken.
    const fn is_filled(&self) -> bool {
        self.batch.is_some() || self.end.is_some() || self.unrecoverable.is_some()
    }

    fn take(&mut self) -> Option<Next> {
        // It precedes the read that returned the batch.
        if let Some(passed) = self.passed.take() {
            return Some(Next::Passed(passed));
        }
        if let Some(batch) = self.batch.take() {
            return Some(Next::Batch(batch));
        }
        if let Some(reason) = self.unrecoverable {
            return Some(Next::Unrecoverable(reason));
        }
        self.end.clone().map(Next::End)
    }

    /// Adds a read that left nothing to process.
    fn pass(&mut self, passed: Passed) {
        let before = self.passed;
        self.passed = Some(Passed {
            through: passed.through.max(before.and_then(|before| before.through)),
            caught_up_at: passed.caught_up_at.max(before.and_then(|before| before.caught_up_at)),
            ..passed
        });
    }
}

impl Reader {
    pub(super) fn new(parts: ReadParts, resume: Resume) -> Self {
        let schedule = ReadSchedule::new(&parts.config.retrieval, parts.clock.now());
        let expander = Expander::new(&parts.config.retrieval, &parts.lease);
        Self {
            parts,
            resume,
            is_seamless: false,
            opened_at: None,
            shard_reader: None,
            attempt: None,
            schedule,
            waited_at: None,
            size: RecordSize::default(),
            lag: None,
            end_watch: EndWatch::default(),
            expander,
            rest: None,
            ready: Ready::default(),
        }
    }

    /// A reader that resumes elsewhere, at the pace of this one.
    pub(super) fn restarted(&mut self, parts: ReadParts, resume: Resume) -> Self {
        let schedule = self.schedule.restarted(self.attempt.is_some(), self.parts.clock.now());
        let Self { opened_at, size, end_watch, .. } = *self;
        let resume = opened_at.map_or(resume, |opened_at| resume.again(opened_at));
        Self { opened_at, schedule, size, end_watch, ..Self::new(parts, resume) }
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
            let expanded = self.expand(&mut rest.records);
            return self.add(expanded, rest);
        }
        let due = self.end_watch.due(self.parts.clock.now());
        let attempt = match &mut self.attempt {
            Some(attempt) => attempt,
            None if due == Due::Look => return self.look_for_end().await,
            None if due == Due::End => {
                self.ready.end = Some(Vec::new());
                return;
            }
            None => {
                let read = DueRead {
                    resume: self.resume,
                    when: self.schedule.next(),
                    size: self.size,
                    lag: self.lag,
                };
                let attempt = Attempt::start(self.parts.clone(), read, self.shard_reader.take());
                self.attempt.insert(Box::pin(attempt))
            }
        };
        let mut attempt = attempt.await;
        self.attempt = None;
        self.opened_at = self.opened_at.or(attempt.opened_at);
        self.is_seamless &= attempt.opened_at.is_none();
        self.shard_reader = attempt.shard_reader.take();
        let Attempt { started, started_at, waited_at, memory, .. } = attempt;
        let earlier = self.waited_at.filter(|_| attempt.opened_at.is_none());
        self.waited_at = waited_at.or(earlier);
        match attempt.outcome {
            Ok(Reply::Fetched(fetched)) => self.fetched(fetched, started, started_at, memory),
            Ok(Reply::Unended(fetched)) => {
                if !fetched.records.is_empty() {
                    self.fetched(fetched, started, started_at, memory);
                }
                self.failed(&SourceError::EndUnconfirmed { shard: self.parts.lease.key.shard() });
            }
            Ok(Reply::Trimmed(successors)) => self.trimmed(successors),
            Err(error) => {
                if matches!(error, SourceError::Incomplete { .. }) {
                    self.size.cut_off(memory.records());
                }
                self.failed(&error);
            }
        }
    }

    /// Looks for the end of a shard that yields nothing although it is not announced.
    async fn look_for_end(&mut self) {
        let ReadParts { source, clock, ends, lease, events, .. } = &self.parts;
        let shard = lease.key.shard();
        let is_closed = ends.contains(&shard, &**source, &**clock).await;
        // Without a list, the next look is for the same time later.
        if self.end_watch.looked(is_closed.unwrap_or(false), clock.now()) {
            events.emit(&Event::ShardEndOverdue { shard, ends_in: end_watch::QUIET });
            self.shard_reader = None; // A new iterator yields what is left, if anything is.
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
        let (count, now) = (fetched.records.len(), self.parts.clock.now());
        let behind_latest = fetched.behind_latest;
        let is_pushed = fetched.retrieval == Retrieval::Pushed;
        let is_full = count >= memory.records();
        let brought = bytes(&fetched); // what the service counts
        let kept = fetched.held.unwrap_or(brought);
        let read = ReadDone { started, bytes: brought, behind_latest, is_full, is_pushed };
        self.schedule.succeeded(read, now);
        self.lag = behind_latest.map(|behind| Lag { behind, seen: started });
        self.size.arrived(count, now - started);
        self.end_watch.read(count == 0 && is_caught_up && fetched.end.is_none(), now);
        let first = fetched.records.first().map(|record| record.position);
        if !self.is_seamless && (first.is_some() || is_caught_up) {
            self.check_seam(first);
            if self.ready.unrecoverable.is_some() {
                return;
            }
        }
        let mut left = fetched.records.into_iter();
        let expanded = self.expand(&mut left);
        // The next batch is expanded while this one is in hand.
        let batches = if left.as_slice().is_empty() { 1 } else { 2 };
        let needed = kept + batches * footprint(&expanded.records);
        self.size.observe(count, brought, needed);
        memory.settle(kept);
        let rest = RestOfReply {
            records: left,
            behind_latest,
            read_at: started,
            memory: Arc::new(memory),
            // What was pushed may have been on its way for long.
            caught_up_at: if is_pushed { self.waited_at } else { Some(started_at) }
                .filter(|_| is_caught_up),
            end: fetched.end.map(|closed| closed.children),
        };
        self.add(expanded, rest);
    }

    /// The records of the next batch: a few aggregates may hold a hundred thousand user records.
    fn expand(&mut self, left: &mut IntoIter<Record>) -> Expanded {
        let done = self.resume.seam.map(|seam| seam.done);
        self.expander.expand(left, done, &self.parts)
    }

    /// Adds the next records of a reply, and keeps the rest of it.
    fn add(&mut self, Expanded { mut records, through }: Expanded, rest: RestOfReply) {
        let is_last = rest.records.as_slice().is_empty();
        let RestOfReply { behind_latest, read_at, ref memory, .. } = rest;
        let caught_up_at = rest.caught_up_at.filter(|_| is_last);
        if let Some(seam) = self.resume.seam {
            seam.drop_done(&mut records);
        }
        self.resume = self.resume.reached(through, caught_up_at);
        match through.filter(|_| !records.is_empty()) {
            Some(through) => {
                let memory = Arc::new(memory.expanded(footprint(&records)));
                let records = RecordBatch::new(records, behind_latest);
                let batch = Batch { records, through, caught_up_at, read_at, memory };
                self.ready.batch = Some(batch);
            }
            None => {
                let behind_latest = caught_up_at.map(|_| Duration::ZERO).or(behind_latest);
                self.ready.pass(Passed { through, behind_latest, read_at, caught_up_at });
            }
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
        if seam.is_torn(sequence, self.parts.retention.get(), now) {
            let to = first.map_or(Checkpoint::Latest, Checkpoint::After);
            self.data_lost(Checkpoint::After(seam.done), to, seam.caught_up_at);
        }
    }

    fn trimmed(&mut self, successors: Successors) {
        let (Successors::Children(children) | Successors::Descendants(children)) = successors;
        let now = self.parts.clock.time_of_day();
        match self.resume.seam {
            None => self.data_lost(self.parts.lease.checkpoint, Checkpoint::ShardEnd, None),
            Some(seam) if seam.is_torn(None, self.parts.retention.get(), now) => {
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

fn bytes(fetched: &Fetched) -> u64 {
    let bytes = fetched
        .records
        .iter()
        .map(|record| record.data.len() + record.partition_key.as_str().len())
        .sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The memory of records, without their data and keys.
fn footprint(records: &Vec<Record>) -> u64 {
    u64::try_from(records.capacity().saturating_mul(size_of::<Record>())).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("shard", &self.parts.lease.key)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}
