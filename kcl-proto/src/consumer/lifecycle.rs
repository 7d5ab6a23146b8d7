//! The lifecycle of one shard's consumer: a total function of state and event.
//!
//! There is no state of waiting for parents: a worker never takes a lease whose parents have not
//! ended, so a consumer that exists may start. `docs/concepts/consumer-lifecycle.md` shows the same
//! table.

/// The state of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Creates and initializes a processor.
    Initializing,
    /// Reads and delivers batches.
    Processing,
    /// Every record is done: finds the shard's children, then calls `shard_ended`.
    Ending,
    /// The holder asked for a drain, and no batch is in hand: calls `shutdown_requested`.
    Draining,
    /// The shard cannot be processed, and the lease is still held: calls `shutdown_requested`.
    Failing,
    /// Reported its end to the holder. No code of the application runs.
    Leaving,
    /// The lease is gone, or is released while the processor hangs: calls `lease_lost`.
    Losing,
    /// Ended.
    Stopped,
}

/// What happened to a consumer. Each action ends with one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The action succeeded.
    Succeeded,
    /// The processor returned an error.
    Failed,
    /// The processor panicked, or an acknowledgement failed: it was dropped, and a new one takes
    /// over.
    Panicked,
    /// The pause after a failure is over.
    PauseOver,
    /// Every record of the shard is done.
    EndReached,
    /// The holder asks for a drain. A batch in hand is finished first, or fails without time for
    /// another attempt.
    DrainAsked,
    /// The shard cannot be read, or the policy is to stop after lost or failed records.
    Unrecoverable,
    /// The time of the drain is up, and the application's future was dropped.
    TimeUp,
    /// The lease's deadline passed without a renewal.
    DeadlinePassed,
    /// The lease is lost.
    LeaseLost,
}

/// The next action of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create a processor, and call `initialize`.
    Initialize,
    /// Deliver the batch in hand, or the next one.
    Deliver,
    /// Wait before the next attempt.
    Pause,
    /// Find the children, and call `shard_ended`.
    EndShard,
    /// Call `shutdown_requested`.
    RequestShutdown,
    /// Report the end to the holder, and wait until it is done with the lease.
    Leave(ConsumerEnd),
    /// Report the end to the holder, and call `lease_lost`.
    Abandon(ConsumerEnd),
    /// Call `lease_lost`.
    AnnounceLoss,
    /// End.
    Stop,
}

/// How a consumer ends, as it reports to its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerEnd {
    /// The shard has ended.
    ShardEnded,
    /// The drain is complete.
    Drained,
    /// The shard cannot be processed by this worker.
    Failed,
}

impl State {
    /// The next state and action after `event`.
    #[must_use]
    pub const fn on(self, event: Event) -> (Self, Action) {
        use {Action as A, ConsumerEnd as C, Event as E};
        match self {
            Self::Initializing => match event {
                E::Succeeded => (Self::Processing, A::Deliver),
                E::Failed | E::Panicked => (Self::Initializing, A::Pause),
                E::PauseOver | E::EndReached => (Self::Initializing, A::Initialize),
                // No processor is initialized.
                E::DrainAsked => (Self::Leaving, A::Leave(C::Drained)),
                E::Unrecoverable => (Self::Leaving, A::Leave(C::Failed)),
                E::TimeUp => (Self::Losing, A::Abandon(C::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(C::Failed)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::Processing => match event {
                E::Succeeded | E::PauseOver => (Self::Processing, A::Deliver),
                E::Failed => (Self::Processing, A::Pause),
                E::Panicked => (Self::Initializing, A::Pause),
                E::EndReached => (Self::Ending, A::EndShard),
                E::DrainAsked => (Self::Draining, A::RequestShutdown),
                E::Unrecoverable => (Self::Failing, A::RequestShutdown),
                E::TimeUp => (Self::Losing, A::Abandon(C::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(C::Failed)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::Ending => match event {
                E::Succeeded => (Self::Leaving, A::Leave(C::ShardEnded)),
                E::Failed => (Self::Ending, A::Pause),
                // The new processor returns here through `Processing`, which finds nothing to read.
                E::Panicked => (Self::Initializing, A::Pause),
                E::PauseOver | E::EndReached => (Self::Ending, A::EndShard),
                E::DrainAsked => (Self::Draining, A::RequestShutdown),
                E::Unrecoverable => (Self::Failing, A::RequestShutdown),
                E::TimeUp => (Self::Losing, A::Abandon(C::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(C::Failed)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::Draining => match event {
                // A failure is reported and not retried: the next owner is waiting.
                E::Succeeded
                | E::Failed
                | E::Panicked
                | E::PauseOver
                | E::EndReached
                | E::DrainAsked
                | E::Unrecoverable => (Self::Leaving, A::Leave(C::Drained)),
                E::TimeUp => (Self::Losing, A::Abandon(C::Drained)),
                E::DeadlinePassed => (Self::Losing, A::Abandon(C::Failed)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            Self::Failing => match event {
                E::Succeeded
                | E::Failed
                | E::Panicked
                | E::PauseOver
                | E::EndReached
                | E::DrainAsked
                | E::Unrecoverable => (Self::Leaving, A::Leave(C::Failed)),
                E::TimeUp | E::DeadlinePassed => (Self::Losing, A::Abandon(C::Failed)),
                E::LeaseLost => (Self::Losing, A::AnnounceLoss),
            },
            // The processor has received its last call, or receives it with this action.
            Self::Leaving | Self::Losing | Self::Stopped => match event {
                E::Succeeded
                | E::Failed
                | E::Panicked
                | E::PauseOver
                | E::EndReached
                | E::DrainAsked
                | E::Unrecoverable
                | E::TimeUp
                | E::DeadlinePassed
                | E::LeaseLost => (Self::Stopped, A::Stop),
            },
        }
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
