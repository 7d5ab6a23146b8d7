//! Events reach the log and the observers, whatever those do.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_proto::model::{Moment, StreamName, Timestamp, WorkerId};
use kcl_proto::worker::repeated_failures::REPORT_EVERY;
use kcl_proto::worker::shutdown::EVENTS_TIME;
use tokio::time::{Instant, timeout};
use tracing::Span;

use crate::backend::{Clock, SystemClock};
use crate::report::delivery::Delivery;
use crate::report::event::{Event, EventContext, Observer};
use crate::report::event_queue::QUEUE_MAX;
use crate::report::events::Events;
use crate::report::origin::Origin;

const LIMIT: Duration = Duration::from_secs(10);

/// Keeps what it receives.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<(Event, EventContext)>>>);

impl Seen {
    fn all(&self) -> Vec<(Event, EventContext)> {
        self.0.lock().unwrap().clone()
    }

    fn events(&self) -> Vec<Event> {
        self.all().into_iter().map(|(event, _)| event).collect()
    }
}

impl Observer for Seen {
    fn on_event(&self, event: &Event, context: &EventContext) {
        self.0.lock().unwrap().push((event.clone(), context.clone()));
    }
}

/// Blocks in its first call until the test opens the gate.
#[derive(Debug)]
struct Blocks {
    entered: SyncSender<()>,
    gate: Mutex<Receiver<()>>,
}

impl Blocks {
    /// Returns the observer, what says that it blocks, and its gate, which opens when dropped.
    fn new() -> (Self, Receiver<()>, SyncSender<()>) {
        let ((entered, has_entered), (open, gate)) = (sync_channel(1), sync_channel(0));
        (Self { entered, gate: Mutex::new(gate) }, has_entered, open)
    }
}

impl Observer for Blocks {
    fn on_event(&self, _: &Event, _: &EventContext) {
        _ = self.entered.try_send(());
        _ = self.gate.lock().unwrap().recv();
    }
}

/// Panics in each call.
#[derive(Debug, Default)]
struct Panics(Seen);

impl Observer for Panics {
    fn on_event(&self, event: &Event, context: &EventContext) {
        self.0.on_event(event, context);
        panic!("no {}", event.name());
    }
}

/// A hundred times as fast as the system's clock.
#[derive(Debug)]
struct FastClock;

impl Clock for FastClock {
    fn now(&self) -> Moment {
        Moment::from_origin(SystemClock.now().since(Moment::from_origin(Duration::ZERO)) * 100)
    }

    fn time_of_day(&self) -> Timestamp {
        SystemClock.time_of_day()
    }
}

fn origin(clock: impl Clock) -> Origin {
    Origin::new("orders".to_owned(), WorkerId::new("ann:1"), Arc::new(clock))
}

fn queued(observers: Vec<Arc<dyn Observer>>) -> Events {
    Events::queued(origin(SystemClock), Delivery::new(Span::none(), observers)).unwrap()
}

fn numbered(count: usize) -> Event {
    Event::ConsumersBlocked { count }
}

#[test]
fn every_observer_gets_the_event_with_its_context() {
    let (one, other) = (Seen::default(), Seen::default());
    let observers: Vec<Arc<dyn Observer>> = vec![Arc::new(one.clone()), Arc::new(other.clone())];
    let events = Events::inline(origin(SystemClock), Delivery::new(Span::none(), observers));
    let (event, before) = (numbered(1), SystemClock.time_of_day());
    events.emit(&event);
    events.set_stream(&StreamName::new("clicks"));
    events.emit(&event);
    let seen = one.all();
    assert_eq!(seen, other.all());
    let stream = |nth: usize| seen[nth].1.stream.as_ref().map(StreamName::as_str);
    assert_eq!((seen.len(), stream(0), stream(1)), (2, None, Some("clicks")));
    for (seen, EventContext { time, application, worker, .. }) in &seen {
        assert_eq!((seen, application.as_str(), worker.as_str()), (&event, "orders", "ann:1"));
        assert!((before..=SystemClock.time_of_day()).contains(time), "{time}");
    }
}

