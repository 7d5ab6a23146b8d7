//! Span constructors and field names, and the log lines of events.
