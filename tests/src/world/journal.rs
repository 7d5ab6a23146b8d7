//! Everything that happened to a fleet, in order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kcl_core::event::{Event, EventContext, Observer};

use super::clock::TestClock;

/// When something happened, from the start of the test.
pub type Moment = Duration;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// When.
    pub at: Moment,
    /// To whom.
    pub worker: String,
    /// What.
    pub said: Said,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "two kinds of entries")]
pub enum Said {
    /// The worker said this.
    Event(Event),
    /// A processor of `shard` was called, or its call ended.
    Call {
        /// Of which shard, as its number.
        shard: usize,
        /// Under which fencing token.
        token: u64,
        /// How.
        call: Call,
    },
}

/// A call of a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what a processor is called for")]
pub enum Call {
    /// It was made.
    Made,
    /// `initialize`.
    Initialize,
    /// `process_records`.
    Process {
        /// The data of the records.
        records: Vec<String>,
        /// Which attempt it is.
        attempt: u32,
    },
    /// The call before came to its end.
    Done,
    /// The future of the call before was dropped.
    Dropped,
    /// `shard_ended`.
    ShardEnded,
    /// `shutdown_requested`.
    ShutdownRequested,
    /// `lease_lost`.
    LeaseLost,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made => f.write_str("made"),
            Self::Initialize => f.write_str("initialize"),
            Self::Process { records, attempt } => {
                write!(f, "process {} #{attempt}", records.join(" "))
            }
            Self::Done => f.write_str("done"),
            Self::Dropped => f.write_str("dropped"),
            Self::ShardEnded => f.write_str("shard ended"),
            Self::ShutdownRequested => f.write_str("shutdown requested"),
            Self::LeaseLost => f.write_str("lease lost"),
        }
    }
}

/// The journal of a fleet. Clones are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    clock: TestClock,
    // Written from synchronous code of several workers: no message could keep their order.
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new(clock: TestClock) -> Self {
        Self { clock, entries: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, worker: &str, said: Said) {
        let entry = Entry { at: self.clock.elapsed(), worker: worker.to_owned(), said };
        self.lock().push(entry);
    }

    /// Everything so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// What was delivered so far: when, to whom, under which token, which record.
    #[must_use]
    pub fn deliveries(&self) -> Vec<(Moment, String, u64, String)> {
        let mut all = Vec::new();
        for entry in self.entries() {
            if let Said::Call { token, call: Call::Process { records, .. }, .. } = entry.said {
                let of = |record| (entry.at, entry.worker.clone(), token, record);
                all.extend(records.into_iter().map(of));
            }
        }
        all
    }

    /// The records that were delivered so far, in order.
    #[must_use]
    pub fn delivered(&self) -> Vec<String> {
        self.deliveries().into_iter().map(|(_, _, _, record)| record).collect()
    }

    /// Who got a record, each time it was delivered.
    #[must_use]
    pub fn who_got(&self, record: &str) -> Vec<String> {
        let all = self.deliveries().into_iter();
        all.filter(|(_, _, _, got)| got == record).map(|(_, worker, ..)| worker).collect()
    }

    /// Whether a record was delivered.
    #[must_use]
    pub fn has(&self, record: &str) -> bool {
        self.delivered().iter().any(|got| got == record)
    }

    /// The calls for a shard so far, in words.
    #[must_use]
    pub fn calls(&self, of: usize) -> Vec<String> {
        let words = |entry: Entry| match entry.said {
            Said::Call { shard, call, .. } if shard == of => Some(call.to_string()),
            Said::Call { .. } | Said::Event(_) => None,
        };
        self.entries().into_iter().filter_map(words).collect()
    }

    /// The first event that `wanted` chooses: when, whose, and what was chosen.
    pub fn event<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> Option<(Moment, String, T)> {
        self.events(wanted).into_iter().next()
    }

    /// All events that `wanted` chooses.
    pub fn events<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> Vec<(Moment, String, T)> {
        let chosen = |entry: &Entry| match &entry.said {
            Said::Event(event) => Some((entry.at, entry.worker.clone(), wanted(event)?)),
            Said::Call { .. } => None,
        };
        self.lock().iter().filter_map(chosen).collect()
    }

    /// The observer of one worker.
    #[must_use]
    pub(super) fn observer(&self, worker: &str) -> JournalObserver {
        JournalObserver { journal: self.clone(), worker: worker.to_owned() }
    }
}

/// Writes one worker's events down.
#[derive(Debug)]
pub(super) struct JournalObserver {
    journal: Journal,
    worker: String,
}

impl Observer for JournalObserver {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.journal.note(&self.worker, Said::Event(event.clone()));
    }
}
