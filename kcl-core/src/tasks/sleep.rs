//! Sleeping until a moment of the fence clock.

use kcl_proto::model::Moment;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until as sleep_until_instant};

use crate::backend::Clock;

/// Sleeps until about `moment`: whoever wakes looks at the clock again.
///
/// The fence clock may jump ahead of tokio's while a machine is suspended; then this wakes late by
/// that much at most once, which every deadline check tolerates because it asks the clock itself.
pub(crate) async fn sleep_until(clock: &dyn Clock, moment: Moment) {
    let rest = moment.since(clock.now());
    if rest.is_zero() {
        yield_now().await; // Whoever loops on a moment that is past must not starve the others.
    } else {
        sleep_until_instant(Instant::now() + rest).await;
    }
}
