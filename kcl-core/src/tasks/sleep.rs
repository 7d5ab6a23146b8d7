//! Sleeping until a moment of the fence clock.

use kcl_proto::model::Moment;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until as sleep_until_instant};

use crate::backend::Clock;

/// Sleeps until about `moment`. Callers read the clock again afterwards.
///
/// While a machine is suspended, the fence clock advances and tokio's clock does not: this sleep is
/// then late by that time, once. Deadline checks tolerate it, because they read the fence clock
/// themselves.
pub(crate) async fn sleep_until(clock: &dyn Clock, moment: Moment) {
    let rest = moment.since(clock.now());
    if rest.is_zero() {
        yield_now().await; // A loop on a moment in the past must not starve other tasks.
    } else {
        sleep_until_instant(Instant::now() + rest).await;
    }
}
