//! The series of one ownership of one shard.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::{Moment, ShardId};

use crate::backend::{Fetched, SourceError};
use crate::metrics::catalogue;
use crate::metrics::cells::{Counter, Histogram, Timing};
use crate::metrics::family::Family;
use crate::metrics::snapshot::{Origin, Sample, Value};

/// How a call of `process_records` ended, as the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchOutcome {
    /// It returned `Ok` for records with this many bytes of data.
    Ok {
        bytes: usize,
    },
    Error,
    Panic,
    Cancelled,
}

/// What is known about a held shard at any moment.
pub(crate) trait LiveShard: fmt::Debug + Send + Sync {
    /// Returns how the shard is doing at `now`.
    fn signs(&self, now: Moment) -> ShardSigns;
}

/// How a held shard is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSigns {
    /// How many records are done since the lease was taken.
    pub(crate) records: u64,
    /// How far the last read was behind, or `None` before the first one.
    pub(crate) behind: Option<Duration>,
    /// How old the oldest record that is not done may be.
    pub(crate) age: Option<Duration>,
    /// Whether a call of the application's code takes long.
    pub(crate) is_slow: bool,
    /// The time that is left to the lease's deadline.
    pub(crate) headroom: Duration,
}

/// The series of one ownership of one shard.
#[derive(Debug)]
pub(crate) struct ShardSeries {
    pub(super) origin: Origin,
    bytes: Family<Counter>,
    batches: Family<Counter>,
    process_time: Family<Timing>,
    behind: Timing,
    pub(super) retries: Family<Counter>,
    pub(super) set_aside: Family<Counter>,
    pub(super) dead_letter_failures: Family<Counter>,
    reads: Family<Counter>,
    read_time: Family<Timing>,
    read_records: Family<Counter>,
    read_bytes: Family<Counter>,
    opens: Family<Counter>,
    open_time: Family<Timing>,
    /// Those of the whole worker.
    common: Arc<CommonSeries>,
}

/// What all shards of a worker share.
#[derive(Debug)]
pub(crate) struct CommonSeries {
    pub(super) calls: Family<Histogram>,
    pub(super) memory_wait: Family<Timing>,
}

impl Default for CommonSeries {
    fn default() -> Self {
        Self {
            calls: Family::new(&catalogue::CALL_SECONDS),
            memory_wait: Family::new(&catalogue::MEMORY_WAIT_SECONDS),
        }
    }
}

impl ShardSeries {
    /// All series at zero, for the ownership with this number.
    pub(crate) fn new(shard: ShardId, ownership: u64, common: Arc<CommonSeries>) -> Self {
        Self {
            origin: Origin::shard(shard, ownership),
            bytes: Family::new(&catalogue::BYTES),
            batches: Family::new(&catalogue::BATCHES),
            process_time: Family::new(&catalogue::PROCESS_SECONDS),
            behind: Timing::default(),
            retries: Family::new(&catalogue::RETRIES),
            set_aside: Family::new(&catalogue::SET_ASIDE),
            dead_letter_failures: Family::new(&catalogue::DEAD_LETTER_FAILURES),
            reads: Family::new(&catalogue::READS),
            read_time: Family::new(&catalogue::READ_SECONDS),
            read_records: Family::new(&catalogue::READ_RECORDS),
            read_bytes: Family::new(&catalogue::READ_BYTES),
            opens: Family::new(&catalogue::OPENS),
            open_time: Family::new(&catalogue::OPEN_SECONDS),
            common,
        }
    }

    /// Notes that a call of the application's code ended. A name without series is left out.
    pub(crate) fn call_ended(&self, call: &'static str, time: Duration) {
        let call = match call {
            "dead letter" => "dead_letter",
            call if catalogue::CALL_SECONDS.labels.iter().any(|it| it.values.contains(&call)) => {
                call
            }
            _ => return, // A wait, such as that for acknowledgements.
        };
        observe(&self.common.calls, &[call], time);
        if call == "process_records"
            && let Some(timing) = self.process_time.get(&[])
        {
            timing.observe(time);
        }
    }

