//! What happened in a story, in order: events of workers and calls of processors.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::event::Event;
use kcl_core::model::{Position, WorkerId};

use crate::journal::{Entry as Logged, Ownership};
use crate::time::Time;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The time since the story began.
    pub at: Duration,
    /// The worker's name.
    pub worker: String,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The worker emitted an event.
    Event(Event),
    /// A processor of a shard was made, called, or its call ended.
    Call {
        /// The shard's number.
        shard: usize,
        /// The fencing token of the processor's lease.
        token: u64,
        /// The call in words: `made`, `initialize`, `process a b #1` with records and attempt,
        /// `shard ended`, `shutdown requested`, `lease lost`; `done` or `dropped` for its end.
        words: String,
        /// The records of `process`.
        records: Vec<String>,
    },
    /// A processor noted that it began a record, or was done with it.
    Handled(Handled),
}

/// A note about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled {
    /// The time since the story began.
    pub at: Duration,
    /// The processor: its fencing token, and how many processors of the story were made before.
    pub processor: (u64, usize),
    /// The record's position.
    pub position: Position,
    /// The record's data.
    pub record: String,
    /// Whether the record is done; else it is begun.
    pub is_done: bool,
}

/// A record that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The time since the story began.
    pub at: Duration,
    /// The worker's name.
    pub worker: String,
    /// The fencing token of the processor's lease.
    pub token: u64,
    /// The first 100 bytes of the record.
    pub record: String,
}

/// The journal of a story. Clones are the same journal.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    state: Rc<RefCell<State>>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// The data of delivered records.
    data: BTreeMap<(Ownership, Position), String>,
    /// How many processors were made.
    made: usize,
    /// The processor of each worker's shard, by the number of processors before it.
    alive: BTreeMap<(WorkerId, Ownership), usize>,
}

impl State {
    fn entry(&mut self, at: Time, who: &WorkerId, logged: Logged) {
        let at = Duration::from_millis(at.millis());
        let what = match logged {
            Logged::Event(event) => What::Event(event),
            Logged::Made { of, .. } => {
                self.alive.insert((who.clone(), of.clone()), self.made);
                self.made += 1;
                call(&of, "made")
            }
            Logged::Called { of, call: name } => call(&of, &name.replace('_', " ")),
            Logged::Delivered { of, records, data, attempt } => {
                let texts: Vec<_> = data.iter().map(text).collect();
                for (position, text) in records.into_iter().zip(&texts) {
                    self.data.insert((of.clone(), position), text.clone());
                }
                let words = format!("process {} #{attempt}", texts.join(" "));
                let (shard, token) = (shard_number(of.shard.as_str()), of.token);
                What::Call { shard, token, words, records: texts }
            }
            Logged::Returned { of } => call(&of, "done"),
            Logged::Dropped { of } => call(&of, "dropped"),
            Logged::Begun { of, record } => {
                What::Handled(self.handled(at, (who, &of), record, false))
            }
            Logged::Done { of, record } => {
                What::Handled(self.handled(at, (who, &of), record, true))
            }
            Logged::Asked { .. }
            | Logged::Gone { .. }
            | Logged::Polled { .. }
            | Logged::Processed { .. }
            | Logged::Detached { .. }
            | Logged::Stored { .. } => return,
        };
        self.entries.push(Entry { at, worker: who.name().to_owned(), what });
    }

    fn handled(
        &self,
        at: Duration,
        (who, of): (&WorkerId, &Ownership),
        position: Position,
        is_done: bool,
    ) -> Handled {
        let nth = self.alive.get(&(who.clone(), of.clone())).copied().unwrap_or_default();
        let record = self.data.get(&(of.clone(), position)).cloned().unwrap_or_default();
        Handled { at, processor: (of.token, nth), position, record, is_done }
    }
}

fn call(of: &Ownership, words: &str) -> What {
    let (shard, token) = (shard_number(of.shard.as_str()), of.token);
    What::Call { shard, token, words: words.to_owned(), records: Vec::new() }
}

/// The most bytes of a record that the journal keeps.
const TEXT_MAX: usize = 100;

fn text(data: &Bytes) -> String {
    let (kept, _) = data.split_at(data.len().min(TEXT_MAX));
    String::from_utf8_lossy(kept).into_owned()
}

/// The number in a shard's id.
pub(super) fn shard_number(shard: &str) -> usize {
    shard.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(usize::MAX)
}

impl Journal {
    pub(super) fn add(&self, entries: Vec<(Time, WorkerId, Logged)>) {
        let mut state = self.state.borrow_mut();
        entries.into_iter().for_each(|(at, who, logged)| state.entry(at, &who, logged));
    }

    /// All entries, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.state.borrow().entries.clone()
    }

    /// Each record as often as it was delivered, in order.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivered> {
        let mut all = Vec::new();
        for entry in &self.state.borrow().entries {
            if let What::Call { token, records, .. } = &entry.what {
                let delivered = |record: &String| Delivered {
                    at: entry.at,
                    worker: entry.worker.clone(),
                    token: *token,
                    record: record.clone(),
                };
                all.extend(records.iter().map(delivered));
            }
        }
        all
    }

    /// The data of the records that were delivered, in order.
    #[must_use]
    pub fn delivered(&self) -> Vec<String> {
        self.deliveries().into_iter().map(|delivered| delivered.record).collect()
    }

    /// The workers that got a record, one for each time that it was delivered.
    #[must_use]
    pub fn who_got(&self, record: &str) -> Vec<String> {
        let all = self.deliveries().into_iter().filter(|delivered| delivered.record == record);
        all.map(|delivered| delivered.worker).collect()
    }

    /// Whether a record was delivered.
    #[must_use]
    pub fn has(&self, record: &str) -> bool {
        let is_it = |entry: &Entry| match &entry.what {
            What::Call { records, .. } => records.iter().any(|got| got == record),
            What::Event(_) | What::Handled(_) => false,
        };
        self.state.borrow().entries.iter().any(is_it)
    }

    /// The calls for a shard in words, each followed by its end.
    #[must_use]
    pub fn calls(&self, of: usize) -> Vec<String> {
        let words = |entry: &Entry| match &entry.what {
            What::Call { shard, words, .. } if *shard == of => Some(words.clone()),
            What::Call { .. } | What::Event(_) | What::Handled(_) => None,
        };
        self.state.borrow().entries.iter().filter_map(words).collect()
    }

    /// The notes of processors about records, in order.
    #[must_use]
    pub fn handled(&self) -> Vec<Handled> {
        let note = |entry: &Entry| match &entry.what {
            What::Handled(handled) => Some(handled.clone()),
            What::Call { .. } | What::Event(_) => None,
        };
        self.state.borrow().entries.iter().filter_map(note).collect()
    }

    /// The first event that `choose` chooses: its time, its worker, and what was chosen.
    pub fn event<T>(&self, choose: impl Fn(&Event) -> Option<T>) -> Option<(Duration, String, T)> {
        self.events(choose).into_iter().next()
    }

    /// All events that `choose` chooses.
    pub fn events<T>(&self, choose: impl Fn(&Event) -> Option<T>) -> Vec<(Duration, String, T)> {
        let chosen = |entry: &Entry| match &entry.what {
            What::Event(event) => Some((entry.at, entry.worker.clone(), choose(event)?)),
            What::Call { .. } | What::Handled(_) => None,
        };
        self.state.borrow().entries.iter().filter_map(chosen).collect()
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.state.borrow().entries {
            writeln!(f, "{:>9.3?} {} {:?}", entry.at, entry.worker, entry.what)?;
        }
        Ok(())
    }
}
