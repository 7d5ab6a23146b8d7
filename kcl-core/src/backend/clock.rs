//! The two clocks of a worker: the fence clock, and the time of day. Only this file reads them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kcl_proto::model::{Moment, Timestamp};

/// The time. Simulations replace it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The fence clock: never goes back, and counts the time that the machine is suspended.
    ///
    /// Leases are held by it. With a clock that stops while the machine is suspended, a worker
    /// would resume and count leases as its own that other workers have taken.
    fn now(&self) -> Moment;

    /// The time of day by this machine's clock, which may be wrong.
    fn time_of_day(&self) -> Timestamp;

    /// Notes that the lease side has planned over this many leases. A simulation charges time for
    /// it; by default nothing happens.
    fn planned(&self, leases: usize) {
        let _ = leases;
    }

    /// Returns for how long the task of a held lease stands still before it goes on. A simulation
    /// freezes one now and then; by default none stands still.
    fn holder_freeze(&self) -> Option<Duration> {
        None
    }
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Moment::from_origin(Duration::new(seconds, nanos))
    }

    /// Elsewhere the monotonic clock, which on Apple's and Microsoft's systems counts suspended
    /// time or not, depending on their version.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Moment::from_origin(Duration::new(seconds, nanos))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    fn time_of_day(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_epoch_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fence_clock_never_goes_back() {
        let first = SystemClock.now();
        assert!(SystemClock.now() >= first);
    }
}
