//! Settings that cannot work.

use std::time::Duration;

use kcl_core::Worker;
use kcl_core::config::WorkerConfig;

use crate::scene::check;

#[test]
fn every_setting_out_of_its_range_is_named_in_one_error() {
    let mut config = WorkerConfig::default();
    config.lease.expiry = Duration::from_millis(500);
    config.lease.renew_every = Some(Duration::from_millis(400));
    config.lease.leases_max = Some(0);
    config.lease.hand_over = Duration::ZERO;
    config.lease.hand_overs_max = 0;
    config.lease.scan_units = 0;
    config.retrieval.poll_every = Duration::ZERO;
    config.retrieval.records_max = 0;
    config.delivery.retry_min = Duration::ZERO;
    config.delivery.retry_max = Duration::from_hours(2);
    config.delivery.cancel_grace = Duration::from_hours(1);
    config.delivery.slow_after = Duration::ZERO;
    config.shutdown.drain = Duration::ZERO;
    let error = Worker::builder("").config(config).build().unwrap_err();
    let text = error.to_string();
    check(&text, &["lease.expiry (500ms) must be at least 3 x lease.renew_every (400ms)"]);
    check(&text, &["lease.expiry (500ms) must be between 1s and", "lease.leases_max (0)"]);
    check(&text, &["lease.hand_over (0ns)", "lease.hand_overs_max (0)", "lease.scan_units (0)"]);
    check(&text, &["retrieval.poll_every (0ns)", "retrieval.records_max (0)"]);
    check(&text, &["delivery.retry_min (0ns)", "delivery.retry_max (7200s)"]);
    check(&text, &["delivery.cancel_grace (3600s)", "shutdown.drain (0ns)"]);
    check(&text, &["delivery.slow_after (0ns)"]);
    check(&text, &["worker name must", "records is missing", "leases is missing"]);
    check(&text, &["processor is missing"]);
}
