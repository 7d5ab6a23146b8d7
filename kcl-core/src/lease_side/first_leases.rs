//! Creates the first leases of an application: resumes where this worker or another one stopped,
//! and takes as long as the table needs.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use kcl_proto::lease::write_numbers::WriteNumbers;
use kcl_proto::model::{LeaseKey, Moment, NewLease, StreamDescription, StreamStart};
use kcl_proto::shards::bootstrap;
use kcl_proto::shards::creation_pace::CreationPace;

use crate::backend::{LeaseStoreError, Reading};
use crate::lease_side::lease_creation::{CreationError, LeaseCreation};
use crate::lease_side::shared::Shared;
use crate::lease_side::startup_step::Failure;
use crate::lease_side::table_scan;
use crate::report::event::Event;
use crate::tasks::sleep::sleep_until;

/// What creating leases is called in events.
pub(super) const CREATE: &str = "create the first leases";

/// How many creations find an existing lease until the table is scanned for what other workers have
/// created meanwhile.
const EXISTING_MAX: usize = 32;

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Stores where the stream begins, unless that is stored, and creates the first leases that are
/// missing.
pub(super) async fn create(
    shared: &Shared,
    description: &StreamDescription,
    has_leases: bool,
) -> Result<StreamStart, Failure> {
    let begin = if has_leases {
        bootstrap::taken_over(description)
    } else {
        bootstrap::start(shared.config.retrieval.initial_position, description)
    };
    let mut progress = Progress::new(shared);
    loop {
        let mut start = shared.store.create_stream_start(&begin).await?;
        bootstrap::check(&start, description).map_err(|error| Failure::Fatal(error.into()))?;
        if start.bootstrapped {
            return Ok(start);
        }
        let existing = scan(shared).await?;
        let listed_at = shared.clock.now();
        let shards = shared.source.list_shards(bootstrap::filter(&start)).await?;
        let missing = bootstrap::missing_leases(&start, &shards, &existing, &shared.me);
        progress.total = shards.len();
        let round = Round::new(LeaseCreation { shared, listed_at }, missing);
        match round.run(&mut progress).await? {
            RoundEnd::Complete => {
                shared.store.mark_bootstrapped(&start.stream).await?;
                start.bootstrapped = true;
                return Ok(start);
            }
            RoundEnd::Outdated => {}
        }
    }
}

async fn scan(shared: &Shared) -> Result<BTreeSet<LeaseKey>, LeaseStoreError> {
    // What a stale scan misses is created in vain, at the price of a write.
    let table = table_scan::run(shared, Reading::Eventual).await?;
    Ok(table.leases.into_iter().map(|lease| lease.key).collect())
}

/// How a round ended.
enum RoundEnd {
    /// All first leases exist.
    Complete,
    /// The list of shards is too old, or other workers have created many leases.
    Outdated,
}

/// Creations from one list of shards and one scan.
struct Round<'a> {
    creation: LeaseCreation<'a>,
    numbers: WriteNumbers,
    waiting: VecDeque<NewLease>,
    /// How many leases were created by others.
    existing: usize,
    is_outdated: bool,
}

impl<'a> Round<'a> {
    fn new(creation: LeaseCreation<'a>, waiting: VecDeque<NewLease>) -> Self {
        let numbers = creation.shared.write_numbers();
        Self { creation, numbers, waiting, existing: 0, is_outdated: false }
    }

    /// Creates what is missing. An error costs its own write only.
    async fn run(mut self, progress: &mut Progress<'_>) -> Result<RoundEnd, Failure> {
        let (creation, clock) = (self.creation, &*self.creation.shared.clock);
        let mut writes = FuturesUnordered::new();
        loop {
            let now = clock.now();
            while progress.pace.may_begin(writes.len(), now)
                && let Some(new) = self.waiting.pop_front()
            {
                let number = self.numbers.draw();
                writes.push(async move { (creation.create(new.clone(), number).await, new) });
            }
            progress.missing = self.waiting.len() + writes.len();
            progress.report(now);
            let resume = progress.pace.resumes_at().filter(|at| now < *at);
            tokio::select! {
                biased;
                Some((end, new)) = writes.next() => self.ended(end, new, progress)?,
                () = sleep_until(clock, resume.unwrap_or(now)),
                    if resume.is_some() && !self.waiting.is_empty() => {}
                else => break,
            }
        }
        Ok(if self.is_outdated { RoundEnd::Outdated } else { RoundEnd::Complete })
    }

    fn ended(
        &mut self,
        end: Result<bool, CreationError>,
        new: NewLease,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        match end {
            Ok(is_new) => {
                progress.pace.succeeded();
                self.existing += usize::from(!is_new);
                if self.existing > EXISTING_MAX {
                    self.outdated();
                }
            }
            Err(CreationError::ListTooOld) => self.outdated(),
            Err(CreationError::Store(error)) if error.is_retryable() => {
                progress.failed(&error);
                if !self.is_outdated {
                    self.waiting.push_back(new);
                }
            }
            Err(error @ CreationError::Store(_)) => return Err(error.into()),
        }
        Ok(())
    }

    /// Ends the round once the writes in flight have ended.
    fn outdated(&mut self) {
        self.is_outdated = true;
        self.waiting.clear();
    }
}

/// How far the creation is, over all rounds, and how fast it goes.
struct Progress<'a> {
    shared: &'a Shared,
    pace: CreationPace,
    /// How many first leases there will be.
    total: usize,
    /// How many of them are not known to exist.
    missing: usize,
    report_at: Moment,
}

impl<'a> Progress<'a> {
    fn new(shared: &'a Shared) -> Self {
        let report_at = shared.clock.now() + REPORT_EVERY;
        Self { shared, pace: CreationPace::default(), total: 0, missing: 0, report_at }
    }

    fn failed(&mut self, error: &LeaseStoreError) {
        let Self { shared, pace, .. } = self;
        pace.failed(shared.chance.draw(), shared.clock.now());
        shared.events.call_failed(CREATE, error, None);
    }

    /// Reports progress if it is time.
    fn report(&mut self, now: Moment) {
        if now < self.report_at {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        let Self { shared, total, missing, .. } = *self;
        let existing = total.saturating_sub(missing);
        shared.events.emit(&Event::CreatingLeases { existing, total });
    }
}
