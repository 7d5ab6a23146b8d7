//! A stream in memory, and its readers.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kcl_core::backend::{
    Clock, Fetched, ReadFrom, RecordSource, ShardClosed, ShardFilter, ShardReader, SourceError,
};
use kcl_core::kpl::hash_key;
use kcl_core::model::{
    Moment, SequenceNumber, Shard, ShardId, StreamArn, StreamDescription, StreamName, Timestamp,
};

use super::iterator::{self, Reply};
use super::knobs::{Knobs, LatePage};
use super::limits::Limits;
use super::pushes::{Course, PushCounts, PushState, Pushes, Subscription};
use super::shard_map::ShardMap;

/// A stream in memory. Clones are handles to the same stream.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use kcl_core::backend::SystemClock;
/// # use kcl_core::backend::{ReadFrom, RecordSource};
/// # use kcl_sim::memory::MemoryStream;
/// # async fn example() -> Result<(), kcl_core::backend::SourceError> {
/// let stream = MemoryStream::new("orders", 2, Arc::new(SystemClock::default()));
/// let (shard, _) = stream.put("customer-7", "a pound of tea")?;
/// let mut reader = stream.open(&shard, ReadFrom::TrimHorizon).await?;
/// assert_eq!(reader.read(10).await?.records.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStream {
    name: StreamName,
    clock: Arc<dyn Clock>,
    /// Shared by producers, readers and tests. A lock, not a message: a simulation needs the answer
    /// within the same step.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    shards: Option<ShardMap>,
    incarnation: u64,
    births: i64,
    knobs: Knobs,
    push: PushState,
}

/// The most records of an event.
const EVENT_RECORDS_MAX: usize = 2_000;

/// The next records of a reader, when its next iterator was made, and the shard's end.
type Event = (Reply, Moment, Option<ShardClosed>);