#[tokio::test]
async fn blocked_observer_neither_blocks_the_emitter_nor_loses_the_count() {
    let seen = Seen::default();
    let (blocks, has_entered, open) = Blocks::new();
    let events = queued(vec![Arc::new(blocks), Arc::new(seen.clone())]);
    events.emit(&numbered(0));
    has_entered.recv_timeout(LIMIT).unwrap();
    for number in 1..=QUEUE_MAX + 10 {
        events.emit(&numbered(number));
    }
    assert_eq!(seen.events(), []);
    drop(open);
    timeout(LIMIT, async {
        while seen.events().len() < QUEUE_MAX + 2 {
            events.finish().await;
        }
    })
    .await
    .unwrap();
    let mut expected: Vec<_> = (0..=QUEUE_MAX).map(numbered).collect();
    expected.push(Event::EventsDropped { count: 10 });
    let seen = seen.events();
    let dropped: Vec<_> =
        seen.iter().filter(|it| matches!(it, Event::EventsDropped { .. })).collect();
    assert_eq!(dropped, [&expected[QUEUE_MAX + 1]]);
    let delivered = seen.iter().filter(|it| matches!(it, Event::ConsumersBlocked { .. }));
    assert!(delivered.eq(&expected[..=QUEUE_MAX]), "in order, none twice");
}

#[tokio::test]
async fn wait_for_a_blocked_observer_is_bounded() {
    let (blocks, has_entered, open) = Blocks::new();
    let events = queued(vec![Arc::new(blocks)]);
    events.emit(&numbered(0));
    has_entered.recv_timeout(LIMIT).unwrap();
    let began = Instant::now();
    events.finish().await;
    assert!((EVENTS_TIME..LIMIT).contains(&began.elapsed()), "{:?}", began.elapsed());
    drop(open);
}

#[tokio::test]
async fn events_are_delivered_before_the_wait_ends() {
    let seen = Seen::default();
    let events = queued(vec![Arc::new(seen.clone())]);
    for number in 0..100 {
        events.emit(&numbered(number));
    }
    events.finish().await;
    assert_eq!(seen.events().len(), 100);
}

#[tokio::test]
async fn panic_of_an_observer_is_reported_once_and_ends_nothing() {
    let (panics, before, after) = (Panics::default(), Seen::default(), Seen::default());
    let called = panics.0.clone();
    let events = queued(vec![Arc::new(before.clone()), Arc::new(panics), Arc::new(after.clone())]);
    for number in 0..3 {
        events.emit(&numbered(number));
    }
    events.finish().await;
    let panicked = Event::ObserverPanicked { error: "no consumers_blocked".to_owned() };
    let numbers: Vec<_> = (0..3).map(numbered).collect();
    for seen in [&before, &called, &after] {
        let (reports, others): (Vec<_>, _) =
            seen.events().into_iter().partition(|event| *event == panicked);
        assert_eq!((reports.len(), others), (1, numbers.clone()));
    }
}

/// The number of calls in each `CallFailed`.
fn counts(seen: &Seen) -> Vec<u64> {
    let count = |event: Event| {
        let Event::CallFailed { doing: "write a lease", count, .. } = event else { return None };
        Some(count)
    };
    seen.events().into_iter().filter_map(count).collect()
}

fn fail_often(events: &Events) {
    let error = std::io::Error::other("throttled");
    for _ in 0..1_000 {
        events.call_failed("write a lease", &error, Some(Duration::ZERO));
    }
}

#[tokio::test]
async fn thousand_equal_failures_are_two_events() {
    let seen = Seen::default();
    let events = queued(vec![Arc::new(seen.clone())]);
    fail_often(&events);
    events.finish().await;
    assert_eq!(counts(&seen), [1, 999]);
    let is_without_pause =
        |event: &Event| matches!(event, Event::CallFailed { retry_in: None, .. });
    assert!(seen.events().iter().all(is_without_pause), "zero is no pause");
}

#[tokio::test]
async fn count_of_failures_follows_without_another_event() {
    let seen = Seen::default();
    let delivery = Delivery::new(Span::none(), vec![Arc::new(seen.clone())]);
    let events = Events::queued(origin(FastClock), delivery).unwrap();
    fail_often(&events);
    let counted = async {
        while counts(&seen).iter().sum::<u64>() < 1_000 {
            tokio::time::sleep(REPORT_EVERY / 500).await;
        }
    };
    timeout(LIMIT, counted).await.unwrap();
    assert!(counts(&seen).len() < 20, "{:?}", counts(&seen));
}
