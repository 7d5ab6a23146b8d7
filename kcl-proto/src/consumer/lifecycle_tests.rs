//! Paths through the lifecycle, and what holds in every state.

use super::*;
use {Action as A, ConsumerEnd as C, Event as E, State as S};

const STATES: [State; 8] = [
    S::Initializing,
    S::Processing,
    S::Ending,
    S::Draining,
    S::Failing,
    S::Leaving,
    S::Losing,
    S::Stopped,
];

const EVENTS: [Event; 10] = [
    E::Succeeded,
    E::Failed,
    E::Panicked,
    E::PauseOver,
    E::EndReached,
    E::DrainAsked,
    E::Unrecoverable,
    E::TimeUp,
    E::DeadlinePassed,
    E::LeaseLost,
];

/// Applies the events from the first state on; compares every state and action on the way.
#[track_caller]
fn check(rows: &[(Event, State, Action)]) {
    let mut state = S::Initializing;
    for (event, next, action) in rows {
        assert_eq!(state.on(*event), (*next, *action), "{event:?} while {state:?}");
        state = *next;
    }
}

#[test]
fn shard_is_processed_to_its_end() {
    check(&[
        (E::Succeeded, S::Processing, A::Deliver),
        (E::Succeeded, S::Processing, A::Deliver),
        (E::EndReached, S::Ending, A::EndShard),
        (E::Succeeded, S::Leaving, A::Leave(C::ShardEnded)),
        (E::Succeeded, S::Stopped, A::Stop),
    ]);
}

#[test]
fn failure_is_retried_after_a_pause() {
    check(&[
        (E::Failed, S::Initializing, A::Pause),
        (E::PauseOver, S::Initializing, A::Initialize),
        (E::Succeeded, S::Processing, A::Deliver),
        (E::Failed, S::Processing, A::Pause),
        (E::PauseOver, S::Processing, A::Deliver),
        (E::EndReached, S::Ending, A::EndShard),
        (E::Failed, S::Ending, A::Pause),
        (E::PauseOver, S::Ending, A::EndShard),
    ]);
}

#[test]
fn panic_initializes_a_new_processor() {
    check(&[
        (E::Succeeded, S::Processing, A::Deliver),
        (E::Panicked, S::Initializing, A::Pause),
        (E::PauseOver, S::Initializing, A::Initialize),
        (E::Succeeded, S::Processing, A::Deliver),
        (E::EndReached, S::Ending, A::EndShard),
        (E::Panicked, S::Initializing, A::Pause),
    ]);
}

#[test]
fn drain_requests_shutdown_then_leaves() {
    for state in [S::Processing, S::Ending] {
        assert_eq!(state.on(E::DrainAsked), (S::Draining, A::RequestShutdown));
    }
    for event in [E::Succeeded, E::Failed, E::Panicked] {
        assert_eq!(S::Draining.on(event), (S::Leaving, A::Leave(C::Drained)));
    }
    assert_eq!(S::Initializing.on(E::DrainAsked), (S::Leaving, A::Leave(C::Drained)));
}

#[test]
fn unrecoverable_shard_requests_shutdown_then_leaves() {
    for state in [S::Processing, S::Ending] {
        assert_eq!(state.on(E::Unrecoverable), (S::Failing, A::RequestShutdown));
    }
    assert_eq!(S::Failing.on(E::Succeeded), (S::Leaving, A::Leave(C::Failed)));
    assert_eq!(S::Failing.on(E::TimeUp), (S::Losing, A::Abandon(C::Failed)));
}

#[test]
fn loss_is_announced_in_every_running_state() {
    for state in [S::Initializing, S::Processing, S::Ending, S::Draining, S::Failing] {
        assert_eq!(state.on(E::LeaseLost), (S::Losing, A::AnnounceLoss), "{state:?}");
        let overdue = (S::Losing, A::Abandon(C::Failed));
        assert_eq!(state.on(E::DeadlinePassed), overdue, "{state:?}");
    }
}

#[test]
fn processor_that_hangs_past_the_drain_is_abandoned() {
    for state in [S::Initializing, S::Processing, S::Ending, S::Draining] {
        assert_eq!(state.on(E::TimeUp), (S::Losing, A::Abandon(C::Drained)), "{state:?}");
    }
}

#[test]
fn nothing_runs_after_the_end_is_reported() {
    for state in [S::Leaving, S::Losing, S::Stopped] {
        for event in EVENTS {
            assert_eq!(state.on(event), (S::Stopped, A::Stop), "{event:?} while {state:?}");
        }
    }
}

#[test]
fn application_runs_only_while_the_lease_is_held() {
    for (state, event) in STATES.into_iter().flat_map(|s| EVENTS.map(|e| (s, e))) {
        let (next, action) = state.on(event);
        let runs = matches!(
            action,
            A::Initialize | A::Deliver | A::Pause | A::EndShard | A::RequestShutdown
        );
        let held = [S::Initializing, S::Processing, S::Ending, S::Draining, S::Failing];
        assert_eq!(runs, held.contains(&next), "{event:?} while {state:?}");
    }
}
