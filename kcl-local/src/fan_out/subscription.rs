//! The events of one subscription.

use std::future::{pending, ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::sequence::{
    SeqObj, SequenceError, increment_sequence, parse_sequence, stringify_sequence,
};
use ferrokinesis::types::{Shard, Stream};
use ferrokinesis::util::current_time_ms;
use futures::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fan_out::damage::{Damage, Then};
use crate::fan_out::frame;
use crate::fan_out::rules::SubscriptionRules;
use crate::fan_out::stock::Stock;
use crate::fan_out::strike::Fault;
use crate::fan_out::table::{Order, Registration};
use crate::repair::child_shards::child_shards;
use crate::repair::page::{ARRAY, MAP, NULL, Page, Span, UNSIGNED, head, text};
use crate::wire::Encoding;

/// A running subscription. It ends when it is dropped, as by a client that closes its connection.
pub(crate) struct Subscription {
    place: Place,
    encoding: Encoding,
    stock: Stock,
    orders: watch::Receiver<Order>,
    news: watch::Receiver<u64>,
    ends: Option<Instant>,
    beats: Option<Instant>,
    /// Whether there may be records, or an end, that were not sent.
    behind: bool,
    /// Whether an event was sent.
    started: bool,
    /// What comes before the events.
    first: Option<Bytes>,
    /// A fault that waits for the first event.
    fault: Option<Fault>,
    silent: bool,
    damage: Damage,
    then: Then,
    rules: Arc<SubscriptionRules>,
    _registration: Registration,
}

/// What is subscribed to.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) stream: String,
    pub(crate) shard_ix: i64,
    /// The first sequence number that is still to be sent, which need not be that of a record.
    pub(crate) from: String,
    /// The counter of the last record that was sent, or is known to be passed.
    pub(crate) passed: u64,
}

/// Why a subscription wakes up.
enum Wake {
    Order(Order),
    LifetimeOver,
    Behind,
    News,
    Heartbeat,
}

/// Bytes, and what follows them.
type Sent = (Bytes, Then);

impl Subscription {
    /// Creates a subscription, which meets `fault`.
    pub(crate) fn new(
        place: Place,
        encoding: Encoding,
        (registration, orders): (Registration, watch::Receiver<Order>),
        stock: Stock,
        fault: Option<Fault>,
    ) -> Self {
        let now = Instant::now();
        let rules = Arc::clone(&stock.rules);
        let no_event = fault == Some(Fault::NoEvent);
        Self {
            place,
            encoding: if rules.cbor_events { encoding } else { Encoding::Json },
            orders,
            news: stock.news.subscribe(),
            ends: now.checked_add(rules.lifetime),
            beats: now.checked_add(rules.heartbeat_every),
            behind: true,
            started: false,
            first: (!no_event).then(frame::initial_response),
            fault,
            silent: no_event,
            damage: Damage::None,
            then: Then::GoOn,
            stock,
            rules,
            _registration: registration,
        }
    }

