//! One shard's consumer, as a total function: what each event means in each state.
//!
//! There is no state of waiting for parents: a lease whose parents have not ended is never taken.
//! The same table, in the same order, is `docs/consumer-lifecycle.md`.

/// What a consumer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Making a processor and initializing it.
    Initializing,
    /// Reading and delivering.
    Processing,
    /// All records are done: proving the children, telling the processor.
    Ending,
    /// Asked to let go: the processor finishes what it has in hand.
    Draining,
    /// The lease is gone: the processor is told.
    Losing,
    /// Nothing is left to do.
    Stopped,
}

/// What happens to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The processor is initialized.
    Initialized,
    /// Everything in the shard is read and processed.
    EndReached,
    /// The processor agrees that the shard ended, and its children are known.
    EndAgreed,
    /// The holder asks to let go.
    DrainAsked,
    /// Nothing is in hand any more, and the processor was told.
    Drained,
    /// The time to let go is up, and the processor's future was dropped.
    TimeUp,
    /// The lease is lost.
    LeaseLost,
    /// The lease's deadline passed without word from the holder.
    Overdue,
    /// The shard cannot be read.
    Unreadable,
    /// The processor was told that the lease is lost.
    LossTold,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Read and deliver.
    Deliver,
    /// Prove the children, and call `shard_ended`.
    EndShard,
    /// Tell the holder that the shard ended.
    ReportEnd,
    /// Call `shutdown_requested`.
    RequestShutdown,
    /// Tell the holder that the consumer drained.
    ReportDrained,
    /// Report that the processor hung, and tell the holder that the consumer drained.
    ReportStalled,
    /// Call `lease_lost`.
    AnnounceLoss,
    /// Tell the holder to give the lease up, and call `lease_lost`.
    GiveUp,
}

impl State {
    /// What `event` means in this state.
    #[must_use]
    pub const fn on(self, event: Event) -> (Self, Action) {
        use {Action as A, Event as E};
        match self {
            Self::Initializing => match event {
                E::Initialized => (Self::Processing, A::Deliver),
                E::DrainAsked => (Self::Draining, A::RequestShutdown),
                E::TimeUp => (Self::Stopped, A::ReportStalled),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
                E::Overdue | E::Unreadable => (Self::Losing, A::GiveUp),
                E::EndReached | E::EndAgreed | E::Drained | E::LossTold => (self, A::Nothing),
            },
            Self::Processing => match event {
                E::EndReached => (Self::Ending, A::EndShard),
                E::DrainAsked => (Self::Draining, A::RequestShutdown),
                E::TimeUp => (Self::Stopped, A::ReportStalled),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
                E::Overdue | E::Unreadable => (Self::Losing, A::GiveUp),
                E::Initialized | E::EndAgreed | E::Drained | E::LossTold => (self, A::Nothing),
            },
            Self::Ending => match event {
                E::EndAgreed => (Self::Stopped, A::ReportEnd),
                E::DrainAsked => (Self::Draining, A::RequestShutdown),
                E::TimeUp => (Self::Stopped, A::ReportStalled),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
                E::Overdue | E::Unreadable => (Self::Losing, A::GiveUp),
                E::Initialized | E::EndReached | E::Drained | E::LossTold => (self, A::Nothing),
            },
            Self::Draining => match event {
                E::Drained => (Self::Stopped, A::ReportDrained),
                E::TimeUp => (Self::Stopped, A::ReportStalled),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
                E::Overdue => (Self::Losing, A::GiveUp),
                E::Initialized
                | E::EndReached
                | E::EndAgreed
                | E::DrainAsked
                | E::Unreadable
                | E::LossTold => (self, A::Nothing),
            },
            Self::Losing => match event {
                E::LossTold => (Self::Stopped, A::Nothing),
                E::Initialized
                | E::EndReached
                | E::EndAgreed
                | E::DrainAsked
                | E::Drained
                | E::TimeUp
                | E::LeaseLost
                | E::Overdue
                | E::Unreadable => (self, A::Nothing),
            },
            Self::Stopped => match event {
                E::Initialized
                | E::EndReached
                | E::EndAgreed
                | E::DrainAsked
                | E::Drained
                | E::TimeUp
                | E::LeaseLost
                | E::Overdue
                | E::Unreadable
                | E::LossTold => (self, A::Nothing),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events: &[Event], state: State, last: Action) {
        let mut now = (State::Initializing, Action::Nothing);
        for event in events {
            now = now.0.on(*event);
        }
        assert_eq!(now, (state, last));
    }

    #[test]
    fn a_shard_is_processed_to_its_end() {
        let events = [Event::Initialized, Event::EndReached, Event::EndAgreed];
        check(&events, State::Stopped, Action::ReportEnd);
    }

    #[test]
    fn a_shard_is_drained_from_every_living_state() {
        let ways: [&[Event]; 3] =
            [&[], &[Event::Initialized], &[Event::Initialized, Event::EndReached]];
        for way in ways {
            let mut events = way.to_vec();
            events.push(Event::DrainAsked);
            check(&events, State::Draining, Action::RequestShutdown);
            events.push(Event::Drained);
            check(&events, State::Stopped, Action::ReportDrained);
        }
    }

    #[test]
    fn a_lost_lease_is_announced_once() {
        let events = [Event::Initialized, Event::LeaseLost, Event::Overdue];
        check(&events, State::Losing, Action::Nothing);
        check(&events[..2], State::Losing, Action::AnnounceLoss);
    }

    #[test]
    fn nothing_leaves_the_stopped_state() {
        let events = [Event::LeaseLost, Event::LossTold, Event::Initialized];
        check(&events, State::Stopped, Action::Nothing);
    }
}
