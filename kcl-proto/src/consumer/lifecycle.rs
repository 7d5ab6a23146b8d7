//! One shard's consumer, as a total function: what each event means in each state.
//!
//! There is no state of waiting for parents: a lease whose parents have not ended is never taken, so
//! a consumer that exists may start. `docs/concepts/consumer-lifecycle.md` is the same table, in the same
//! order.

/// What a consumer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Makes a processor and initializes it.
    Initializing,
    /// Reads and delivers.
    Processing,
    /// Every record is done: proves the children, and lets the processor agree.
    Ending,
    /// Asked to let go, and nothing is in hand: the processor is told.
    Draining,
    /// Cannot go on with the shard while the lease is still held: the processor is told.
    GivingUp,
    /// Told the holder its last word. No code of the application runs any more.
    Leaving,
    /// The lease is gone, or is being given away over the processor's head: it is told.
    Losing,
    /// Over.
    Stopped,
}

/// What happened to a consumer. Each action ends with one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// What was to be done is done.
    Succeeded,
    /// The processor said that it failed.
    Failed,
    /// The processor panicked, or a record under way will not be acknowledged: it is gone, and another
    /// one has to take over.
    Panicked,
    /// The pause after a failure is over.
    PauseOver,
    /// Every record of the shard is processed.
    EndReached,
    /// The holder asks to let go. A batch in hand is finished, or fails and there is no time to try
    /// it again, before this is noticed.
    DrainAsked,
    /// The shard cannot be read, or must not be read on; or records used up their attempts, and the
    /// policy is to stop.
    Hopeless,
    /// The time to let go is up, and the application's future was dropped.
    TimeUp,
    /// The lease's deadline passed without a word from the holder.
    DeadlinePassed,
    /// The lease is lost.
    LeaseLost,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a processor, and call `initialize`.
    Initialize,
    /// Deliver the batch in hand, or the next one.
    Deliver,
    /// Wait before what failed is tried again.
    Pause,
    /// Prove the children, and call `shard_ended`.
    EndShard,
    /// Call `shutdown_requested`.
    RequestShutdown,
    /// Tell the holder, and wait until it is done with the lease.
    Leave(LastWord),
    /// Tell the holder, and call `lease_lost`.
    Abandon(LastWord),
    /// Call `lease_lost`.
    AnnounceLoss,
    /// End.
    Stop,
}

/// What the holder is told in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWord {
    /// The shard is finished.
    ShardEnded,
    /// Everything is put down, as was asked for.
    Drained,
    /// The consumer cannot go on.
    GaveUp,
}

