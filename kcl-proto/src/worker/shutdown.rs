//! How a worker stops: it announces that it leaves, drains, then releases its leases.
//!
//! | State | Ends when | At the latest |
//! |---|---|---|
//! | `Running` | a stop is requested | |
//! | `Announcing` | the other workers have seen that it leaves, or nothing is held | twice [`notice`] later |
//! | `Draining` | nothing is held | `shutdown.drain` after the request: batches in hand are cancelled |
//! | `Releasing` | nothing is held | [`RELEASE_TIME`] later: leases that remain expire |
//! | `Stopped` | every consumer has ended | [`consumers_time`] later: those that remain are left behind |
//!
//! While it announces, the worker processes records as before. Workers that know that another one
//! leaves look for free leases several times a second, so that no shard waits for their next scan.
//! In the end the last events are delivered, for at most [`EVENTS_TIME`].

use std::time::Duration;

use crate::model::Moment;

/// How long the last writes may take to settle once batches in hand are cancelled. A worker that is
/// stopped before it runs has as long to remove its presence.
pub const RELEASE_TIME: Duration = Duration::from_secs(5);

/// How long a processor's `lease_lost` may take.
pub const LEASE_LOST_TIME: Duration = Duration::from_secs(10);

/// The longest time between two scans of other workers that a stop waits for.
const NOTICE_MAX: Duration = Duration::from_secs(2);

/// How long the other workers take to see that this one leaves, if their scans are `scan_every`
/// apart or less often by jitter. At most a quarter of the time in which the worker drains.
#[must_use]
pub fn notice(scan_every: Duration, drain: Duration) -> Duration {
    (scan_every + scan_every / 4).min(NOTICE_MAX).min(drain / 4)
}

/// How long the last events may take to reach the log and the observers. Those that remain are
/// delivered while the process lives.
pub const EVENTS_TIME: Duration = Duration::from_secs(1);

/// The longest time from a request to stop until `Worker::run` returns, on top of `shutdown.drain`
/// and `delivery.cancel_grace`.
pub const BOUND: Duration =
    RELEASE_TIME.saturating_add(LEASE_LOST_TIME).saturating_add(EVENTS_TIME);

/// How long consumers may take to end once their worker holds no lease.
#[must_use]
pub const fn consumers_time(cancel_grace: Duration) -> Duration {
    LEASE_LOST_TIME.saturating_add(cancel_grace)
}

/// How far a worker has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It takes and holds leases.
    Running,
    /// It takes no lease, and processes records of those that it holds.
    Announcing {
        /// When the other workers have seen that it leaves, or are not waited for.
        end: Moment,
        /// When batches in hand are cancelled.
        until: Moment,
    },
    /// It starts no consumer. Batches in hand finish, and each lease is released once its consumer
    /// is done.
    Draining {
        /// When batches in hand are cancelled.
        until: Moment,
    },
    /// Batches in hand are cancelled, and their leases released.
    Releasing {
        /// When they were cancelled.
        since: Moment,
    },
    /// The lease side is over.
    Stopped,
}

/// Something that happened to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The application asked the worker to stop, or it cannot continue.
    StopRequested {
        /// Until when it announces that it leaves.
        end: Moment,
        /// When batches in hand are cancelled.
        until: Moment,
    },
    /// Its row says that it leaves.
    Announced {
        /// When the other workers have seen it.
        end: Moment,
    },
    /// No lease is held, no take is in flight, and no request is open; while it drains, its
    /// presence is removed, too.
    AllReleased,
    /// The moment of [`wake_at`](Shutdown::wake_at) has passed.
    TimeUp,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Continue.
    Nothing,
    /// Announce that the worker leaves, and withdraw every request.
    Announce,
    /// Drain and release every lease, and remove the presence.
    ReleaseLeases {
        /// When batches in hand are cancelled.
        until: Moment,
    },
}

impl Shutdown {
    /// Returns what `event` means in this state.
    #[must_use]
    pub fn on(self, event: Event) -> (Self, Action) {
        use {Action as A, Event as E};
        match self {
            Self::Running => match event {
                E::StopRequested { end, until } => (Self::Announcing { end, until }, A::Announce),
                E::Announced { .. } | E::AllReleased | E::TimeUp => (self, A::Nothing),
            },
            Self::Announcing { end: latest, until } => match event {
                // The first request counts: a second one does not move the end.
                E::StopRequested { .. } => (self, A::Nothing),
                E::Announced { end } => {
                    (Self::Announcing { end: end.min(latest), until }, A::Nothing)
                }
                E::AllReleased | E::TimeUp => {
                    (Self::Draining { until }, A::ReleaseLeases { until })
                }
            },
            Self::Draining { until } => match event {
                E::StopRequested { .. } | E::Announced { .. } => (self, A::Nothing),
                E::AllReleased => (Self::Stopped, A::Nothing),
                E::TimeUp => (Self::Releasing { since: until }, A::Nothing),
            },
            Self::Releasing { .. } => match event {
                E::StopRequested { .. } | E::Announced { .. } => (self, A::Nothing),
                E::AllReleased | E::TimeUp => (Self::Stopped, A::Nothing),
            },
            Self::Stopped => match event {
                E::StopRequested { .. } | E::Announced { .. } | E::AllReleased | E::TimeUp => {
                    (self, A::Nothing)
                }
            },
        }
    }

