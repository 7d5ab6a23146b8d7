//! What this worker does for a large fleet, or lets others do: it polls sessions, publishes the
//! bulletin and follows it, as its [`Role`] says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::fleet::assignments::Assignments;
use kcl_proto::fleet::audit::Audit;
use kcl_proto::fleet::batch_size::BatchSize;
use kcl_proto::fleet::bulletin_copy::BulletinCopy;
use kcl_proto::fleet::lookout::{Role, Standing};
use kcl_proto::fleet::news::News;
use kcl_proto::fleet::publisher::Publisher;
use kcl_proto::fleet::session_polls::SessionPolls;
use kcl_proto::model::{Bulletin, LeaseKey, Moment, StreamName, WorkerId};

use crate::backend::{LeaseStoreError, Page, ROWS_MAX, Reading};
use crate::lease_side::fleet_view::FleetView;
use crate::lease_side::jobs::Jobs;
use crate::lease_side::known_rows::KnownRows;
use crate::lease_side::lookout_calls::Calls;
use crate::lease_side::lookout_end::{Learned, LookoutEnd};
use crate::lease_side::moves::Moves;
use crate::lease_side::relatives::{self, Relatives};
use crate::lease_side::shared::Shared;

/// How often a worker reads the bulletin.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How often a lookout does, for the news.
const READ_NEWS_EVERY: Duration = Duration::from_millis(500);

/// The pause after a call that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The shortest time between two publications.
const WRITE_GAP: Duration = Duration::from_millis(250);

/// With how many news the bulletin is full: a lookout that read none of them is about to scan.
const NEWS_MAX: usize = 1_000;

/// What a call does that reads news, in events.
const HEAR: &str = "read what news name";

/// What comes of reading rows.
type Rows = Result<Page, LeaseStoreError>;

/// This worker's part among the lookouts of its fleet.
#[derive(Debug)]
pub(super) struct Lookout {
    shared: Arc<Shared>,
    stream: StreamName,
    standing: Standing,
    copy: BulletinCopy,
    publisher: Publisher,
    polls: SessionPolls,
    /// What to tell the lookouts.
    news: News,
    /// Whether it has planned for the fleet since it publishes.
    has_planned: bool,
    /// The worker that is to look beside this one, as of that plan.
    second: Option<WorkerId>,
    is_leaving: bool,
    /// Leases whose rows may name this worker although it does not hold them.
    in_doubt: BTreeSet<LeaseKey>,
    audit: Audit,
    /// How many rows of assigned leases to read at once.
    batch: BatchSize,
    calls: Calls,
    jobs: Jobs<LookoutEnd>,
}

impl Lookout {
    /// A worker that scans, and tells the lookouts, if there are any, that it has joined.
    pub(super) fn new(shared: Arc<Shared>, stream: StreamName) -> Self {
        let now = shared.clock.now();
        Self {
            standing: Standing { place: 0, is_large: false },
            copy: BulletinCopy::new(shared.me.clone()),
            publisher: Publisher::default(),
            polls: SessionPolls::default(),
            news: News::new(BTreeSet::from([shared.me.to_string()]), now),
            has_planned: false,
            second: None,
            is_leaving: false,
            in_doubt: BTreeSet::new(),
            audit: Audit::new(now),
            batch: BatchSize::new(ROWS_MAX),
            calls: Calls::new(now),
            jobs: Jobs::new(),
            shared,
            stream,
        }
    }

    /// What this worker does to learn about the fleet.
    pub(super) fn role(&self, now: Moment) -> Role {
        let is_named = self.copy.is_second_since().is_some();
        let role = self.standing.role(self.copy.watch(), is_named, now);
        let all_scan = role == Role::Follows && self.copy.bulletin().scan;
        if all_scan { Role::Scans } else { role }
    }

    /// The leases that this worker is assigned, as far as it has read their rows; `None` if it
    /// plans by itself.
    pub(super) fn assigned(&self, now: Moment) -> Option<BTreeSet<LeaseKey>> {
        self.is_led(now).then(|| self.copy.assigned())
    }

    fn is_led(&self, now: Moment) -> bool {
        self.role(now) != Role::Scans && self.copy.is_followed(now)
    }

    /// Since when this worker is to scan: no worker looks, or every worker is to scan, or this one
    /// is to look, or only a scan proves that a worker is dead which it has asked for a lease.
    pub(super) fn scans_at(
        &self,
        moves: &Moves,
        rows: &KnownRows,
        now: Moment,
    ) -> impl Iterator<Item = Moment> + use<> {
        let unproven = moves.needs_scan(rows, now).then_some(now);
        let (stale, copy) = (self.standing.scan_at(self.copy.watch()), &self.copy);
        let at = [stale, copy.all_scan_since(), copy.is_second_since(), unproven];
        let is_large = self.standing.is_large;
        at.into_iter().flatten().filter(move |at| is_large && now >= *at)
    }

