//! Where the story is played: looks at everything ten times a second, and shows it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::bail;
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
use crate::screen::{News, NewsKind, Scene, Screen, shard_list};
use crate::stream::Stream;

/// How often everything is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Everything that takes part. Dropping it ends every process and restores the terminal.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The workers.
    pub(crate) fleet: Fleet,
    /// Who puts records, once that has begun.
    pub(crate) producer: Option<Producer>,
    /// The records.
    pub(crate) ledger: Ledger,
    /// Who processes what, as it was when last looked at.
    pub(crate) board: Board,
    store: DynamoLeaseStore,
    leases: Vec<Lease>,
    scene: Scene,
    screen: Screen,
    began: Moment,
    quiet: Duration,
    patience: Duration,
    folder: TempDir,
}

impl Stage {
    /// An empty stage.
    pub(crate) fn open(args: &Args, stream: &Stream) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("kcl-quickstart-")?;
        Ok(Self {
            fleet: Fleet::new(stream, folder.path())?,
            producer: None,
            ledger: Ledger::new(folder.path()),
            board: Board::default(),
            store: DynamoLeaseStore::new(stream.sdk(), stream.name()),
            leases: Vec::new(),
            scene: Scene::of(stream.title()),
            screen: Screen::open()?,
            began: SystemClock.now(),
            quiet: args.quiet(),
            patience: args.patience(),
            folder,
        })
    }

    /// Begins a chapter: what is done, and what to look for.
    pub(crate) fn chapter(&mut self, title: String, hint: String) {
        self.scene.title.clone_from(&title);
        self.scene.hint = hint;
        self.say(NewsKind::Deed, title);
    }

    /// Tells what happened.
    pub(crate) fn say(&mut self, kind: NewsKind, text: String) {
        let news = News { at: SystemClock.now().since(self.began), text, kind };
        self.screen.say(&news);
        self.scene.news.push(news);
    }

    /// Waits until a condition holds; returns for how long.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> anyhow::Result<bool> + Send,
    ) -> anyhow::Result<Duration> {
        let start = SystemClock.now();
        loop {
            self.look().await?;
            let waited = SystemClock.now().since(start);
            if holds(self)? {
                return Ok(waited);
            }
            if waited > self.patience {
                bail!("{:?} were not enough for this: {what}", self.patience);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets the fleet work, to be looked at: until so many records were delivered.
    pub(crate) async fn quiet(&mut self) -> anyhow::Result<()> {
        let pace = usize::try_from(crate::producer::RECORDS_PER_SECOND)?;
        let more = pace * usize::try_from(self.quiet.as_millis())? / 1_000;
        let enough = self.ledger.count() + more;
        self.until("more records are delivered", |stage| Ok(stage.ledger.count() >= enough))
            .await
            .map(drop)
    }

    /// Looks on while something is done.
    pub(crate) async fn during<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>> + Send,
    ) -> anyhow::Result<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(LOOK_EVERY) => self.look().await?,
            }
        }
    }

    /// Keeps what the workers wrote, for somebody to find out what went wrong.
    pub(crate) fn keep_logs(mut self) -> String {
        self.folder.disable_cleanup(true);
        self.folder.path().display().to_string()
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let states = self.fleet.look()?;
        if let Some(producer) = &mut self.producer {
            producer.is_done()?;
            for put in producer.news() {
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
            self.say(NewsKind::Event, text);
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
                // A table that is not there yet, or is busy, will be looked at again.
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

/// What changed between two looks, in words.
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
            Some(WorkerState::Killed) => format!("{holder} takes over {ids}, which {former} had."),
            Some(WorkerState::Running | WorkerState::Stopping | WorkerState::Stopped) => {
                format!("{former} hands {ids} over to {holder}.")
            }
        }
    };
    moved.into_iter().map(text).collect()
}
