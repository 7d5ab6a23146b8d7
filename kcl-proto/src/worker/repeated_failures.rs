//! Which of many equal failures are reported: the first at once, the others as a count.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Moment;

/// The pause between two reports of equal failures.
pub const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How many kinds of failures are told apart. Beyond that, failures of one operation are equal.
const KINDS_MAX: usize = 64;

/// An operation, and the text of its error without causes.
type Kind = (&'static str, String);

/// The failures that are not reported yet. `F` is one failure.
#[derive(Debug)]
pub struct RepeatedFailures<F> {
    kinds: BTreeMap<Kind, Unreported<F>>,
}

/// The failures of one kind since its last report.
#[derive(Debug)]
struct Unreported<F> {
    report_at: Moment,
    count: u64,
    last: Option<F>,
}

/// Equal failures, as one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureReport<F> {
    /// The last of them.
    pub last: F,
    /// How many there are.
    pub count: u64,
}

impl<F> RepeatedFailures<F> {
    /// No failure yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { kinds: BTreeMap::new() }
    }

    /// Notes a failure. Returns it if it is the first of its kind, and to be reported at once.
    pub fn failed(
        &mut self,
        operation: &'static str,
        error: String,
        failure: F,
        now: Moment,
    ) -> Option<F> {
        let mut kind = (operation, error);
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            kind.1.clear();
        }
        if let Some(unreported) = self.kinds.get_mut(&kind) {
            unreported.count += 1;
            unreported.last = Some(failure);
            return None;
        }
        let report_at = now + REPORT_EVERY;
        self.kinds.insert(kind, Unreported { report_at, count: 0, last: None });
        Some(failure)
    }

    /// When [`due`](Self::due) has something to do; `None` while nothing fails.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.kinds.values().map(|unreported| unreported.report_at).min()
    }

    /// Returns the reports that are due. A kind without failures since its last report is
    /// forgotten.
    pub fn due(&mut self, now: Moment) -> Vec<FailureReport<F>> {
        let mut reports = Vec::new();
        self.kinds.retain(|_, unreported| {
            if now < unreported.report_at {
                return true;
            }
            let report = unreported.take();
            unreported.report_at = now + REPORT_EVERY;
            let is_failing = report.is_some();
            reports.extend(report);
            is_failing
        });
        reports
    }

    /// Returns all that is not reported yet, and forgets every kind.
    pub fn take_all(&mut self) -> Vec<FailureReport<F>> {
        let mut kinds = std::mem::take(&mut self.kinds);
        kinds.values_mut().filter_map(Unreported::take).collect()
    }
}

impl<F> Default for RepeatedFailures<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> Unreported<F> {
    fn take(&mut self) -> Option<FailureReport<F>> {
        let last = self.last.take()?;
        Some(FailureReport { last, count: std::mem::take(&mut self.count) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn renewal(failures: &mut RepeatedFailures<u64>, number: u64, now: Moment) -> Option<u64> {
        failures.failed("write a lease", "throttled".to_owned(), number, now)
    }

    #[test]
    fn first_is_reported_at_once_and_the_others_as_a_count() {
        let mut failures = RepeatedFailures::new();
        assert_eq!(failures.next_due(), None);
        let reported = (1..=1_000).filter_map(|it| renewal(&mut failures, it, at(10)));
        assert_eq!(reported.collect::<Vec<_>>(), [1]);
        assert_eq!(failures.due(at(14)), []);
        assert_eq!(failures.next_due(), Some(at(15)));
        assert_eq!(failures.due(at(15)), [FailureReport { last: 1_000, count: 999 }]);
        assert_eq!(renewal(&mut failures, 1_001, at(19)), None, "it lasts");
        assert_eq!(failures.due(at(20)), [FailureReport { last: 1_001, count: 1 }]);
    }

    #[test]
    fn kind_that_stopped_is_reported_at_once_again() {
        let mut failures = RepeatedFailures::new();
        assert_eq!(renewal(&mut failures, 1, at(0)), Some(1));
        assert_eq!(failures.due(at(5)), []);
        assert_eq!(failures.next_due(), None);
        assert_eq!(renewal(&mut failures, 2, at(6)), Some(2));
    }

    #[test]
    fn other_operations_and_errors_are_reported_on_their_own() {
        let mut failures = RepeatedFailures::new();
        for (operation, error) in
            [("write a lease", "throttled"), ("write a lease", "denied"), ("scan", "denied")]
        {
            assert_eq!(failures.failed(operation, error.to_owned(), 1, at(0)), Some(1));
        }
    }

    #[test]
    fn errors_that_all_differ_are_bounded() {
        let mut failures = RepeatedFailures::new();
        let reported = (0..1_000_u64)
            .filter_map(|it| failures.failed("write a lease", format!("row {it}"), it, at(0)));
        assert_eq!(reported.count(), KINDS_MAX + 1);
        let rest = failures.take_all();
        assert_eq!(rest, [FailureReport { last: 999, count: 1_000 - 65 }]);
        assert_eq!(failures.next_due(), None);
    }
}