    /// Tells the lookouts that these rows have changed. Where there are none, the first one to
    /// look scans.
    pub(super) fn tell(&mut self, keys: impl IntoIterator<Item = String>, now: Moment) {
        if self.standing.is_large {
            self.news.add(keys, now);
        }
    }

    /// Notes that another worker asked this one for a lease.
    pub(super) fn asked(&mut self, key: LeaseKey, now: Moment) {
        if self.role(now) == Role::Follows {
            self.in_doubt.insert(key);
            self.calls.looking.hurry(now);
        }
    }

    /// Notes that this worker stops: others are to look at its row, and it looks for no worker.
    pub(super) fn leave(&mut self, now: Moment) {
        self.is_leaving = true;
        self.tell([self.shared.me.to_string()], now);
    }

    /// Notes where this worker stands.
    pub(super) const fn observe(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Decides what to poll and what to publish.
    pub(super) fn plan(&mut self, fleet: &mut FleetView, moves: &Moves, now: Moment) {
        match self.role(now) {
            Role::Scans => {}
            Role::Looks { .. } => {
                self.standing = fleet.standing(now);
                self.polls.set(&fleet.live_sessions(), now);
            }
            // No scan shows the workers with which this one hands over leases.
            Role::Follows => self.polls.set(&moves.partners(), now),
        }
        self.assign(fleet, now);
    }

    /// Whether this worker has to plan before it publishes.
    pub(super) fn lacks_plan(&self, now: Moment) -> bool {
        !self.has_planned && self.publishes(now)
    }

    /// Assigns leases to workers, if that is this worker's part.
    fn assign(&mut self, fleet: &FleetView, now: Moment) {
        self.has_planned = self.publishes(now);
        if !self.has_planned {
            self.publisher.assignments = Assignments::default();
            return;
        }
        fleet.assign(&mut self.publisher.assignments, now);
        self.second = fleet.first_other().cloned();
        let bulletin = self.copy.bulletin();
        if self.publisher.differs_from(bulletin) || self.second != bulletin.second {
            self.calls.publishing.hurry(now);
        }
    }

    /// Whether leases are to move.
    pub(super) fn is_moving(&self) -> bool {
        !self.publisher.assignments.is_empty()
    }

    fn publishes(&self, now: Moment) -> bool {
        match self.role(now) {
            Role::Looks { is_first } => {
                is_first || self.copy.is_mine() || now >= self.copy.watch().publish_at(false, now)
            }
            Role::Scans | Role::Follows => false,
        }
    }

    /// Begins the calls that are due.
    pub(super) fn begin_due(&mut self, moves: &Moves, now: Moment) {
        if !self.standing.is_large {
            return;
        }
        self.read_bulletin(now);
        self.tell_news(now);
        if !self.is_leaving {
            self.poll(now);
            self.look(moves, now);
            self.audit(moves, now);
            self.hear(now);
            self.publish(now);
        }
    }

    fn read_bulletin(&mut self, now: Moment) {
        if self.calls.reading.begin(now) {
            let keys = vec![self.stream.to_string()];
            self.read(keys, Reading::Eventual, LookoutEnd::Read);
        }
    }

    /// Reads the sessions whose heartbeats are due.
    fn poll(&mut self, now: Moment) {
        if self.polls.wake_at().is_some_and(|at| now >= at) && self.calls.polling.begin(now) {
            let due = self.polls.next(ROWS_MAX, now);
            let keys: Vec<_> = due.iter().map(WorkerId::to_string).collect();
            let shared = Arc::clone(&self.shared);
            self.jobs.push(async move {
                let page = shared.store.rows(&keys, Reading::Eventual).await;
                LookoutEnd::Polled(due, page)
            });
        }
    }

    /// Reads the rows of assigned leases before this worker acts on them, and of those that may name
    /// it although it does not hold them.
    fn look(&mut self, moves: &Moves, now: Moment) {
        if !self.is_led(now) {
            return;
        }
        let keys = self.copy.to_look_at(now).chain(&self.in_doubt).filter(|key| !moves.has(key));
        let keys = keys.chain(moves.may_land()).take(self.batch.rows());
        let keys: BTreeSet<_> = keys.cloned().collect();
        let keys: Vec<_> = keys.into_iter().collect();
        if keys.is_empty() || !self.calls.looking.begin(now) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.jobs.push(async move {
            let page = relatives::read(&shared, &keys).await;
            LookoutEnd::Looked(keys, page)
        });
    }

    /// Reads the rows of leases that this worker holds, some at a time.
    fn audit(&mut self, moves: &Moves, now: Moment) {
        if self.role(now) != Role::Follows {
            return;
        }
        let keys = self.audit.next(|| moves.held(), ROWS_MAX, now);
        if !keys.is_empty() {
            let shared = Arc::clone(&self.shared);
            self.jobs.push(async move {
                let rows: Vec<_> = keys.iter().map(LeaseKey::to_string).collect();
                let page = shared.store.rows(&rows, Reading::Eventual).await;
                LookoutEnd::Audited(keys, page)
            });
        }
    }

    /// Reads the rows that news name.
    fn hear(&mut self, now: Moment) {
        if !self.role(now).looks() {
            return;
        }
        let news = self.publisher.unheard(self.copy.bulletin(), ROWS_MAX);
        if news.is_empty() || !self.calls.hearing.begin(now) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.jobs.push(async move {
            let page = shared.store.rows(&news, Reading::Consistent).await;
            LookoutEnd::Heard(news, page)
        });
    }

    fn publish(&mut self, now: Moment) {
        if !self.has_planned || !self.publishes(now) || !self.calls.publishing.begin(now) {
            return;
        }
        let number = self.copy.watch().number();
        let publication =
            self.publisher.publication(number, self.shared.me.clone(), self.second.clone());
        let (shared, stream) = (Arc::clone(&self.shared), self.stream.clone());
        self.jobs.push(async move {
            let end = shared.store.publish(&stream, &publication).await;
            LookoutEnd::Published(publication.heard.into_iter().collect(), end)
        });
    }

    /// Adds news to the bulletin. Where no worker looks, the next one to begin will scan.
    fn tell_news(&mut self, now: Moment) {
        if self.may_tell(now)
            && let Some(told) = self.news.next(ROWS_MAX, now)
        {
            let (shared, stream) = (Arc::clone(&self.shared), self.stream.clone());
            self.jobs.push(async move {
                let end = shared.store.ring(&stream, &told).await;
                LookoutEnd::Told(told, end)
            });
        }
    }

    fn may_tell(&self, now: Moment) -> bool {
        self.copy.bulletin().news.len() < NEWS_MAX && self.copy.watch().is_fresh(now)
    }

    fn read(&self, keys: Vec<String>, reading: Reading, end: fn(Rows) -> LookoutEnd) {
        let shared = Arc::clone(&self.shared);
        self.jobs.push(async move { end(shared.store.rows(&keys, reading).await) });
    }

    /// When a call is due.
    pub(super) fn wake_at(&self, now: Moment) -> Option<Moment> {
        if !self.standing.is_large {
            return None;
        }
        let Calls { reading, polling, publishing, .. } = &self.calls;
        let follows = self.role(now) == Role::Follows && !self.is_leaving;
        let audit = self.audit.wake_at().filter(|_| follows);
        let polls =
            self.polls.wake_at().into_iter().filter_map(|due| {
                polling.wake_at().map(|at| at.max(due)).filter(|_| !self.is_leaving)
            });
        let publication = publishing
            .wake_at()
            .filter(|_| !self.is_leaving && self.has_planned && self.publishes(now));
        let news = self.news.wake_at().filter(|_| self.may_tell(now));
        polls.chain(publication).chain(news).chain(audit).chain(reading.wake_at()).min()
    }

    /// Waits for a call to end. Pass its end to [`finish`](Self::finish).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> LookoutEnd {
        self.jobs.next().await
    }

