//! Observes the fleet ten times a second, and draws it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::backend::{LeaseStore as _, LeaseStoreError, Reading};
use kcl_core::model::{Lease, Moment, ShardId};
use kcl_dynamo::DynamoLeaseStore;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::args::Args;
use crate::board::Board;
use crate::fleet::{Fleet, WorkerState};
use crate::ledger::Ledger;
use crate::producer::Producer;
use crate::screen::{News, NewsKind, Scene, Screen, picture, shard_list};
use crate::stream::Stream;

/// The interval of observations.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

/// The participants. Dropping them ends every process and restores the terminal.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The workers.
    pub(crate) fleet: Fleet,
    /// The producer; `None` before it starts.
    pub(crate) producer: Option<Producer>,
    /// The puts and deliveries.
    pub(crate) ledger: Ledger,
    /// The last observed state of the fleet.
    pub(crate) board: Board,
    store: DynamoLeaseStore,
    leases: Vec<Lease>,
    scene: Scene,
    screen: Screen,
    began: Moment,
    pause: Duration,
    step_timeout: Duration,
    picture: Option<PathBuf>,
    folder: TempDir,
}

impl Stage {
    /// Creates a stage without workers.
    pub(crate) fn open(args: &Args, stream: &Stream) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("kcl-quickstart-")?;
        Ok(Self {
            fleet: Fleet::new(args, stream, folder.path())?,
            producer: None,
            ledger: Ledger::new(folder.path()),
            board: Board::default(),
            store: DynamoLeaseStore::new(stream.sdk(), stream.name()),
            leases: Vec::new(),
            scene: Scene::of(stream.title()),
            screen: Screen::open()?,
            began: SystemClock.now(),
            pause: args.pause(),
            step_timeout: args.step_timeout(),
            picture: args.picture.clone(),
            folder,
        })
    }

    /// Begins a chapter: its action, and what to watch.
    pub(crate) fn chapter(&mut self, title: String, hint: String) {
        self.scene.title.clone_from(&title);
        self.scene.hint = hint;
        self.report(NewsKind::Action, title);
    }

    /// Reports an event.
    pub(crate) fn report(&mut self, kind: NewsKind, text: String) {
        let news = News { at: SystemClock.now().since(self.began), text, kind };
        self.screen.print(&news);
        self.scene.news.push(news);
    }

    /// Waits until a condition holds. Returns the time that it took.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> anyhow::Result<bool> + Send,
    ) -> anyhow::Result<Duration> {
        let start = SystemClock.now();
        loop {
            self.observe().await?;
            let waited = SystemClock.now().since(start);
            if holds(self)? {
                return Ok(waited);
            }
            if waited > self.step_timeout {
                bail!("not within {:?}: {what}", self.step_timeout);
            }
            sleep(OBSERVE_EVERY).await;
        }
    }

    /// Pauses until the fleet has received the records of the pause between chapters.
    pub(crate) async fn pause(&mut self) -> anyhow::Result<()> {
        let pace = usize::try_from(crate::producer::RECORDS_PER_SECOND)?;
        let more = pace * usize::try_from(self.pause.as_millis())? / 1_000;
        let enough = self.ledger.count() + more;
        self.until("more records are delivered", |stage| Ok(stage.ledger.count() >= enough))
            .await
            .map(drop)
    }

    /// Runs `work`, and observes the fleet meanwhile.
    pub(crate) async fn during<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>> + Send,
    ) -> anyhow::Result<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(OBSERVE_EVERY) => self.observe().await?,
            }
        }
    }

    /// Writes the screen's picture, if one is asked for.
    pub(crate) fn draw_picture(&self) -> anyhow::Result<()> {
        let Some(file) = &self.picture else { return Ok(()) };
        std::fs::write(file, picture(&self.scene, &self.board)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Keeps the workers' logs. Returns their folder.
    pub(crate) fn keep_logs(mut self) -> String {
        self.folder.disable_cleanup(true);
        self.folder.path().display().to_string()
    }

    async fn observe(&mut self) -> anyhow::Result<()> {
        let states = self.fleet.states()?;
        if let Some(producer) = &mut self.producer {
            producer.is_done()?;
            for put in producer.reported() {
                self.ledger.enter_put(put);
            }
        }
        for name in states.keys() {
            self.ledger.read(name)?;
        }
        self.scan().await?;
        let now = SystemClock.now();
        let before = std::mem::replace(
            &mut self.board,
            Board::new(&self.leases, &states, &self.ledger, now),
        );
        for text in changes(&before, &self.board) {
            self.report(NewsKind::Event, text);
        }
        self.scene.elapsed = now.since(self.began);
        self.scene.put = self.ledger.put().len();
        self.screen.draw(&self.scene, &self.board)
    }

    async fn scan(&mut self) -> anyhow::Result<()> {
        let mut leases = Vec::new();
        let mut from = None;
        loop {
            let page = match self.store.scan(from, Reading::Eventual).await {
                Ok(page) => page,
                // The next observation scans a missing or busy table again.
                Err(LeaseStoreError::TableMissing { .. }) => return Ok(()),
                Err(error) if error.is_retryable() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            leases.extend(page.leases);
            from = page.next;
            if from.is_none() {
                self.leases = leases;
                return Ok(());
            }
        }
    }
}

/// Describes the changes of owners between two observations.
fn changes(before: &Board, after: &Board) -> Vec<String> {
    let mut moved: BTreeMap<(&str, Option<&str>), Vec<ShardId>> = BTreeMap::new();
    for row in &after.shards {
        let former = before.shards.iter().find(|was| was.id == row.id);
        let former = former.and_then(|row| row.holder.as_deref());
        if let Some(holder) = &row.holder
            && former != Some(holder)
        {
            moved.entry((holder, former)).or_default().push(row.id.clone());
        }
    }
    let text = |((holder, former), ids): ((&str, Option<&str>), Vec<ShardId>)| {
        let (ids, former) = (shard_list(&ids), former.unwrap_or_default());
        match before.workers.iter().find(|worker| worker.name == former).map(|worker| worker.state)
        {
            None => format!("{holder} takes {ids}."),
            Some(WorkerState::Killed) => format!("{holder} takes over {ids} of {former}."),
            Some(WorkerState::Running | WorkerState::Stopping | WorkerState::Stopped) => {
                format!("{former} hands {ids} over to {holder}.")
            }
        }
    };
    moved.into_iter().map(text).collect()
}
