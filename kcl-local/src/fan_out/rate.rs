//! A limit of calls in any second: [`Rate`].

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The calls of the last second. Refused calls do not count.
#[derive(Debug, Default)]
pub(crate) struct Rate(VecDeque<Instant>);

impl Rate {
    /// Counts a call and returns true, unless it is one more than `most` within a second.
    pub(crate) fn allows(&mut self, most: usize, now: Instant) -> bool {
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= SECOND) {
            self.0.pop_front();
        }
        let allowed = self.0.len() < most;
        if allowed {
            self.0.push_back(now);
        }
        allowed
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_limited_within_any_second() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let mut at = |millis| rate.allows(2, start + Duration::from_millis(millis));
        assert_eq!(
            [at(0), at(500), at(900), at(1000), at(1100), at(1500)],
            [true, true, false, true, false, true]
        );
    }
}