    /// Handles the end of a call. Returns `None` if a bulletin was read that says to this worker
    /// what it said before: nothing is to be planned again.
    pub(super) fn finish(&mut self, end: LookoutEnd, now: Moment) -> Option<Learned> {
        Some(match end {
            LookoutEnd::Read(page) => return self.bulletin_read(page, now),
            LookoutEnd::Polled(due, page) => self.polled(due, page, now),
            LookoutEnd::Heard(news, page) => self.heard(news, page, now),
            LookoutEnd::HeardAgain(page) => Learned::rows(self.report(HEAR, page)),
            LookoutEnd::Looked(keys, relatives) => self.looked(keys, relatives, now),
            LookoutEnd::Audited(keys, page) => self.audited(keys, page),
            LookoutEnd::Published(heard, end) => {
                self.published(&heard, end, now);
                Learned::default()
            }
            LookoutEnd::Told(told, end) => {
                let is_told = self.report("tell the lookouts", end).is_some();
                self.news.told(told, is_told, now);
                Learned::default()
            }
        })
    }

    fn bulletin_read(&mut self, page: Rows, now: Moment) -> Option<Learned> {
        let pause = match self.role(now) {
            _ if page.is_err() => RETRY_AFTER,
            Role::Looks { .. } => READ_NEWS_EVERY,
            Role::Scans | Role::Follows => READ_EVERY,
        };
        self.calls.reading.ended(now + pause);
        let Some(page) = self.report("read the bulletin", page) else {
            return Some(Learned::default());
        };
        let mut starts = page.stream_starts.into_iter();
        let row = starts.find(|start| start.stream == self.stream);
        let was_led = self.is_led(now);
        let is_new = self.saw(row.map(|row| row.bulletin).unwrap_or_default(), now);
        self.calls.looking.hurry(now);
        let doubtful: Vec<_> = self.copy.moving_away().cloned().collect();
        let is_poll = self.role(now).looks();
        let is_led_on = was_led && self.is_led(now);
        if is_led_on && !is_new && !is_poll && doubtful.is_empty() {
            return None;
        }
        Some(Learned { doubtful, is_poll, ..Learned::default() })
    }