impl MemoryStream {
    /// Creates a stream whose shards share the hash keys evenly, without limits.
    #[must_use]
    pub fn new(name: impl Into<StreamName>, shards: usize, clock: Arc<dyn Clock>) -> Self {
        let map = ShardMap::new(shards, clock.time_of_day(), 0);
        let (knobs, push) = (Knobs::default(), PushState::default());
        let state = State { shards: Some(map), incarnation: 1, births: 0, knobs, push };
        Self { name: name.into(), clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Puts a record, and returns its shard and sequence number.
    ///
    /// # Errors
    /// If the stream is deleted.
    pub fn put(
        &self,
        partition_key: &str,
        data: impl Into<Bytes>,
    ) -> Result<(ShardId, SequenceNumber), SourceError> {
        self.put_at(hash_key(partition_key), partition_key, data)
    }

    /// Puts a record under an explicit hash key.
    ///
    /// # Errors
    /// If the stream is deleted.
    pub fn put_at(
        &self,
        hash_key: u128,
        partition_key: &str,
        data: impl Into<Bytes>,
    ) -> Result<(ShardId, SequenceNumber), SourceError> {
        let (mut state, now) = (self.state(), self.clock.time_of_day());
        let shards = self.shards_of(&mut state)?;
        shards
            .put(hash_key, partition_key, data.into(), now)
            .ok_or_else(|| self.refused("no open shard takes this hash key"))
    }

    /// Splits an open shard; `at` becomes the first hash key of its second child.
    ///
    /// # Errors
    /// If the shard is not open, or `at` lies outside of it.
    pub fn split(&self, shard: &ShardId, at: u128) -> Result<[ShardId; 2], SourceError> {
        let (mut state, now) = (self.state(), self.clock.time_of_day());
        let shards = self.shards_of(&mut state)?;
        shards.split(shard, at, now).map_err(|why| self.refused(why))
    }

    /// Merges two adjacent open shards.
    ///
    /// # Errors
    /// If they are not open, or not adjacent.
    pub fn merge(&self, one: &ShardId, other: &ShardId) -> Result<ShardId, SourceError> {
        let (mut state, now) = (self.state(), self.clock.time_of_day());
        let shards = self.shards_of(&mut state)?;
        shards.merge(one, other, now).map_err(|why| self.refused(why))
    }

    /// Drops the records of a shard before `sequence`.
    pub fn trim_before(&self, shard: &ShardId, sequence: SequenceNumber) {
        let (mut state, now) = (self.state(), self.clock.time_of_day());
        let retention = state.knobs.retention;
        let log = state.shards.as_mut().and_then(|shards| shards.log(shard, retention, now));
        if let Some(log) = log {
            log.trim_while(|record| record.position.sequence < sequence);
        }
    }

    /// Drops all records and all closed shards.
    pub fn trim_all(&self) {
        let now = self.clock.time_of_day();
        if let Some(shards) = &mut self.state().shards {
            shards.trim_all(now);
        }
    }

    /// Deletes the stream. Calls return [`SourceError::StreamMissing`].
    pub fn delete(&self) {
        self.state().remove();
    }

    /// Deletes the stream and creates another one of the same name. Iterators expire, and sequence
    /// numbers of the former stream are refused.
    pub fn recreate(&self, shards: usize) {
        let now = self.clock.time_of_day();
        let mut state = self.state();
        state.remove();
        state.shards = Some(ShardMap::new(shards, now, state.births.saturating_add(1)));
        state.incarnation = state.incarnation.saturating_add(1);
    }

    /// Sets the retention of records, and of shards after their end.
    pub fn set_retention(&self, retention: Duration) {
        self.state().knobs.retention = retention;
    }

    /// Sets the limits of each shard.
    pub fn set_limits(&self, limits: Limits) {
        self.state().knobs.limits = limits;
    }

    /// Throttles the next `reads` reads, regardless of the limits.
    pub fn throttle_next(&self, reads: usize) {
        self.state().knobs.throttle_next = reads;
    }

    /// Sets the time after which an iterator expires.
    pub fn set_iterator_expiry(&self, expiry: Duration) {
        self.state().knobs.iterator_expiry = expiry;
    }

    /// Makes shard lists show the stream as it was `lag` ago.
    pub fn set_list_lag(&self, lag: Duration) {
        self.state().knobs.list_lag = lag;
    }

    /// Makes shard lists consist of pages of `shards` shards, of which only the `late` ones are
    /// stale: a list shows half of what happened meanwhile.
    pub fn set_page_shards(&self, shards: usize, late: LatePage) {
        let knobs = &mut self.state().knobs;
        (knobs.page_shards, knobs.late_page) = (Some(shards.max(1)), late);
    }

    /// Drops a closed shard and its records, as if its retention were over.
    ///
    /// # Errors
    /// If the shard does not exist, or is open.
    pub fn forget(&self, shard: &ShardId) -> Result<(), SourceError> {
        let mut state = self.state();
        let shards = self.shards_of(&mut state)?;
        shards.forget(shard).map_err(|why| self.refused(why))
    }

    /// Makes the end of a shard arrive in a reply of its own, not with the last records.
    pub fn set_end_apart(&self, apart: bool) {
        self.state().knobs.end_apart = apart;
    }

    /// Makes the end of a shard name no children. The shard list still does.
    pub fn set_end_childless(&self, childless: bool) {
        self.state().knobs.end_childless = childless;
    }

    /// Makes the stream push records to its readers, or refuses to: `None`, the default. Readers poll
    /// meanwhile.
    pub fn set_pushes(&self, pushes: Option<Pushes>) {
        let push = &mut self.state().push;
        push.rules = pushes;
        push.is_offered |= pushes.is_some();
    }

    /// Makes the next subscriptions bring nothing, until their readers subscribe again.
    pub fn lose_pushes(&self, subscriptions: usize) {
        self.state().push.lose_next = subscriptions;
    }

    /// Makes the next events end in their middle, and their subscriptions with them.
    pub fn tear_pushes(&self, events: usize) {
        self.state().push.tear_next = events;
    }

    /// Returns how often subscriptions began and broke.
    #[must_use]
    pub fn push_counts(&self) -> PushCounts {
        self.state().push.counts
    }

    /// Returns every shard as it is now.
    #[must_use]
    pub fn shards(&self) -> Vec<Shard> {
        let (state, now) = (self.state(), self.clock.time_of_day());
        let retention = state.knobs.retention;
        let all = |shards: &ShardMap| shards.list(&ShardFilter::All, retention, now, |_| now);
        state.shards.as_ref().map(all).unwrap_or_default()
    }

    /// Opens a reader, as [`RecordSource::open`] does.
    ///
    /// # Errors
    /// As [`RecordSource::open`].
    pub fn reader(&self, shard: &ShardId, from: ReadFrom) -> Result<MemoryReader, SourceError> {
        let (now, time) = (self.clock.now(), self.clock.time_of_day());
        let mut state = self.state();
        let State { shards, incarnation, knobs, push, .. } = &mut *state;
        let shards = shards.as_mut().ok_or_else(|| self.missing())?;
        let log = shards.log(shard, knobs.retention, time);
        let log = log.ok_or_else(|| self.shard_missing(shard))?;
        if !log.meter.admits_open(&knobs.limits, now) {
            return Err(throttled());
        }
        Ok(MemoryReader {
            stream: self.clone(),
            incarnation: *incarnation,
            shard: shard.clone(),
            next: iterator::start(log, from, time)?,
            made: now,
            end: None,
            subscription: Subscription::default(),
            may_subscribe: push.is_offered,
        })
    }

    /// Returns the next records of a reader, when its next iterator was made, and the shard's end.
    pub(super) fn read(
        &self,
        reader: &MemoryReader,
        records_max: usize,
    ) -> Result<Event, SourceError> {
        let (now, time) = (self.clock.now(), self.clock.time_of_day());
        let mut state = self.state();
        let State { shards, incarnation, knobs, .. } = &mut *state;
        let shards = shards.as_mut().ok_or_else(|| self.missing())?;
        if *incarnation != reader.incarnation || now.since(reader.made) > knobs.iterator_expiry {
            return Err(SourceError::Expired);
        }
        let log = shards.log(&reader.shard, knobs.retention, time);
        let log = log.ok_or_else(|| self.shard_missing(&reader.shard))?;
        if knobs.throttles_next() || !log.meter.admits_read(&knobs.limits, now) {
            return Err(throttled());
        }
        let reply = iterator::read(log, log.whole(), reader.next, records_max, time);
        log.meter.count_read(&knobs.limits, reply.bytes, now);
        let ends = reply.is_last && (reply.records.is_empty() || !knobs.end_apart);
        let end = ends.then(|| knobs.end(shards, &reader.shard));
        Ok((reply, now, end))
    }

    /// Returns the bytes of the event that a subscription brings now. `None` if it brings none.
    fn pushed(&self, reader: &mut MemoryReader) -> Result<Option<u64>, SourceError> {
        let (now, time) = (self.clock.now(), self.clock.time_of_day());
        let mut state = self.state();
        let State { shards, incarnation, knobs, push, .. } = &mut *state;
        let Some(rules) = push.rules else {
            reader.subscription = Subscription::default();
            return Ok(Some(0));
        };
        let shards = shards.as_mut().ok_or_else(|| self.missing())?;
        if *incarnation != reader.incarnation {
            return Err(SourceError::Expired);
        }
        let log = shards.log(&reader.shard, knobs.retention, time);
        let log = log.ok_or_else(|| self.shard_missing(&reader.shard))?;
        match push.course(&rules, &mut reader.subscription, now) {
            Course::Wait => Ok(None),
            Course::Subscribe => {
                push.begin(&mut reader.subscription, now);
                Ok(None)
            }
            Course::Bring { heartbeat } => {
                let view = log.view(time.before(rules.delay));
                let reply = iterator::read(log, view, reader.next, EVENT_RECORDS_MAX, time);
                let comes = heartbeat || reply.is_last || !reply.records.is_empty();
                Ok(comes.then_some(reply.bytes))
            }
        }
    }

    /// Returns the event that a subscription brings.
    fn event(&self, reader: &mut MemoryReader, records_max: usize) -> Result<Event, SourceError> {
        let (now, time) = (self.clock.now(), self.clock.time_of_day());
        let mut state = self.state();
        let State { shards, incarnation, knobs, push, .. } = &mut *state;
        let shards = shards.as_mut().ok_or_else(|| self.missing())?;
        if *incarnation != reader.incarnation {
            return Err(SourceError::Expired);
        }
        let log = shards.log(&reader.shard, knobs.retention, time);
        let log = log.ok_or_else(|| self.shard_missing(&reader.shard))?;
        if !push.arrives(&mut reader.subscription, now) {
            let source = "the event is torn".into();
            return Err(SourceError::Incomplete { stream: self.name.as_str().to_owned(), source });
        }
        let delay = push.rules.map_or(Duration::ZERO, |rules| rules.delay);
        let records_max = records_max.min(EVENT_RECORDS_MAX);
        let reply =
            iterator::read(log, log.view(time.before(delay)), reader.next, records_max, time);
        push.counts.late += u64::from(!delay.is_zero() && !reply.records.is_empty());
        let ends = reply.is_last && reply.records.is_empty();
        let end = ends.then(|| knobs.end(shards, &reader.shard));
        Ok((reply, now, end))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shards_of<'a>(&self, state: &'a mut State) -> Result<&'a mut ShardMap, SourceError> {
        state.shards.as_mut().ok_or_else(|| self.missing())
    }

    fn missing(&self) -> SourceError {
        SourceError::StreamMissing { stream: self.name.as_str().to_owned() }
    }

    fn shard_missing(&self, shard: &ShardId) -> SourceError {
        let stream = self.name.as_str().to_owned();
        SourceError::ShardMissing { stream, shard: shard.clone() }
    }

    fn refused(&self, why: &'static str) -> SourceError {
        SourceError::Refused { stream: self.name.as_str().to_owned(), source: why.into() }
    }
}

impl State {
    fn remove(&mut self) {
        if let Some(shards) = self.shards.take() {
            self.births = self.births.max(shards.birth());
        }
    }
}

#[async_trait]
impl RecordSource for MemoryStream {
    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        let (mut state, now) = (self.state(), self.clock.time_of_day());
        let created = self.shards_of(&mut state)?.created();
        let name = &self.name;
        let arn = StreamArn::from(format!("arn:aws:kinesis:local:000000000000:stream/{name}"));
        let now = Timestamp::from_epoch_millis(now.epoch_seconds().saturating_mul(1_000));
        let mut stream = StreamDescription::new(name.clone(), arn, created, now);
        stream.id = Some(state.incarnation.to_string());
        stream.retention = state.knobs.retention;
        Ok(stream)
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        let (state, now) = (self.state(), self.clock.time_of_day());
        let shards = state.shards.as_ref().ok_or_else(|| self.missing())?;
        Ok(shards.list(&filter, state.knobs.retention, now, state.knobs.shown_at(now)))
    }

    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError> {
        Ok(Box::new(self.reader(shard, from)?))
    }
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStream").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads one shard. A clone is an independent reader at the same position.
#[derive(Clone, Debug)]
pub struct MemoryReader {
    stream: MemoryStream,
    /// The stream of that name: iterators do not outlive it.
    incarnation: u64,
    shard: ShardId,
    /// The number of the record to read next.
    next: u64,
    /// When the service made the iterator.
    made: Moment,
    end: Option<ShardClosed>,
    subscription: Subscription,
    may_subscribe: bool,
}

impl MemoryReader {
    /// Returns the shard.
    #[must_use]
    pub const fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Returns the bytes of what the reader brings next, if anything has come: a reader of a stream
    /// that does not [push](MemoryStream::set_pushes) is always ready. Subscribes if it has to.
    ///
    /// # Errors
    /// As [`ShardReader::read`].
    pub fn ready_now(&mut self) -> Result<Option<u64>, SourceError> {
        if self.end.is_some() {
            return Ok(Some(0));
        }
        let stream = self.stream.clone();
        stream.pushed(self)
    }