    /// Turns the subscription into the body of an answer.
    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, async |mut subscription| {
            let sent = subscription.next().await?;
            Some((sent, subscription))
        }))
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        loop {
            match self.then {
                Then::GoOn => {}
                Then::End => return None,
                Then::Cut => {
                    // The bytes before the cut leave first.
                    sleep(BEFORE_CUT).await;
                    self.then = Then::End;
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
            let (frame, then) = self.frame().await;
            let (bytes, struck) = self.damage.strike(frame);
            self.then = if struck == Then::GoOn { then } else { struck };
            if !bytes.is_empty() {
                return Some(Ok(bytes));
            }
        }
    }

    async fn frame(&mut self) -> Sent {
        loop {
            if let Some(fault) = self.fault.take()
                && let Some(sent) = self.meet(fault)
            {
                return sent;
            }
            if self.silent {
                pending::<()>().await;
            }
            let sent = match self.wake().await {
                Wake::Order(order) => self.obey(order),
                Wake::LifetimeOver => Some((Bytes::new(), Then::End)),
                Wake::Behind => {
                    self.event(!self.started).await.unwrap_or_else(|error| Some(self.fail(&error)))
                }
                Wake::News => {
                    self.behind = self.has_news().await;
                    None
                }
                Wake::Heartbeat => {
                    self.event(true).await.unwrap_or_else(|error| Some(self.fail(&error)))
                }
            };
            if let Some(sent) = sent {
                return sent;
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        tokio::select! {
            biased;
            Ok(()) = self.orders.changed() => {
                Wake::Order(self.orders.borrow_and_update().clone())
            }
            () = at(self.ends) => Wake::LifetimeOver,
            () = ready(()), if self.behind => Wake::Behind,
            Ok(()) = self.news.changed() => Wake::News,
            () = at(self.beats) => Wake::Heartbeat,
        }
    }

    fn obey(&mut self, order: Order) -> Option<Sent> {
        match order {
            Order::Run => None,
            Order::TakenOver => Some(self.exception(
                "ResourceInUseException",
                "Another call of SubscribeToShard took this subscription over.",
            )),
            Order::ConsumerGone => Some(self.exception(
                "ResourceNotFoundException",
                "The consumer of this subscription was deregistered.",
            )),
            Order::Break(fault) => self.meet(fault),
        }
    }

    /// Breaks. Returns what is sent at once.
    fn meet(&mut self, fault: Fault) -> Option<Sent> {
        match fault {
            Fault::Silence => self.silent = true,
            Fault::Cut(0) => return Some((Bytes::new(), Then::Cut)),
            Fault::UnknownEvent => return Some((frame::unknown_event(self.encoding), Then::GoOn)),
            Fault::Exception(error) => return Some(self.exception(&error, "A fault on demand.")),
            Fault::End => return Some((Bytes::new(), Then::End)),
            Fault::Cut(_) | Fault::HalfFrame | Fault::WrongChecksum | Fault::WrongLength(_) => {
                self.damage = Damage::of(&fault).unwrap_or_default();
            }
            Fault::Refuse(_) | Fault::NoAnswer | Fault::NoEvent => {}
        }
        None
    }

    /// Returns whether there are records, or an end, that were not sent. Cheap: every write asks.
    async fn has_news(&self) -> bool {
        let Ok(stream) = self.stock.topology.recent(&self.place.stream).await else {
            return true;
        };
        let is_open = shard(&stream, self.place.shard_ix).is_some_and(is_open);
        let store = &self.stock.store;
        let next = store.current_shard_seq(&self.place.stream, self.place.shard_ix).await;
        !is_open || next > self.place.passed.saturating_add(1)
    }

    /// Returns the next event; `None` if it has no records and `always` is false.
    async fn event(&mut self, always: bool) -> Result<Option<Sent>, KinesisErrorResponse> {
        let stream = self.stock.topology.recent(&self.place.stream).await?;
        let shard = shard(&stream, self.place.shard_ix)
            .ok_or_else(|| KinesisErrorResponse::shard_not_found("", &self.place.stream, ""))?;
        // Without a lock a record may have a number that is not stored yet.
        let writes = Arc::clone(&self.stock.writes);
        let no_writes = writes.try_lock();
        let span = Span {
            shard_ix: self.place.shard_ix,
            from: &self.place.from,
            records_max: RECORDS_MAX,
            bytes_max: self.rules.event_bytes_max,
        };
        let page = Page::read(&self.stock.store, &stream, &span).await;
        self.behind = page.more || !is_open(shard);
        if page.rows.is_empty() && !page.more && !is_open(shard) {
            let event = self.encode(&page, None, Some((&stream, &shard.shard_id)))?;
            return Ok(Some((event, Then::End)));
        }
        if let Some(last) = &page.last {
            let last = parse_sequence(last).map_err(|error| stored(&error))?;
            self.place.passed = last.seq_ix.unwrap_or_default();
            self.place.from = increment_sequence(&last, None);
        } else if no_writes.is_ok() {
            self.pass_all(shard).await?;
        }
        drop(no_writes);
        if page.rows.is_empty() && !always {
            return Ok(None);
        }
        self.started = true;
        self.beats = Instant::now().checked_add(self.rules.heartbeat_every);
        Ok(Some((self.encode(&page, Some(&self.place.from), None)?, Then::GoOn)))
    }

    /// Moves the position behind all records there are, and before all that may come.
    ///
    /// A sequence number is a counter and then a time. The position has the counter of the last
    /// record and a later time, so that reading `AT` or `AFTER` it skips no record.
    async fn pass_all(&mut self, shard: &Shard) -> Result<(), KinesisErrorResponse> {
        let store = &self.stock.store;
        let next = store.current_shard_seq(&self.place.stream, self.place.shard_ix).await;
        let start = parse_sequence(&shard.sequence_number_range.starting_sequence_number)
            .map_err(|error| stored(&error))?;
        self.place.passed = next.saturating_sub(1);
        self.place.from = stringify_sequence(&SeqObj {
            seq_ix: Some(self.place.passed),
            seq_time: Some(current_time_ms().max(start.shard_create_time) + 1000),
            byte1: None,
            seq_rand: None,
            version: 2,
            ..start
        });
        Ok(())
    }

    /// Encodes an event. The last one of a shard has children and no continuation.
    fn encode(
        &self,
        page: &Page,
        continuation: Option<&str>,
        end: Option<(&Stream, &str)>,
    ) -> Result<Bytes, KinesisErrorResponse> {
        let lag = page.lag();
        let children = end.map(|(stream, shard)| child_shards(stream, shard));
        let mut body = Vec::with_capacity(page.bytes / 3 * 4 + page.rows.len() * 192 + 512);
        match self.encoding {
            Encoding::Json => {
                body.extend_from_slice(b"{\"Records\":");
                page.write_json(&mut body)?;
                let position = continuation
                    .map_or_else(|| "null".to_owned(), |position| format!("\"{position}\""));
                let children = children.map_or_else(|| "[]".to_owned(), |list| list.to_string());
                let rest = format!(
                    ",\"ContinuationSequenceNumber\":{position},\"MillisBehindLatest\":{lag},\
                     \"ChildShards\":{children}}}"
                );
                body.extend_from_slice(rest.as_bytes());
            }
            Encoding::Cbor => {
                head(&mut body, MAP, 4);
                text(&mut body, "Records");
                page.write_cbor(&mut body);
                text(&mut body, "ContinuationSequenceNumber");
                match continuation {
                    Some(position) => text(&mut body, position),
                    None => body.push(NULL),
                }
                text(&mut body, "MillisBehindLatest");
                head(&mut body, UNSIGNED, lag);
                text(&mut body, "ChildShards");
                match children {
                    Some(children) => body.extend(Encoding::Cbor.encode(&children)),
                    None => head(&mut body, ARRAY, 0),
                }
            }
        }
        Ok(frame::event(body, self.encoding))
    }

    fn exception(&self, error: &str, message: &str) -> Sent {
        (frame::exception(error, message, self.encoding), Then::End)
    }

    fn fail(&self, error: &KinesisErrorResponse) -> Sent {
        self.exception(&error.body.error_type, error.body.message.as_deref().unwrap_or_default())
    }
}

/// The most records of an event: some clients refuse larger events.
const RECORDS_MAX: usize = 2000;

/// How long the bytes before a cut have to leave: an error of the body discards what is not sent.
/// hyper sends them as soon as the body has to wait.
const BEFORE_CUT: Duration = Duration::from_millis(5);

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn shard(stream: &Stream, shard_ix: i64) -> Option<&Shard> {
    stream.shards.get(usize::try_from(shard_ix).ok()?)
}

const fn is_open(shard: &Shard) -> bool {
    shard.sequence_number_range.ending_sequence_number.is_none()
}

fn stored(error: &SequenceError) -> KinesisErrorResponse {
    KinesisErrorResponse::server_error(None, Some(&format!("stored sequence number: {error}")))
}
