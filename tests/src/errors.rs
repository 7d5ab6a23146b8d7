//! Errors as a log shows them.

use std::error::Error;

/// The error with its causes in one line.
///
/// # Panics
/// If a cause is printed twice: once by itself, and once more by what it caused.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut messages = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        messages.push(error.to_string());
        cause = error.source();
    }
    for (outer, inner) in messages.iter().zip(messages.iter().skip(1)) {
        assert!(!outer.contains(inner.as_str()), "printed twice: {messages:?}");
    }
    messages.join(": ")
}
