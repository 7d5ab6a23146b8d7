//! One step of a world, and the budget that bounds how often each kind occurs.

/// The index of a worker.
pub(super) type Who = usize;

/// One thing that can happen to a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Both clocks advance, or with drift only the one that is behind.
    Tick,
    /// A timer of the worker's machine fires.
    Wake(Who),
    /// A copy of a write reaches the table.
    Land(Tag),
    /// The client sends one more copy of a write.
    Copy(Tag),
    /// The answer to a write arrives.
    Answer(Who),
    /// A write fails: its outcome is unknown to the worker.
    Fail(Who),
    /// A scan returns the current row.
    Scan(Who),
    /// A scan returns the row as it was before the last write.
    ScanStale(Who),
    /// The worker sends a take of the lease as it last saw it.
    Take(Who),
    /// The worker starts a request for the lease.
    Ask(Who),
    /// A consistent read reaches the table.
    Read(Who),
    /// The answer to a consistent read arrives.
    ReadArrives(Who),
    /// The consumer processes a record.
    Process(Who),
    /// The application asks for a checkpoint.
    Checkpoint(Who),
    /// The consumer processes the shard's last record.
    EndShard(Who),
    /// The children's leases exist.
    ChildrenCreated(Who),
    /// The consumer has drained.
    Drained(Who),
    /// The consumer fails.
    ConsumerFailed(Who),
    /// The consumer of a lost lease ends.
    Leave(Who),
    /// The holder learns that the next owner's heartbeat moved just now.
    Beat(Who),
    /// The worker is asked to stop.
    Stop(Who),
    /// The worker crashes and restarts.
    Crash(Who),
    /// Cleanup deletes the row of a finished shard.
    Clean,
}

/// A write's stamp in short: the worker, its incarnation, and the write number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) Who, pub(super) u8, pub(super) u64);

/// How often each kind of step may still occur.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) ticks: u8,
    pub(super) copies: u8,
    pub(super) failures: u8,
    pub(super) stale_scans: u8,
    pub(super) asks: u8,
    pub(super) batches: u8,
    pub(super) checkpoints: u8,
    pub(super) ends: u8,
    pub(super) consumer_failures: u8,
    pub(super) beats: u8,
    pub(super) stops: u8,
    pub(super) crashes: u8,
    pub(super) cleanups: u8,
}

impl Budget {
    /// Takes one from the budget of `step`, if that kind of step has one.
    pub(super) fn spend(&mut self, step: Step) {
        let left = match step {
            Step::Tick => &mut self.ticks,
            Step::Copy(_) => &mut self.copies,
            Step::Fail(_) => &mut self.failures,
            Step::ScanStale(_) => &mut self.stale_scans,
            Step::Ask(_) => &mut self.asks,
            Step::Process(_) => &mut self.batches,
            Step::Checkpoint(_) => &mut self.checkpoints,
            Step::EndShard(_) => &mut self.ends,
            Step::ConsumerFailed(_) => &mut self.consumer_failures,
            Step::Beat(_) => &mut self.beats,
            Step::Stop(_) => &mut self.stops,
            Step::Crash(_) => &mut self.crashes,
            Step::Clean => &mut self.cleanups,
            _ => return,
        };
        *left -= 1;
    }
}
