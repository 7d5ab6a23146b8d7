//! A trace: one line for each event of a world.

use std::fmt;

use crate::time::Time;

/// The lines of a world, if it keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines.
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
