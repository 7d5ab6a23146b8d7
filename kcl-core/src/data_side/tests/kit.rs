//! What the tests of one consumer stand on: a shard in memory, a holder's end, a scripted processor.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use kcl_proto::model::{
    Checkpoint, ChildShard, HashKeyRange, Lease, LeaseCounter, LeaseKey, Moment, Position,
    ReadFrom, Record, Shard, ShardFilter, ShardId, ShardInfo, StartPosition, StreamDescription,
    StreamStart, Timestamp, WorkerId, WriteStamp,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::backend::Clock as _;
use crate::backend::{DeadLetter, FailedRecord};
use crate::backend::{Fetched, RecordSource, ShardClosed, ShardReader, SourceError};
use crate::config::WorkerConfig;
use crate::data_side::consumer;
use crate::data_side::parts::ConsumerParts;
use crate::data_side::tests::clock::TestClock;
use crate::data_side::tests::held::Held;
use crate::messages::{Grant, Order, Vitals};
use crate::processor::RecordProcessor;
use crate::processor::ShardContext;
use crate::report::event::{Event, EventContext, Observer};
use crate::report::log::Events;
use crate::tasks::chance::Chance;
use crate::tasks::stopped_shards::StoppedShards;
use crate::{Ack, BoxError, Checkpointer, MemoryBudget, PartialFailure, RecordBatch};
use kcl_proto::consumer::progress::Done;

pub(super) const MILLI: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const RETENTION: Duration = Duration::from_hours(24);

/// Everything a test looks at and turns.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) clock: Arc<TestClock>,
    state: Arc<Mutex<State>>,
    pub(super) config: WorkerConfig,
    pub(super) lease: Lease,
    pub(super) stopped: StoppedShards,
    pub(super) memory: MemoryBudget,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    closed: Option<Vec<ChildShard>>,
    listed: Vec<Shard>,
    faults: VecDeque<SourceError>,
    is_missing: bool,
    plan: VecDeque<Act>,
    log: Vec<String>,
    opened: Vec<ReadFrom>,
    reads: usize,
    events: Vec<Event>,
    letters: VecDeque<Act>,
    detaches: bool,
    acks: Vec<Ack>,
    poison: Vec<(u128, Act)>,
    checkpointer: Option<Checkpointer>,
}

/// What the processor does the next time it is called; `Ok` when nothing is planned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Ok,
    /// Fails to initialize. It waits in the plan until a processor is initialized.
    FailToStart,
    Fail,
    Panic,
    /// Checkpoints this sequence number, then fails.
    CheckpointAndFail(u128),
    /// Checkpoints the first record of the batch, then fails.
    CheckpointFirstAndFail,
    /// Checkpoints this sequence number, then panics.
    CheckpointAndPanic(u128),
    /// Takes this long, then succeeds.
    Take(Duration),
    /// Never ends.
    Hang,
    /// Ends as soon as it is told that the ownership is over.
    UntilCancelled,
    /// Fails, and names this record.
    FailAt(u128),
    /// Blocks its thread for this long, then succeeds.
    Block(Duration),
}

impl World {
    /// A lease at the trim horizon of an empty, open shard with the hash keys 0 to 99.
    pub(super) fn new() -> Self {
        let counter = LeaseCounter(4);
        let mut lease = Lease::new(LeaseKey::new("shard-0"), counter, Checkpoint::TrimHorizon);
        lease.owner = Some("me".into());
        lease.hash_range = Some(HashKeyRange { start: 0, end: 99 });
        lease.last_write = Some(WriteStamp { counter, worker: "me".into(), number: 1 });
        let clock = Arc::new(TestClock::start());
        let stopped = StoppedShards::new(CancellationToken::new());
        let (state, config) = (Arc::default(), WorkerConfig::default());
        let memory = MemoryBudget::new(config.retrieval.memory_max);
        Self { clock, state, config, lease, stopped, memory }
    }

    pub(super) fn with_records(self, numbers: impl IntoIterator<Item = u128>) -> Self {
        self.put(numbers.into_iter().map(at));
        self
    }

    pub(super) fn with_plan(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.state().plan.extend(acts);
        self
    }

    /// Its processors detach every acknowledgement, for the test to [take](Self::ack).
    pub(super) fn detaching(self) -> Self {
        self.state().detaches = true;
        self
    }