    /// Returns whether the stream pushed to readers when this one was opened: then it has to be
    /// asked whether it is [ready](Self::ready_now).
    #[must_use]
    pub const fn may_subscribe(&self) -> bool {
        self.may_subscribe
    }

    /// Ends the subscription, as a broken connection does. The position stays.
    pub fn unsubscribe(&mut self) {
        self.subscription.end();
    }

    /// Returns whether the stream pushes to the reader: its next read takes what came.
    #[must_use]
    pub const fn is_subscribed(&self) -> bool {
        self.subscription.is_active()
    }

    /// Returns the next records, as [`ShardReader::read`] does.
    ///
    /// # Errors
    /// As [`ShardReader::read`].
    pub fn read_now(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        if let Some(end) = &self.end {
            return Ok(Fetched::new(Vec::new(), None, Some(end.clone())));
        }
        let (reply, made, end) = if self.is_subscribed() {
            let stream = self.stream.clone();
            stream.event(self, records_max)?
        } else {
            self.stream.read(self, records_max)?
        };
        self.next = reply.next;
        self.made = made;
        self.end.clone_from(&end);
        Ok(Fetched::new(reply.records, Some(reply.behind), end))
    }
}

#[async_trait]
impl ShardReader for MemoryReader {
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        self.read_now(records_max)
    }
}

fn throttled() -> SourceError {
    SourceError::Throttled { source: "the limits of the shard are exceeded".into() }
}
