//! The failures of one consumer's calls: how often in a row, and which one is not reported yet.

use std::time::Duration;

use kcl_proto::consumer::lifecycle::Event as Happened;
use kcl_proto::model::Moment;

use crate::data_side::call_outcome::Call;
use crate::processor::record_failures::RecordFailures;
use crate::report::event::Event;

/// A failed call.
#[derive(Debug)]
struct Failure {
    call: Call,
    attempt: u32,
    error: String,
}

/// Failures of one call in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    count: u32,
    since: Option<Moment>,
}

/// The failures in a row of each kind of call.
#[derive(Debug, Default)]
pub(super) struct Retries {
    initialize: Streak,
    shard_ended: Streak,
    /// Failures of `process_records` or the dead letter in a row.
    pub(super) deliveries: u32,
    /// Reported once its retry is scheduled.
    unreported: Option<Failure>,
}

impl Retries {
    /// The number of failures that the next pause follows.
    pub(super) fn count(&self) -> u32 {
        self.deliveries.max(self.initialize.count).max(self.shard_ended.count)
    }

    /// Counts a failure of `initialize` or `shard_ended`. Returns how many there are in a row, and
    /// for how long.
    pub(super) fn count_failure(&mut self, call: Call, now: Moment) -> (u32, Duration) {
        let streak = self.streak(call);
        streak.count = streak.count.saturating_add(1);
        (streak.count, now - *streak.since.get_or_insert(now))
    }

    /// Ends the streak of `initialize` or `shard_ended`.
    pub(super) fn reset(&mut self, call: Call) {
        *self.streak(call) = Streak::default();
    }

    fn streak(&mut self, call: Call) -> &mut Streak {
        if call == Call::Initialize { &mut self.initialize } else { &mut self.shard_ended }
    }

    /// Keeps a failure for [`report`](Self::report).
    pub(super) fn failed(&mut self, call: Call, attempt: u32, error: String) -> Happened {
        self.unreported = Some(Failure { call, attempt, error });
        Happened::Failed
    }

    /// Reports the last failure, with the pause before its retry.
    pub(super) fn report(&mut self, records: &RecordFailures, retry_in: Option<Duration>) {
        let Some(Failure { call, attempt, error }) = self.unreported.take() else { return };
        let shard = records.info.shard_id.clone();
        match call {
            Call::ProcessRecords => {
                let retry_in = retry_in.unwrap_or_default();
                records.events.emit(&Event::BatchFailed { shard, attempt, error, retry_in });
            }
            Call::DeadLetter(position) => {
                records.dead_letter_failed(position, attempt, error, retry_in);
            }
            Call::Initialize | Call::ShardEnded | Call::ShutdownRequested => {
                let call = call.name();
                records.events.emit(&Event::ProcessorFailed {
                    shard,
                    call,
                    attempt,
                    error,
                    retry_in,
                });
            }
        }
    }
}