    /// The newest acknowledgement of a record.
    pub(super) fn ack(&self, number: u128) -> Ack {
        let mut state = self.state();
        let index = state.acks.iter().rposition(|ack| ack.position() == at(number)).unwrap();
        state.acks.swap_remove(index)
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn put(&self, positions: impl IntoIterator<Item = Position>) {
        let records = positions.into_iter().map(|at| Record::new(at, "key", "data", None));
        self.state().records.extend(records);
    }

    /// Closes the shard. Its end tells the children named here.
    pub(super) fn close(&self, told: &[ChildShard]) {
        self.state().closed = Some(told.to_vec());
    }

    pub(super) fn list(&self, shards: Vec<Shard>) {
        self.state().listed = shards;
    }

    pub(super) fn fault(&self, faults: impl IntoIterator<Item = SourceError>) {
        self.state().faults.extend(faults);
    }

    /// Makes every batch with this record do so.
    pub(super) fn poison(&self, number: u128, act: Act) {
        self.state().poison.push((number, act));
    }

    /// How the dead letter does, call by call; well when nothing is planned.
    pub(super) fn plan_letters(&self, acts: impl IntoIterator<Item = Act>) {
        self.state().letters.extend(acts);
    }

    pub(super) fn remove_shard(&self) {
        self.state().is_missing = true;
    }

    /// Starts a consumer: its holder's end, and its future.
    pub(super) fn start(&self) -> (Held, impl Future<Output = ()> + Send + use<>) {
        let (deadline, deadline_seen) = watch::channel(self.clock.now() + SECOND * 100_000);
        let (order, orders) = watch::channel(Order::Run);
        let (progress, done) = watch::channel(Done::default());
        let (holder, from_consumer) = mpsc::channel(64);
        let (alive, gone) = oneshot::channel();
        let (created, oldest) = (Timestamp::default(), StartPosition::TrimHorizon);
        let mut start = StreamStart::new("stream".into(), "arn".into(), created, oldest);
        start.bootstrapped = true;
        let grant = Grant {
            stream: "stream".into(),
            start: Arc::new(start),
            retention: RETENTION,
            lease: self.lease.clone(),
            token: LeaseCounter(4),
            deadline: deadline_seen,
            order: orders,
            progress,
            vitals: watch::Sender::new(Vitals::default()),
            holder,
            alive,
        };
        let world = self.clone();
        let clock: Arc<TestClock> = Arc::clone(&self.clock);
        let (observed, observer) = (Arc::clone(&clock), Arc::new(self.clone()));
        let parts = ConsumerParts {
            source: Arc::new(self.clone()),
            factory: Arc::new(move |shard: &ShardContext| world.processor(shard)),
            config: Arc::new(self.config.clone()),
            clock,
            events: Events::new(String::new(), WorkerId::new("w"), observed, vec![observer]),
            chance: Arc::new(Chance::seeded(7)),
            dead_letter: Some(Arc::new(self.clone())),
            memory: self.memory.clone(),
            stopped: self.stopped.clone(),
        };
        let held = Held {
            now: self.clock.now(),
            deadline,
            order,
            progress: done,
            from_consumer,
            gone,
            stored: Vec::new(),
        };
        (held, consumer::run(grant, parts))
    }

    fn processor(&self, shard: &ShardContext) -> Scripted {
        let mut state = self.state();
        state.checkpointer = Some(shard.checkpointer().clone());
        state.log.push(format!("new after {}", shard.resumed_from()));
        Scripted { world: self.clone() }
    }

    /// What the processors were asked, in order.
    #[track_caller]
    pub(super) fn check_log(&self, expected: &[&str]) {
        assert_eq!(self.state().log, expected);
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    pub(super) fn log_len(&self) -> usize {
        self.state().log.len()
    }

    pub(super) fn opened(&self) -> Vec<ReadFrom> {
        self.state().opened.clone()
    }

    pub(super) fn reads(&self) -> usize {
        self.state().reads
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Takes the newest event.
    pub(super) fn take_event(&self) -> Option<Event> {
        self.state().events.pop()
    }

    /// The checkpointer of the newest processor.
    pub(super) fn checkpointer(&self) -> Checkpointer {
        self.state().checkpointer.clone().unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn note(&self, what: impl Into<String>) {
        self.state().log.push(what.into());
    }

    async fn act(&self, shard: &ShardContext, first: Option<Position>) -> Result<(), BoxError> {
        let planned = self.state().plan.pop_front();
        self.carry_out(planned.unwrap_or(Act::Ok), shard, first).await
    }

    async fn carry_out(
        &self,
        act: Act,
        shard: &ShardContext,
        first: Option<Position>,
    ) -> Result<(), BoxError> {
        match act {
            Act::Ok | Act::FailToStart => {}
            Act::Fail => return Err("no".into()),
            Act::Panic => panic!("ouch"),
            Act::CheckpointAndFail(number) => {
                shard.checkpointer().checkpoint(at(number)).await?;
                return Err("no".into());
            }
            Act::CheckpointFirstAndFail => {
                if let Some(first) = first {
                    shard.checkpointer().checkpoint(first).await?;
                }
                return Err("no".into());
            }
            Act::CheckpointAndPanic(number) => {
                shard.checkpointer().checkpoint(at(number)).await?;
                panic!("ouch")
            }
            Act::Take(time) => tokio::time::sleep(time).await,
            Act::Hang => std::future::pending().await,
            Act::FailAt(number) => return Err(PartialFailure::new([at(number)], "no").into()),
            Act::UntilCancelled => {
                shard.cancelled().await;
                self.note("cancelled");
            }
            Act::Block(time) => tokio::time::advance(time).await,
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Scripted {
    world: World,
}

impl RecordProcessor for Scripted {
    async fn initialize(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        self.world.note("initialize");
        let next = self.world.state().plan.pop_front_if(|act| matches!(act, Act::FailToStart));
        if next.is_some() { Err("not yet".into()) } else { Ok(()) }
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let (first, last) = (batch.first().unwrap().position, batch.last().unwrap().position);
        self.world.note(format!("{first} to {last} try {}", batch.attempt()));
        let poison = {
            let mut poison = self.world.state().poison.clone().into_iter();
            poison.find(|(number, _)| batch.iter().any(|record| record.position == at(*number)))
        };
        if self.world.state().detaches {
            let acks: Vec<_> = batch.into_acks().into_iter().map(|(_, ack)| ack).collect();
            self.world.state().acks.extend(acks);
        }
        match poison {
            Some((_, act)) => self.world.carry_out(act, shard, Some(first)).await,
            None => self.world.act(shard, Some(first)).await,
        }
    }

    async fn shard_ended(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.world.note("ended");
        self.world.act(shard, None).await
    }

    async fn shutdown_requested(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.world.note("shutdown");
        self.world.act(shard, None).await
    }

    async fn lease_lost(&mut self, _shard: &ShardInfo) {
        self.world.note("lost");
    }
}

#[async_trait]
impl DeadLetter for World {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        let FailedRecord { record, error, attempts, .. } = failed;
        self.note(format!("letter {} after {attempts}: {error}", record.position));
        let planned = self.state().letters.pop_front();
        match planned {
            Some(Act::Fail) => Err("full".into()),
            Some(Act::Panic) => panic!("out of paper"),
            Some(Act::Hang) => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

impl Observer for World {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.state().events.push(event.clone());
    }
}

#[async_trait]
impl RecordSource for World {
    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        let (created, now) = (Timestamp::default(), Timestamp::default());
        let mut stream = StreamDescription::new("stream".into(), "arn".into(), created, now);
        stream.retention = RETENTION;
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
        Ok(Box::new(Reader { world: self.clone(), next }))
    }
}

#[derive(Debug)]
struct Reader {
    world: World,
    next: usize,
}

#[async_trait]
impl ShardReader for Reader {
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut state = self.world.state();
        state.reads += 1;
        if let Some(fault) = state.faults.pop_front() {
            return Err(fault);
        }
        let records: Vec<_> =
            state.records.iter().skip(self.next).take(records_max).cloned().collect();
        self.next += records.len();
        let is_end = self.next == state.records.len();
        let behind = if is_end { Duration::ZERO } else { SECOND };
        let closed = state.closed.clone().filter(|_| is_end).map(ShardClosed::new);
        Ok(Fetched::new(records, Some(behind), closed))
    }
}

pub(super) fn at(number: u128) -> Position {
    Position::of(number.into())
}

pub(super) fn after(number: u128) -> Checkpoint {
    Checkpoint::After(at(number))
}

/// A child of the world's shard with these hash keys, as the list tells it.
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