impl State {
    /// What `event` means in this state.
    #[must_use]
    pub const fn on(self, event: Event) -> (Self, Action) {
        use {Action as A, Event as E, LastWord as L};
        match self {
            Self::Initializing => match event {
                E::Succeeded => (Self::Processing, A::Deliver),
                E::Failed | E::Panicked => (Self::Initializing, A::Pause),
                E::PauseOver | E::EndReached => (Self::Initializing, A::Initialize),
                // There is no processor to be told.
                E::DrainAsked => (Self::Leaving, A::Leave(L::Drained)),
                E::Hopeless => (Self::Leaving, A::Leave(L::GaveUp)),
                E::TimeUp => (Self::Losing, A::Abandon(L::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(L::GaveUp)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::Processing => match event {
                E::Succeeded | E::PauseOver => (Self::Processing, A::Deliver),
                E::Failed => (Self::Processing, A::Pause),
                E::Panicked => (Self::Initializing, A::Pause),
                E::EndReached => (Self::Ending, A::EndShard),
                E::DrainAsked => (Self::Draining, A::RequestShutdown),
                E::Hopeless => (Self::GivingUp, A::RequestShutdown),
                E::TimeUp => (Self::Losing, A::Abandon(L::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(L::GaveUp)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::Ending => match event {
                E::Succeeded => (Self::Leaving, A::Leave(L::ShardEnded)),
                E::Failed => (Self::Ending, A::Pause),
                // The new processor is led here by way of `Processing`, which finds nothing to read.
                E::Panicked => (Self::Initializing, A::Pause),
                E::PauseOver | E::EndReached => (Self::Ending, A::EndShard),
                E::DrainAsked => (Self::Draining, A::RequestShutdown),
                E::Hopeless => (Self::GivingUp, A::RequestShutdown),
                E::TimeUp => (Self::Losing, A::Abandon(L::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(L::GaveUp)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::Draining => match event {
                // What fails here is reported, not tried again: the next owner is waiting.
                E::Succeeded
                | E::Failed
                | E::Panicked
                | E::PauseOver
                | E::EndReached
                | E::DrainAsked
                | E::Hopeless => (Self::Leaving, A::Leave(L::Drained)),
                E::TimeUp => (Self::Losing, A::Abandon(L::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(L::GaveUp)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::GivingUp => match event {
                E::Succeeded
                | E::Failed
                | E::Panicked
                | E::PauseOver
                | E::EndReached
                | E::DrainAsked
                | E::Hopeless => (Self::Leaving, A::Leave(L::GaveUp)),
                E::TimeUp | E::DeadlinePassed => (Self::Losing, A::Abandon(L::GaveUp)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            // The processor had its last call already, or is being given it.
            Self::Leaving | Self::Losing | Self::Stopped => match event {
                E::Succeeded
                | E::Failed
                | E::Panicked
                | E::PauseOver
                | E::EndReached
                | E::DrainAsked
                | E::Hopeless
                | E::TimeUp
                | E::DeadlinePassed
                | E::LeaseLost => (Self::Stopped, A::Stop),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use {Action as A, Event as E, LastWord as L, State as S};

    const STATES: [State; 8] = [
        S::Initializing,
        S::Processing,
        S::Ending,
        S::Draining,
        S::GivingUp,
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
        E::Hopeless,
        E::TimeUp,
        E::DeadlinePassed,
        E::LeaseLost,
    ];

    /// Runs through events from the beginning; compares every action on the way.
    #[track_caller]
    fn check(rows: &[(Event, State, Action)]) {
        let mut state = S::Initializing;
        for (event, next, action) in rows {
            assert_eq!(state.on(*event), (*next, *action), "{event:?} while {state:?}");
            state = *next;
        }
    }

    #[test]
    fn a_shard_is_processed_to_its_end() {
        check(&[
            (E::Succeeded, S::Processing, A::Deliver),
            (E::Succeeded, S::Processing, A::Deliver),
            (E::EndReached, S::Ending, A::EndShard),
            (E::Succeeded, S::Leaving, A::Leave(L::ShardEnded)),
            (E::Succeeded, S::Stopped, A::Stop),
        ]);
    }

    #[test]
    fn what_fails_is_tried_again_after_a_pause() {
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
    fn after_a_panic_another_processor_is_initialized() {
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
    fn a_drain_ends_with_the_processor_told_and_the_lease_let_go() {
        for state in [S::Processing, S::Ending] {
            assert_eq!(state.on(E::DrainAsked), (S::Draining, A::RequestShutdown));
        }
        for event in [E::Succeeded, E::Failed, E::Panicked] {
            assert_eq!(S::Draining.on(event), (S::Leaving, A::Leave(L::Drained)));
        }
        assert_eq!(S::Initializing.on(E::DrainAsked), (S::Leaving, A::Leave(L::Drained)));
    }

    #[test]
    fn a_shard_that_cannot_be_read_is_given_up_in_good_order() {
        for state in [S::Processing, S::Ending] {
            assert_eq!(state.on(E::Hopeless), (S::GivingUp, A::RequestShutdown));
        }
        assert_eq!(S::GivingUp.on(E::Succeeded), (S::Leaving, A::Leave(L::GaveUp)));
        assert_eq!(S::GivingUp.on(E::TimeUp), (S::Losing, A::Abandon(L::GaveUp)));
    }

    #[test]
    fn a_loss_is_announced_wherever_the_application_may_be_running() {
        for state in [S::Initializing, S::Processing, S::Ending, S::Draining, S::GivingUp] {
            assert_eq!(state.on(E::LeaseLost), (S::Losing, A::AnnounceLoss), "{state:?}");
            let overdue = (S::Losing, A::Abandon(L::GaveUp));
            assert_eq!(state.on(E::DeadlinePassed), overdue, "{state:?}");
        }
    }

    #[test]
    fn a_processor_that_hangs_past_the_drain_is_abandoned() {
        for state in [S::Initializing, S::Processing, S::Ending, S::Draining] {
            assert_eq!(state.on(E::TimeUp), (S::Losing, A::Abandon(L::Drained)), "{state:?}");
        }
    }

    #[test]
    fn once_the_last_word_is_said_nothing_runs_any_more() {
        for state in [S::Leaving, S::Losing, S::Stopped] {
            for event in EVENTS {
                assert_eq!(state.on(event), (S::Stopped, A::Stop), "{event:?} while {state:?}");
            }
        }
    }

    #[test]
    fn the_application_runs_only_while_the_lease_is_held() {
        for (state, event) in STATES.into_iter().flat_map(|s| EVENTS.map(|e| (s, e))) {
            let (next, action) = state.on(event);
            let runs = matches!(
                action,
                A::Initialize | A::Deliver | A::Pause | A::EndShard | A::RequestShutdown
            );
            let held = [S::Initializing, S::Processing, S::Ending, S::Draining, S::GivingUp];
            assert_eq!(runs, held.contains(&next), "{event:?} while {state:?}");
        }
    }
}