    fn polled(&mut self, mut due: Vec<WorkerId>, page: Rows, now: Moment) -> Learned {
        self.calls.polling.ended(now);
        let Some(page) = self.report("read sessions", page) else { return Learned::default() };
        page.sessions.iter().for_each(|row| self.polls.saw(row, now));
        // A follower has no scan that would show who is gone.
        let role = self.role(now);
        let is_lacking = |worker: &WorkerId| page.sessions.iter().all(|row| row.worker != *worker);
        due.retain(|worker| role == Role::Follows && is_lacking(worker));
        let is_poll = role.looks();
        Learned { is_poll, missing: due, ..Learned::rows(Some(page)) }
    }

    fn heard(&mut self, news: Vec<String>, page: Rows, now: Moment) -> Learned {
        self.calls.hearing.ended(now);
        let page = self.report(HEAR, page);
        if page.is_some() {
            self.publisher.heard(news);
        } else {
            self.calls.hearing.rest(now + RETRY_AFTER);
        }
        Learned::rows(page)
    }

    fn looked(
        &mut self,
        keys: Vec<LeaseKey>,
        relatives: Result<Relatives, LeaseStoreError>,
        now: Moment,
    ) -> Learned {
        self.calls.looking.ended(now + READ_EVERY);
        self.batch.ended(relatives.is_ok());
        let Some(found) = self.report("read assigned leases", relatives) else {
            return Learned::default();
        };
        keys.iter().for_each(|key| _ = self.in_doubt.remove(key));
        self.copy.looked_at(keys, now);
        let Relatives { page, gone, missing } = found;
        Learned { page, gone, missing, ..Learned::default() }
    }

    fn audited(&self, keys: Vec<LeaseKey>, page: Rows) -> Learned {
        let Some(page) = self.report("read the rows of held leases", page) else {
            return Learned::default();
        };
        let me = Some(&self.shared.me);
        let own = page.leases.iter().filter(|row| row.holder() == me);
        let own: BTreeSet<_> = own.map(|row| &row.key).collect();
        let doubtful = keys.into_iter().filter(|key| !own.contains(key)).collect();
        Learned { doubtful, ..Learned::rows(Some(page)) }
    }

    fn published(
        &mut self,
        heard: &[String],
        end: Result<Option<Bulletin>, LeaseStoreError>,
        now: Moment,
    ) {
        self.calls.publishing.ended(now);
        match self.report("publish the bulletin", end) {
            Some(Some(bulletin)) => {
                for keys in heard.chunks(ROWS_MAX) {
                    self.read(keys.to_vec(), Reading::Consistent, LookoutEnd::HeardAgain);
                }
                self.saw(bulletin, now);
                self.calls.publishing.ended(self.copy.watch().publish_at(true, now));
                self.calls.publishing.rest(now + WRITE_GAP);
            }
            // Another one was first: its bulletin is read next.
            Some(None) => {
                self.calls.reading.hurry(now);
                self.calls.publishing.rest(now + RETRY_AFTER);
            }
            None => self.calls.publishing.rest(now + RETRY_AFTER),
        }
    }

    fn saw(&mut self, bulletin: Bulletin, now: Moment) -> bool {
        let is_new = self.copy.saw(bulletin, now);
        self.publisher.saw(self.copy.bulletin());
        is_new
    }

    fn report<T>(&self, doing: &'static str, end: Result<T, LeaseStoreError>) -> Option<T> {
        end.inspect_err(|error| self.shared.events.call_failed(doing, error, None)).ok()
    }
}
