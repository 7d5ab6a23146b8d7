//! A rule that does not hold, and the check that reports it.

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The oracle that found it: a name in `docs/internals/lease-protocol.md`.
    pub(super) oracle: &'static str,
    /// What broke it.
    pub(super) what: String,
}

/// Returns a [`Violation`] of `oracle` unless `holds`.
pub(super) fn require(
    holds: bool,
    oracle: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { oracle, what: what() }) }
}
