//! One step of a world with sessions, the budget that bounds how often each kind occurs, and scopes.

use std::time::Duration;

/// The index of a worker.
pub(super) type Who = usize;

/// To which row a worker has a write in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Session,
    Lease,
}

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Both clocks advance, or with drift only the one that is behind.
    Tick,
    /// The copy with this index in the network reaches the table.
    Land(usize),
    /// The answer to a write arrives.
    Answer(Who, Line),
    /// A write fails: its outcome is unknown to the worker.
    Fail(Who, Line),
    /// A timer of a machine fires.
    Wake(Who, Line),
    /// The holder reads the row.
    Read(Who),
    /// The worker opens a session.
    Open(Who),
    /// The worker condemns the silent one with this index.
    Condemn(Who, usize),
    /// The worker deletes the row of a dead one that no lease names.
    Bury(Who),
    /// The worker takes the lease.
    Take(Who),
    /// The worker settles the lease that names it and that it does not hold.
    Settle(Who),
    /// The worker asks for the lease.
    Ask(Who),
    /// A stopping worker takes its request back.
    Withdraw(Who),
    /// The consumer processes a record.
    Process(Who),
    /// The application asks for a checkpoint.
    Checkpoint(Who),
    /// The application prepares a checkpoint.
    Prepare(Who),
    /// The consumer has drained.
    Drained(Who),
    /// The consumer of a lost lease ends.
    Leave(Who),
    /// The worker is asked to stop.
    Stop(Who),
    /// The consumers of the worker are cancelled, and it resigns.
    Resign(Who),
    /// The worker has stopped, and removes its row.
    Close(Who),
    /// The worker crashes and restarts.
    Crash(Who),
    /// A human or an older worker deletes the row of this worker.
    Wipe(Who),
}

/// How often each kind of step may still occur.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) ticks: u8,
    pub(super) failures: u8,
    pub(super) batches: u8,
    pub(super) checkpoints: u8,
    pub(super) prepares: u8,
    pub(super) asks: u8,
    pub(super) stops: u8,
    pub(super) resigns: u8,
    pub(super) crashes: u8,
    pub(super) wipes: u8,
    /// How many new sessions a worker may open after it was condemned.
    pub(super) lives: u8,
}

impl Budget {
    /// Takes one from the budget of `step`, if that kind of step has one.
    pub(super) fn spend(&mut self, step: Step) {
        let left = match step {
            Step::Tick => &mut self.ticks,
            Step::Fail(..) => &mut self.failures,
            Step::Process(_) => &mut self.batches,
            Step::Checkpoint(_) => &mut self.checkpoints,
            Step::Prepare(_) => &mut self.prepares,
            Step::Ask(_) => &mut self.asks,
            Step::Stop(_) => &mut self.stops,
            Step::Resign(_) => &mut self.resigns,
            Step::Crash(_) => &mut self.crashes,
            Step::Wipe(_) => &mut self.wipes,
            Step::Open(_) => &mut self.lives,
            _ => return,
        };
        *left -= 1;
    }
}

/// What proves that the leases of a worker are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// Its session.
    Session,
    /// Their counters. It knows sessions of others.
    Counter,
    /// Their counters. It does not know sessions.
    Unaware,
}

/// The bounds of one exploration.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: &'static str,
    /// How long a tick is. A heartbeat is due after one.
    pub(super) tick: Duration,
    /// Whether one clock may be up to a tick ahead of the other.
    pub(super) is_drifting: bool,
    pub(super) modes: [Mode; 2],
    /// Whether the first worker holds the lease at the start.
    pub(super) is_held: bool,
    pub(super) budget: Budget,
}
