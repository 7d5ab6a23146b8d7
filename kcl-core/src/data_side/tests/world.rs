//! A consumer's surroundings: clock, stream, application, and holder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::consumer::progress::Done;
use kcl_proto::model::{
    Checkpoint, HashKeyRange, Lease, LeaseCounter, LeaseKey, Moment, StartPosition, StreamStart,
    Timestamp, WorkerId, WriteStamp,
};
use tokio::join;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::MemoryBudget;
use crate::backend::Clock as _;
use crate::config::WorkerConfig;
use crate::data_side::closed_shards::ClosedShards;
use crate::data_side::consumer;
use crate::data_side::parts::ConsumerParts;
use crate::data_side::tests::application::{Act, Application, Call};
use crate::data_side::tests::clock::{SECOND, TestClock};
use crate::data_side::tests::holder::Holder;
use crate::data_side::tests::stream::{RETENTION, Stream, at};
use crate::messages::{Grant, Order, Vitals};
use crate::metrics::shard_series::ShardSeries;
use crate::processor::ShardContext;
use crate::report::delivery::Delivery;
use crate::report::event::{Event, EventContext, Observer};
use crate::report::events::Events;
use crate::report::origin::Origin;
use crate::retention::Retention;
use crate::tasks::chance::Chance;
use crate::tasks::stopped_shards::StoppedShards;

/// Everything around a consumer.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) clock: Arc<TestClock>,
    pub(super) stream: Stream,
    pub(super) app: Application,
    pub(super) config: WorkerConfig,
    pub(super) lease: Lease,
    pub(super) stopped: StoppedShards,
    pub(super) memory: MemoryBudget,
    /// The retention when the worker started.
    pub(super) retention: Duration,
    /// When the worker started.
    pub(super) described_at: Moment,
    events: RecordedEvents,
}

impl World {
    /// A lease at the trim horizon of an empty, open shard with the hash keys 0 to 99.
    pub(super) fn new() -> Self {
        let counter = LeaseCounter(4);
        let mut lease = Lease::new(LeaseKey::new("shard-0"), counter, Checkpoint::TrimHorizon);
        lease.owner = Some("me".into());
        lease.hash_range = Some(HashKeyRange { start: 0, end: 99 });
        lease.last_write = Some(WriteStamp { counter, worker: "me".into(), number: 1 });
        let config = WorkerConfig::default();
        let clock = Arc::new(TestClock::start());
        Self {
            retention: RETENTION,
            described_at: clock.now(),
            clock,
            stream: Stream::default(),
            app: Application::default(),
            memory: MemoryBudget::new(config.retrieval.memory_max),
            config,
            lease,
            stopped: StoppedShards::new(CancellationToken::new()),
            events: RecordedEvents::default(),
        }
    }

    pub(super) fn with_records(self, numbers: impl IntoIterator<Item = u128>) -> Self {
        self.stream.put(numbers.into_iter().map(at));
        self
    }

    pub(super) fn with_plan(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.app.plan(acts);
        self
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.app.calls()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.events.0.lock().unwrap().clone()
    }

    /// Takes the newest event.
    pub(super) fn take_event(&self) -> Option<Event> {
        self.events.0.lock().unwrap().pop()
    }

    /// Runs a consumer and its holder's script until both end. The script is polled first.
    pub(super) async fn run<T>(&self, script: impl AsyncFnOnce(&mut Holder) -> T) -> T {
        let (mut holder, consumer) = self.start();
        join!(script(&mut holder), consumer).0
    }

    /// Runs a consumer until its holder's script ends. The consumer must not end before.
    pub(super) async fn run_during<T>(&self, script: impl AsyncFnOnce(&mut Holder) -> T) -> T {
        let (mut holder, consumer) = self.start();
        tokio::select! {
            result = script(&mut holder) => result,
            () = consumer => panic!("the consumer ended before the script"),
        }
    }

    /// Runs a consumer for `time`, drains it, and returns the checkpoint it leaves: the
    /// application's or its own, whichever is further.
    pub(super) async fn run_for(&self, time: Duration) -> Option<Checkpoint> {
        self.run(async |holder| {
            holder.serve(time).await;
            holder.drain(SECOND * 20);
            assert_eq!(holder.end().await, Some(ConsumerEnd::Drained));
            let checkpoint = holder.checkpoint().max(holder.stored.last().copied());
            holder.release().await;
            checkpoint
        })
        .await
    }

    /// Runs a consumer until it reports that it failed, and releases its lease.
    pub(super) async fn run_to_failure(&self) -> Option<Checkpoint> {
        self.run(async |holder| {
            assert_eq!(holder.end().await, Some(ConsumerEnd::Failed));
            let checkpoint = holder.checkpoint();
            holder.release().await;
            checkpoint
        })
        .await
    }

    /// The holder and the future of a consumer.
    pub(super) fn start(&self) -> (Holder, impl Future<Output = ()> + Send + use<>) {
        let clock = Arc::clone(&self.clock);
        let (deadline, deadline_seen) = watch::channel(clock.now() + SECOND * 100_000);
        let (order, orders) = watch::channel(Order::Run);
        let (progress, done) = watch::channel(Done::default());
        let (to_holder, from_consumer) = mpsc::channel(64);
        let (alive, gone) = oneshot::channel();
        let (created, oldest) = (Timestamp::default(), StartPosition::TrimHorizon);
        let mut start = StreamStart::new("stream".into(), "arn".into(), created, oldest);
        start.bootstrapped = true;
        let grant = Grant {
            stream: "stream".into(),
            start: Arc::new(start),
            retention: Retention::new(self.retention, self.described_at),
            lease: Arc::new(self.lease.clone()),
            token: LeaseCounter(4),
            deadline: deadline_seen,
            order: orders,
            progress,
            vitals: watch::Sender::new(Vitals::default()),
            series: Arc::new(ShardSeries::new(self.lease.key.shard(), 1, Arc::default())),
            holder: to_holder,
            alive,
        };
        let (stored, children) = (Vec::new(), Vec::new());
        let progress = done;
        let holder =
            Holder { clock, deadline, order, progress, from_consumer, gone, stored, children };
        (holder, consumer::run(grant, self.parts()))
    }

    fn parts(&self) -> ConsumerParts {
        let (app, clock) = (self.app.clone(), Arc::clone(&self.clock));
        let origin = Origin::new(String::new(), WorkerId::new("w"), clock);
        let delivery = Delivery::new(Span::none(), vec![Arc::new(self.events.clone())]);
        ConsumerParts {
            source: Arc::new(self.stream.clone()),
            factory: Arc::new(move |shard: &ShardContext| app.new_processor(shard)),
            config: Arc::new(self.config.clone()),
            clock: Arc::<TestClock>::clone(&self.clock),
            events: Events::inline(origin, delivery),
            chance: Arc::new(Chance::seeded(7)),
            dead_letter: Some(Arc::new(self.app.clone())),
            memory: self.memory.clone(),
            stopped: self.stopped.clone(),
            ends: ClosedShards::default(),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct RecordedEvents(Arc<Mutex<Vec<Event>>>);

impl Observer for RecordedEvents {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.0.lock().unwrap().push(event.clone());
    }
}
