//! The check of a failure policy.

use std::time::Duration;

use kcl_proto::model::FailurePolicy;

use crate::config::error::{Mistake, check_count, check_duration};

/// Checks the limits of `policy`.
pub(super) fn check(policy: &FailurePolicy, mistakes: &mut Vec<Mistake>) {
    if let Some(attempts) = policy.attempts_max {
        let range = (1, usize::MAX);
        check_count(mistakes, "delivery.failure.attempts_max", attempts, range);
    }
    if let Some(time) = policy.retry_for {
        let range = (Duration::from_millis(1), Duration::MAX);
        check_duration(mistakes, "delivery.failure.retry_for", time, range);
    }
}
