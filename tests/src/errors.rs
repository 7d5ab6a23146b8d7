//! Error chains, as a log prints them.

use std::error::Error;

/// Returns the error and its causes in one line.
///
/// # Panics
/// If an error's message repeats its cause.
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