    /// When this state's time is up, or `None` if it has no end of its own.
    #[must_use]
    pub fn wake_at(self) -> Option<Moment> {
        match self {
            Self::Running | Self::Stopped => None,
            Self::Announcing { end, until } => Some(end.min(until)),
            Self::Draining { until } => Some(until),
            Self::Releasing { since } => Some(since + RELEASE_TIME),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Moment {
        Moment::from_origin(SECOND * seconds)
    }

    const NOTHING: Action = Action::Nothing;

    #[track_caller]
    fn check(state: Shutdown, event: Event, next: Shutdown, action: Action) {
        assert_eq!(state.on(event), (next, action), "{event:?} in {state:?}");
    }

    const REQUEST: Event =
        Event::StopRequested { end: Moment::at_secs(2), until: Moment::at_secs(20) };
    const ANNOUNCING: Shutdown =
        Shutdown::Announcing { end: Moment::at_secs(2), until: Moment::at_secs(20) };
    const DRAINING: Shutdown = Shutdown::Draining { until: Moment::at_secs(20) };
    const RELEASING: Shutdown = Shutdown::Releasing { since: Moment::at_secs(20) };

    #[test]
    fn a_worker_announces_drains_and_releases() {
        let release = Action::ReleaseLeases { until: at(20) };
        check(Shutdown::Running, REQUEST, ANNOUNCING, Action::Announce);
        check(ANNOUNCING, Event::TimeUp, DRAINING, release);
        check(DRAINING, Event::TimeUp, RELEASING, NOTHING);
        check(RELEASING, Event::TimeUp, Shutdown::Stopped, NOTHING);
    }

    #[test]
    fn announcement_ends_once_the_others_have_seen_it() {
        let sooner = Shutdown::Announcing { end: at(1), until: at(20) };
        check(ANNOUNCING, Event::Announced { end: at(1) }, sooner, NOTHING);
        check(ANNOUNCING, Event::Announced { end: at(3) }, ANNOUNCING, NOTHING);
        assert_eq!(sooner.wake_at(), Some(at(1)));
    }

    #[test]
    fn it_stops_as_soon_as_nothing_is_held() {
        for state in [DRAINING, RELEASING] {
            check(state, Event::AllReleased, Shutdown::Stopped, NOTHING);
        }
        check(ANNOUNCING, Event::AllReleased, DRAINING, Action::ReleaseLeases { until: at(20) });
    }

    #[test]
    fn a_running_worker_may_hold_nothing() {
        for event in [Event::AllReleased, Event::Announced { end: at(1) }, Event::TimeUp] {
            check(Shutdown::Running, event, Shutdown::Running, NOTHING);
        }
    }

    #[test]
    fn a_second_request_does_not_move_the_end() {
        let later = Event::StopRequested { end: at(12), until: at(30) };
        for state in [ANNOUNCING, DRAINING, RELEASING, Shutdown::Stopped] {
            check(state, later, state, NOTHING);
        }
    }

    #[test]
    fn a_late_announcement_changes_nothing() {
        for state in [DRAINING, RELEASING, Shutdown::Stopped] {
            check(state, Event::Announced { end: at(1) }, state, NOTHING);
        }
    }

    #[test]
    fn a_stopped_worker_does_nothing() {
        for event in [REQUEST, Event::AllReleased, Event::TimeUp] {
            check(Shutdown::Stopped, event, Shutdown::Stopped, NOTHING);
        }
    }

    #[test]
    fn notice_covers_a_scan_of_the_others_and_leaves_time_to_drain() {
        assert_eq!(notice(SECOND, SECOND * 20), Duration::from_millis(1_250));
        assert_eq!(notice(SECOND * 60, SECOND * 20), NOTICE_MAX);
        assert_eq!(notice(SECOND, SECOND), SECOND / 4);
    }

    #[test]
    fn the_bound_is_the_sum_of_all_steps() {
        let (drain, cancel_grace) = (SECOND * 20, SECOND * 3);
        let (end, until) = (at(0) + notice(SECOND, drain) * 2, at(0) + drain);
        let (mut state, _) = Shutdown::Running.on(Event::StopRequested { end, until });
        let mut end = at(0);
        while let Some(wake_at) = state.wake_at() {
            end = wake_at;
            (state, _) = state.on(Event::TimeUp);
        }
        assert_eq!(state, Shutdown::Stopped);
        let end = end + consumers_time(cancel_grace) + EVENTS_TIME;
        assert_eq!(end - at(0), drain + BOUND + cancel_grace);
    }
}
