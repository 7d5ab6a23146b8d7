//! Reads one shard, at its pace, from where it stands.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::clock::Clock;
use crate::decide::pace::{Pace, ReadDone};
use crate::decide::resume::Resume;
use crate::decide::retry;
use crate::engine::side::Chance;
use crate::engine::timer::sleep_until;
use crate::event::Event;
use crate::model::{Moment, Position, SequenceNumber, ShardId};
use crate::record_source::{Fetched, ReadFrom, RecordSource, ShardReader, SourceError};
use crate::telemetry::{Events, chain};

/// The shortest and longest pause after a failed read.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How many failures in a row that retrying cannot mend let a consumer give its lease up.
const HOPELESS_MAX: u32 = 5;

/// What a fetch needs and keeps.
pub(super) struct Fetch {
    pub(super) source: Arc<dyn RecordSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Events,
    pub(super) chance: Arc<Chance>,
    pub(super) shard: ShardId,
    pub(super) records_max: usize,
    from: ReadFrom,
    done: Option<Position>,
    first: Option<SequenceNumber>,
    reader: Option<Box<dyn ShardReader>>,
    pace: Pace,
    next_read: Moment,
    failures: u32,
    hopeless: u32,
}

/// What every fetch of a worker needs.
#[derive(Clone, Debug)]
pub(super) struct FetchParts {
    pub(super) source: Arc<dyn RecordSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Events,
    pub(super) chance: Arc<Chance>,
}

/// The shard cannot be read, and retrying does not help.
#[derive(Debug)]
pub(super) struct Hopeless;

impl Fetch {
    pub(super) fn new(
        parts: FetchParts,
        shard: ShardId,
        resume: Resume,
        (poll_every, records_max): (Duration, usize),
    ) -> Self {
        let next_read = parts.clock.now();
        Self {
            source: parts.source,
            clock: parts.clock,
            events: parts.events,
            chance: parts.chance,
            shard,
            records_max,
            from: resume.from,
            done: resume.done,
            first: None,
            reader: None,
            pace: Pace::new(poll_every),
            next_read,
            failures: 0,
            hopeless: 0,
        }
    }

    /// The first record that was read, done or not: shows whether earlier ones were trimmed.
    pub(super) const fn first(&self) -> Option<SequenceNumber> {
        self.first
    }

    /// What comes next in the shard: possibly no record, but never one twice.
    pub(super) async fn next(mut self: Box<Self>) -> (Box<Self>, Result<Fetched, Hopeless>) {
        loop {
            sleep_until(&*self.clock, self.next_read).await;
            let started = self.clock.now();
            match self.read().await {
                Ok(fetched) => {
                    let fetched = self.take_in(fetched, started);
                    return (self, Ok(fetched));
                }
                Err(SourceError::Throttled { .. }) => {
                    self.next_read =
                        self.pace.after_throttled(self.chance.draw(), self.clock.now());
                }
                Err(SourceError::Expired) => self.reader = None,
                Err(error) => {
                    if let Err(hopeless) = self.failed(&error).await {
                        return (self, Err(hopeless));
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Fetched, SourceError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(self.source.open(&self.shard, self.from).await?),
        };
        reader.read(self.records_max).await
    }

    fn take_in(&mut self, mut fetched: Fetched, started: Moment) -> Fetched {
        self.failures = 0;
        self.hopeless = 0;
        let bytes = fetched
            .records
            .iter()
            .map(|record| record.data.len() + record.partition_key.as_str().len())
            .sum::<usize>();
        let read = ReadDone {
            started,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            is_caught_up: fetched.is_caught_up(),
        };
        self.next_read = self.pace.after_read(read, self.clock.now());
        if let Some(last) = fetched.records.last() {
            self.first = self
                .first
                .or_else(|| fetched.records.first().map(|record| record.position.sequence));
            self.from = ReadFrom::At(last.position.sequence);
            if let Some(done) = self.done {
                fetched.records.retain(|record| record.position > done);
            }
            self.done = self.done.max(fetched.records.last().map(|record| record.position));
        }
        fetched
    }

    async fn failed(&mut self, error: &SourceError) -> Result<(), Hopeless> {
        self.reader = None;
        self.failures = self.failures.saturating_add(1);
        self.hopeless = if error.is_retryable() { 0 } else { self.hopeless + 1 };
        let retry_in = retry::pause(self.failures, PAUSES, self.chance.draw());
        let (shard, error) = (self.shard.clone(), chain(error));
        self.events.emit(&Event::FetchFailed { shard, error, retry_in });
        if self.hopeless >= HOPELESS_MAX {
            return Err(Hopeless);
        }
        sleep(retry_in).await;
        Ok(())
    }
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("shard", &self.shard)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
