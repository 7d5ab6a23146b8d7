//! What happened in a world, a line for each event: the same lines for the same seed.

use std::collections::BTreeMap;
use std::fmt;

use crate::time::Time;

/// The lines of a world, or none if nobody asked for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) const fn on() -> Self {
        Self { lines: Some(Vec::new()) }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Adds a line: when, who, what.
    pub(crate) fn line(&mut self, at: Time, who: &str, what: impl fmt::Display) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at:>9} {who:<6} {what}"));
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

/// Things that workers did, which run ahead of each other: given out in the order of time.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    waiting: BTreeMap<(Time, u64), T>,
    next: u64,
}

impl<T> Default for Merge<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), next: 0 }
    }
}

impl<T> Merge<T> {
    pub(crate) fn push(&mut self, at: Time, item: T) {
        self.waiting.insert((at, self.next), item);
        self.next += 1;
    }

    /// When the first one is due.
    pub(crate) fn first(&self) -> Option<Time> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// The first one, if it is due by `until`.
    pub(crate) fn pop(&mut self, until: Time) -> Option<(Time, T)> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= until)?;
        let ((at, _), item) = entry.remove_entry();
        Some((at, item))
    }
}
