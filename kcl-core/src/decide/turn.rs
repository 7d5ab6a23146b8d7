//! Whose turn housekeeping is: shard sync and cleanup, which one worker of a fleet is enough for.
//!
//! Nobody is elected. The present workers stand in line by their ids: the first one runs every
//! period, and each further one half as often as the one before it. So a fleet of any size runs one to
//! two times per period, a worker alone runs every period, and if the first is dead or stuck,
//! the second has run within two, even before anybody noticed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::WorkerId;

/// How much of the delay chance may take away.
const JITTER: f64 = 0.2;

/// How many times the delay doubles, at most. A place so far behind runs when it has moved up.
const DOUBLINGS_MAX: usize = 16;

/// How long after its last run, or its start, `me` runs again.
///
/// Draw `chance` from `0.0..1.0` once per run, and ask again with the same one whenever the
/// present workers changed: who was before this one may be gone.
#[must_use]
pub fn delay(
    me: &WorkerId,
    present: &BTreeSet<WorkerId>,
    period: Duration,
    chance: f64,
) -> Duration {
    let place = present.range::<WorkerId, _>(..me).take(DOUBLINGS_MAX).count();
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 };
    let doubled = (0..place).fold(period, |delay, _| delay.saturating_mul(2));
    doubled.saturating_sub(doubled.mul_f64(JITTER * chance))
}