    /// Notes how a call of `process_records` ended.
    pub(crate) fn batch_ended(&self, outcome: BatchOutcome) {
        let label = match outcome {
            BatchOutcome::Ok { bytes } => {
                add(&self.bytes, &[], number(bytes));
                "ok"
            }
            BatchOutcome::Error => "error",
            BatchOutcome::Panic => "panic",
            BatchOutcome::Cancelled => "cancelled",
        };
        add(&self.batches, &[label], 1);
    }

    /// Notes that a read waited for memory.
    pub(crate) fn waited_for_memory(&self, time: Duration) {
        if let Some(timing) = self.common.memory_wait.get(&[]) {
            timing.observe(time);
        }
    }

    /// Notes how a read ended.
    pub(super) fn read_ended(&self, outcome: &Result<Fetched, SourceError>, time: Duration) {
        let label = match outcome {
            Ok(fetched) => {
                if let Some(behind) = fetched.behind_latest {
                    self.behind.observe(behind);
                }
                add(&self.read_records, &[], number(fetched.records.len()));
                add(&self.read_bytes, &[], bytes(fetched));
                if fetched.records.is_empty() { "empty" } else { "records" }
            }
            Err(SourceError::Throttled { .. }) => "throttled",
            Err(SourceError::Expired) => "expired",
            Err(_) => "error",
        };
        add(&self.reads, &[label], 1);
        if let Some(timing) = self.read_time.get(&[]) {
            timing.observe(time);
        }
    }

    /// Notes how the opening of a reader ended.
    pub(super) fn open_ended(&self, outcome: &'static str, time: Duration) {
        add(&self.opens, &[outcome], 1);
        if let Some(timing) = self.open_time.get(&[]) {
            timing.observe(time);
        }
    }

    /// Appends all series.
    pub(super) fn read(&self, signs: ShardSigns, reader: Option<usize>, into: &mut Vec<Sample>) {
        let origin = &self.origin;
        let gauge = |metric, values, value| {
            let origin = origin.clone();
            Sample { metric, origin, values, value, seen: None }
        };
        into.push(gauge(&catalogue::RECORDS, ["", ""], Value::Count(signs.records)));
        self.bytes.read(origin, reader, into);
        self.batches.read(origin, reader, into);
        self.process_time.read(origin, reader, into);
        if let Some(behind) = signs.behind {
            let value = Value::Number(behind.as_secs_f64());
            let sample = gauge(&catalogue::LAG_SECONDS, ["read", ""], value);
            into.push(Sample { seen: Some(self.behind.seen(reader)), ..sample });
        }
        if let Some(age) = signs.age {
            let value = Value::Number(age.as_secs_f64());
            into.push(gauge(&catalogue::LAG_SECONDS, ["done", ""], value));
        }
        self.retries.read(origin, reader, into);
        self.set_aside.read(origin, reader, into);
        self.dead_letter_failures.read(origin, reader, into);
        self.reads.read(origin, reader, into);
        self.read_time.read(origin, reader, into);
        self.read_records.read(origin, reader, into);
        self.read_bytes.read(origin, reader, into);
        self.opens.read(origin, reader, into);
        self.open_time.read(origin, reader, into);
    }
}

/// Adds to a count.
pub(super) fn add(family: &Family<Counter>, values: &[&str], count: u64) {
    if let Some(counter) = family.get(values) {
        counter.add(count);
    }
}

/// Adds a duration to a histogram.
pub(super) fn observe(family: &Family<Histogram>, values: &[&str], time: Duration) {
    if let Some(histogram) = family.get(values) {
        histogram.observe(time);
    }
}

/// A number of things.
pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What the service counts of a reply.
fn bytes(fetched: &Fetched) -> u64 {
    let sizes = fetched.records.iter();
    number(sizes.map(|record| record.data.len() + record.partition_key.as_str().len()).sum())
}
