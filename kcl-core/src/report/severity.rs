//! How urgent an event is.

/// How urgent an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(clippy::exhaustive_enums, reason = "the levels of a log that events have")]
pub enum Severity {
    /// A change that is part of normal work.
    Info,
    /// Something failed and is retried, or needs a look if it lasts.
    Warn,
    /// Records are lost or not processed, or a shard has stopped.
    Error,
}
