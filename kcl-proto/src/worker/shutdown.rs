//! How a worker stops: it drains, then releases its leases.
//!
//! | State | Ends when | At the latest |
//! |---|---|---|
//! | `Running` | a stop is requested | |
//! | `Draining` | nothing is held | `shutdown.drain` later: batches in hand are cancelled |
//! | `Releasing` | nothing is held | [`RELEASE_TIME`] later: leases that remain expire |
//! | `Stopped` | every consumer has ended | [`consumers_time`] later: those that remain are left behind |

use std::time::Duration;

use crate::model::Moment;

/// How long the last writes may take to settle once batches in hand are cancelled. A worker that is
/// stopped before it runs has as long to remove its presence.
pub const RELEASE_TIME: Duration = Duration::from_secs(5);

/// How long a processor's `lease_lost` may take.
pub const LEASE_LOST_TIME: Duration = Duration::from_secs(10);

/// The longest time from a request to stop until `Worker::run` returns, on top of `shutdown.drain`
/// and `delivery.cancel_grace`.
pub const BOUND: Duration = RELEASE_TIME.saturating_add(LEASE_LOST_TIME);

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
    /// It takes no lease and starts no consumer. Batches in hand finish, and each lease is released
    /// once its consumer is done.
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
        /// When batches in hand are cancelled.
        until: Moment,
    },
    /// Its presence is removed, so that no other worker counts on it.
    PresenceRemoved,
    /// No lease is held, no take is in flight, and no request is open.
    AllReleased,
    /// The moment of [`wake_at`](Shutdown::wake_at) has passed.
    TimeUp,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Continue.
    Nothing,
    /// Remove the presence, and withdraw every request.
    LeaveFleet,
    /// Drain and release every lease.
    ReleaseLeases {
        /// When batches in hand are cancelled.
        until: Moment,
    },
}

impl Shutdown {
    /// Returns what `event` means in this state.
    #[must_use]
    pub const fn on(self, event: Event) -> (Self, Action) {
        use {Action as A, Event as E};
        match self {
            Self::Running => match event {
                E::StopRequested { until } => (Self::Draining { until }, A::LeaveFleet),
                E::PresenceRemoved | E::AllReleased | E::TimeUp => (self, A::Nothing),
            },
            Self::Draining { until } => match event {
                // The first request counts: a second one does not move the end.
                E::StopRequested { .. } => (self, A::Nothing),
                E::PresenceRemoved => (self, A::ReleaseLeases { until }),
                E::AllReleased => (Self::Stopped, A::Nothing),
                E::TimeUp => (Self::Releasing { since: until }, A::Nothing),
            },
            Self::Releasing { since } => match event {
                E::StopRequested { .. } => (self, A::Nothing),
                // The removal took longer than the drain: there is no time left for batches.
                E::PresenceRemoved => (self, A::ReleaseLeases { until: since }),
                E::AllReleased | E::TimeUp => (Self::Stopped, A::Nothing),
            },
            Self::Stopped => match event {
                E::StopRequested { .. } | E::PresenceRemoved | E::AllReleased | E::TimeUp => {
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

    #[test]
    fn a_worker_drains_then_releases() {
        let (draining, releasing) =
            (Shutdown::Draining { until: at(20) }, Shutdown::Releasing { since: at(20) });
        check(
            Shutdown::Running,
            Event::StopRequested { until: at(20) },
            draining,
            Action::LeaveFleet,
        );
        check(draining, Event::PresenceRemoved, draining, Action::ReleaseLeases { until: at(20) });
        check(draining, Event::TimeUp, releasing, NOTHING);
        check(releasing, Event::TimeUp, Shutdown::Stopped, NOTHING);
    }

    #[test]
    fn it_stops_as_soon_as_nothing_is_held() {
        for state in [Shutdown::Draining { until: at(20) }, Shutdown::Releasing { since: at(20) }] {
            check(state, Event::AllReleased, Shutdown::Stopped, NOTHING);
        }
    }

    #[test]
    fn a_running_worker_may_hold_nothing() {
        for event in [Event::AllReleased, Event::PresenceRemoved, Event::TimeUp] {
            check(Shutdown::Running, event, Shutdown::Running, NOTHING);
        }
    }

    #[test]
    fn a_second_request_does_not_move_the_end() {
        for state in [
            Shutdown::Draining { until: at(20) },
            Shutdown::Releasing { since: at(20) },
            Shutdown::Stopped,
        ] {
            check(state, Event::StopRequested { until: at(30) }, state, NOTHING);
        }
    }

    #[test]
    fn leases_are_released_even_if_the_presence_is_removed_late() {
        let state = Shutdown::Releasing { since: at(20) };
        check(state, Event::PresenceRemoved, state, Action::ReleaseLeases { until: at(20) });
    }

    #[test]
    fn a_stopped_worker_does_nothing() {
        for event in [Event::PresenceRemoved, Event::AllReleased, Event::TimeUp] {
            check(Shutdown::Stopped, event, Shutdown::Stopped, NOTHING);
        }
    }

    #[test]
    fn the_bound_is_the_sum_of_all_steps() {
        let (drain, cancel_grace) = (SECOND * 20, SECOND * 3);
        let (mut state, _) = Shutdown::Running.on(Event::StopRequested { until: at(0) + drain });
        let mut end = at(0);
        while let Some(wake_at) = state.wake_at() {
            end = wake_at;
            (state, _) = state.on(Event::TimeUp);
        }
        assert_eq!(state, Shutdown::Stopped);
        assert_eq!(end - at(0) + consumers_time(cancel_grace), drain + BOUND + cancel_grace);
    }
}
