//! The stream under test: one shard in memory, with faults.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use kcl_proto::model::{
    Checkpoint, ChildShard, HashKeyRange, Position, ReadFrom, Record, SequenceNumber, Shard,
    ShardFilter, ShardId, StreamDescription, Timestamp,
};
use tokio::time::sleep;

use crate::backend::{Fetched, RecordSource, Retrieval, ShardClosed, ShardReader, SourceError};
use crate::data_side::tests::clock::{MILLI, SECOND};

/// How long the stream retains records.
pub(super) const RETENTION: Duration = Duration::from_hours(24);

/// A stream of one shard. Clones share the same shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    retention: Duration,
    records: Vec<Record>,
    /// How many of the records are trimmed.
    trimmed: usize,
    /// The children that the closed shard names.
    closed: Option<Vec<ChildShard>>,
    listed: Vec<Shard>,
    faults: VecDeque<SourceError>,
    /// How many reads announce the shard's end although it is open.
    false_ends: usize,
    /// What the records of each reply keep in memory, and the copies that exist while it is read.
    held: Option<u64>,
    copies: u64,
    /// How many bytes each event is said to have, if the stream pushes.
    pushed: Option<u64>,
    is_missing: bool,
    opened: Vec<ReadFrom>,
    reads: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            retention: RETENTION,
            records: Vec::new(),
            trimmed: 0,
            closed: None,
            listed: Vec::new(),
            faults: VecDeque::new(),
            false_ends: 0,
            held: None,
            copies: 3,
            pushed: None,
            is_missing: false,
            opened: Vec::new(),
            reads: 0,
        }
    }
}

impl Stream {
    pub(super) fn set_retention(&self, retention: Duration) {
        self.state().retention = retention;
    }

    /// Trims the records before this one.
    pub(super) fn trim_before(&self, number: u128) {
        let mut state = self.state();
        state.trimmed = state.records.partition_point(|record| record.position < at(number));
    }

    pub(super) fn put(&self, positions: impl IntoIterator<Item = Position>) {
        self.put_records(positions.into_iter().map(|at| Record::new(at, "key", "data", None)));
    }

    pub(super) fn put_records(&self, records: impl IntoIterator<Item = Record>) {
        self.state().records.extend(records);
    }

    /// Closes the shard. Its last read returns `children`.
    pub(super) fn close<'a>(&self, children: impl IntoIterator<Item = &'a Shard>) {
        self.state().closed = Some(children.into_iter().map(ChildShard::from).collect());
    }

    /// Lists these shards from now on.
    pub(super) fn list(&self, shards: Vec<Shard>) {
        self.state().listed = shards;
    }

    /// Fails the next reads.
    pub(super) fn fail_reads(&self, faults: impl IntoIterator<Item = SourceError>) {
        self.state().faults.extend(faults);
    }

    /// Announces the shard's end with the next `count` reads that reach its last record.
    pub(super) fn end_falsely(&self, count: usize) {
        self.state().false_ends = count;
    }

    /// Replies whose records keep `bytes` from now on, with `copies` of each while it is read.
    pub(super) fn hold(&self, bytes: u64, copies: u64) {
        let mut state = self.state();
        (state.held, state.copies) = (Some(bytes), copies);
    }

    /// Pushes records from now on, in events that are said to have so many bytes.
    pub(super) fn push(&self, bytes: u64) {
        self.state().pushed = Some(bytes);
    }

    pub(super) fn remove_shard(&self) {
        self.state().is_missing = true;
    }

    /// Where each reader was opened.
    pub(super) fn opened(&self) -> Vec<ReadFrom> {
        self.state().opened.clone()
    }

    /// How many reads there were.
    pub(super) fn reads(&self) -> usize {
        self.state().reads
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl RecordSource for Stream {
    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        let (created, now) = (Timestamp::default(), Timestamp::default());
        let mut stream = StreamDescription::new("stream".into(), "arn".into(), created, now);
        stream.retention = self.state().retention;
        Ok(stream)
    }

    async fn list_shards(&self, _filter: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        Ok(self.state().listed.clone())
    }

    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError> {
        let mut state = self.state();
        state.opened.push(from);
        if state.is_missing {
            return Err(SourceError::ShardMissing {
                stream: "stream".into(),
                shard: shard.clone(),
            });
        }
        let next = match from {
            ReadFrom::TrimHorizon | ReadFrom::AtTimestamp(_) => 0,
            ReadFrom::Latest => state.records.len(),
            ReadFrom::At(sequence) => {
                state.records.partition_point(|record| record.position.sequence < sequence)
            }
        };
        Ok(Box::new(Reader { stream: self.clone(), next }))
    }
}

#[derive(Debug)]
struct Reader {
    stream: Stream,
    next: usize,
}

#[async_trait]
impl ShardReader for Reader {
    fn copies(&self) -> u64 {
        self.stream.state().copies
    }

    async fn ready(&mut self) -> Result<Option<u64>, SourceError> {
        loop {
            {
                let state = self.stream.state();
                if state.pushed.is_none() || self.next < state.records.len() {
                    return Ok(state.pushed);
                }
            }
            sleep(MILLI * 10).await;
        }
    }

    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        sleep(MILLI * 10).await;
        let mut state = self.stream.state();
        state.reads += 1;
        self.next = self.next.max(state.trimmed);
        if let Some(fault) = state.faults.pop_front() {
            return Err(fault);
        }
        let records: Vec<_> =
            state.records.iter().skip(self.next).take(records_max).cloned().collect();
        self.next += records.len();
        let is_end = self.next == state.records.len();
        let behind = if is_end { Duration::ZERO } else { SECOND };
        let mut closed = state.closed.clone().filter(|_| is_end).map(ShardClosed::new);
        if is_end && state.false_ends > 0 {
            state.false_ends -= 1;
            closed = Some(ShardClosed::default());
        }
        let mut fetched = Fetched::new(records, Some(behind), closed);
        fetched.held = state.held.filter(|_| !fetched.records.is_empty());
        let pushed = state.pushed.map(|_| Retrieval::Pushed);
        Ok(fetched.by(pushed.unwrap_or_default()))
    }
}

/// The position of a record that is not aggregated.
pub(super) fn at(number: u128) -> Position {
    Position::of(number.into())
}

pub(super) fn after(number: u128) -> Checkpoint {
    Checkpoint::After(at(number))
}

/// The shard, as a list shows it.
pub(super) fn itself(ending: Option<u128>) -> Shard {
    let mut shard = Shard::new("shard-0".into(), HashKeyRange { start: 0, end: 99 }, 0.into());
    shard.ending_sequence = ending.map(SequenceNumber::from);
    shard
}

/// A child of the shard, with these hash keys.
pub(super) fn child(id: &str, start: u128, end: u128) -> Shard {
    let mut child = Shard::new(id.into(), HashKeyRange { start, end }, 1_000.into());
    child.parents = vec!["shard-0".into()];
    child
}

pub(super) fn throttled() -> SourceError {
    SourceError::Throttled { source: "slow down".into() }
}

pub(super) fn unavailable() -> SourceError {
    SourceError::Unavailable { stream: "stream".into(), source: "no route".into() }
}

pub(super) fn denied() -> SourceError {
    let (stream, action) = ("stream".into(), "kinesis:GetRecords");
    SourceError::AccessDenied { stream, action, source: "no".into() }
}
