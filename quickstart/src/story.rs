//! The story: the chapters, and what the fleet must do in each.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kcl_core::model::{Liveness, Moment, ShardId};

use crate::args::Args;
use crate::board::Phase;
use crate::fleet::WorkerState;
use crate::producer::Producer;
use crate::screen::{Interrupted, NewsKind, shard_list};
use crate::stage::Stage;
use crate::stream::Stream;
use crate::verdict::{Passage, Verdict};
use crate::worker::EXPIRY;

/// About how many keys each lane of the producer has for a shard.
const KEYS_PER_SHARD: u32 = 8;

/// Plays the story. Returns the verdict.
pub(crate) async fn play(args: &Args, stream: &Stream) -> anyhow::Result<Verdict> {
    let mut story =
        Story { stage: Stage::open(args, stream)?, stream, passages: Vec::new(), killed: None };
    let played = story.chapters(args).await;
    let Story { stage, passages, killed, .. } = story;
    match played {
        Ok(()) => {
            let verdict = Verdict::of(&stage.ledger, passages, killed);
            Ok(if verdict.is_good() { verdict } else { verdict.with_logs(stage.keep_logs()) })
        }
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            let folder = stage.keep_logs();
            Err(error.context(format!("the run failed; the workers' logs are in {folder}")))
        }
    }
}

struct Story<'a> {
    stage: Stage,
    stream: &'a Stream,
    passages: Vec<Passage>,
    killed: Option<&'static str>,
}

impl Story<'_> {
    async fn chapters(&mut self, args: &Args) -> anyhow::Result<()> {
        self.start(args).await?;
        self.kill(args.liveness).await?;
        self.join().await?;
        self.reshard().await?;
        self.stop().await?;
        self.end().await
    }

    async fn start(&mut self, args: &Args) -> anyhow::Result<()> {
        let (workers, shards) = (args.workers, args.shards);
        self.stage.chapter(
            format!("{workers} workers start, and share a stream of {shards} shards."),
            "Each is a separate process. They coordinate through one table only.".to_owned(),
        );
        self.stage.during(self.stream.clone().create(shards)).await?;
        let keys = KEYS_PER_SHARD * u32::from(shards);
        self.stage.producer = Some(Producer::start(self.stream, keys));
        for _ in 0..workers {
            self.stage.fleet.start()?;
        }
        let shared_after = self.shared().await?;
        self.note(
            "start",
            format!("{workers} workers shared {shards} shards after"),
            &[shared_after],
        );
        self.stage.pause().await
    }

    async fn kill(&mut self, liveness: Liveness) -> anyhow::Result<()> {
        let (victim, held) = self.busiest()?;
        let at = self.stage.fleet.kill(victim)?;
        self.killed = Some(victim);
        self.stage.chapter(
            format!("{victim} is killed (SIGKILL)."),
            match liveness {
                Liveness::Counter => format!(
                    "The others see that the heartbeat of {} stops, and take over after \
                     {EXPIRY:?}. The default is 10 s.",
                    shard_list(&held)
                ),
                Liveness::Session => format!(
                    "The others see that its heartbeat stops, declare it dead after {EXPIRY:?}, and \
                     take over {}. The default is 10 s.",
                    shard_list(&held)
                ),
            },
        );
        self.taken_over(victim, &held, at).await?;
        let gaps: Vec<_> = held
            .iter()
            .filter_map(|shard| self.stage.ledger.first_by_another(shard, victim, at))
            .map(|first| first.since(at))
            .collect();
        let text = format!("{} continued after", shard_list(&held));
        self.note("crash", text, &gaps);
        self.stage.pause().await
    }

    async fn join(&mut self) -> anyhow::Result<()> {
        let name = self.stage.fleet.start()?;
        self.stage.chapter(
            format!("{name} joins."),
            "The others finish their batches, checkpoint, and hand over a fair share: no record is \
             delivered twice."
                .to_owned(),
        );
        self.shared().await?;
        let moved = self.stage.board.held_by(name);
        if moved.is_empty() {
            self.note("join", format!("{name} has no shard: every other worker has one"), &[]);
            return self.stage.pause().await;
        }
        self.wait("the new worker delivers", |stage| {
            moved.iter().all(|shard| stage.ledger.first_by(shard, name).is_some())
        })
        .await?;
        let first = |shard: &ShardId| self.stage.ledger.first_by(shard, name);
        let gaps = self.gaps(&moved, first);
        self.note("join", format!("{} moved; records paused for", shard_list(&moved)), &gaps);
        self.stage.pause().await
    }

    async fn reshard(&mut self) -> anyhow::Result<()> {
        let open: Vec<_> = self.stage.board.open().map(|row| row.id.clone()).collect();
        let ([split, ..], [.., one, other]) = (open.as_slice(), open.as_slice()) else {
            bail!("there are not enough shards to split and merge");
        };
        let parents = [split.clone(), one.clone(), other.clone()];
        self.stage.chapter(
            format!(
                "The stream is resharded: {} is split, {} are merged.",
                shard_list(std::slice::from_ref(split)),
                shard_list(&[one.clone(), other.clone()])
            ),
            "A child starts after every record of its parents is processed, so the records of a key \
             stay in order."
                .to_owned(),
        );
        let change = self.stream.clone().reshard(split.clone(), [one.clone(), other.clone()]);
        self.stage.during(change).await?;
        let children = move |stage: &Stage| {
            let of = |row: &&crate::board::ShardRow| {
                row.parents.iter().any(|parent| parents.contains(parent))
            };
            let children = stage.board.shards.iter().filter(of);
            let open = children.filter(|row| row.phase == Phase::Open);
            open.map(|row| row.id.clone()).collect::<Vec<_>>()
        };
        let running = self.stage.fleet.running();
        self.wait("the new shards are processed", |stage| {
            let children = children(stage);
            children.len() == 3
                && children.iter().all(|shard| stage.ledger.first(shard).is_some())
                && stage.board.is_shared_by(&running)
        })
        .await?;
        let children = children(&self.stage);
        let gaps: Vec<_> = self
            .stage
            .board
            .shards
            .iter()
            .filter(|row| children.contains(&row.id))
            .filter_map(|row| {
                let ledger = &self.stage.ledger;
                let first = ledger.first(&row.id)?;
                let last = row.parents.iter().filter_map(|id| ledger.last_before(id, first)).max();
                Some(first.since(last?))
            })
            .collect();
        self.note("reshard", format!("{} started after", shard_list(&children)), &gaps);
        self.stage.draw_picture()?;
        self.stage.pause().await
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let (leaver, held) = self.busiest()?;
        let at = self.stage.fleet.stop(leaver)?;
        self.stage.chapter(
            format!("{leaver} is asked to stop (SIGTERM), as in a deployment."),
            format!("It finishes its batches, checkpoints, and releases {}.", shard_list(&held)),
        );
        self.taken_over(leaver, &held, at).await?;
        let first = |shard: &ShardId| self.stage.ledger.first_by_another(shard, leaver, at);
        let gaps = self.gaps(&held, first);
        self.note("stop", format!("{} moved; records paused for", shard_list(&held)), &gaps);
        self.wait("the process is gone", |stage| {
            state(stage, leaver) == Some(WorkerState::Stopped)
        })
        .await?;
        self.stage.pause().await
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.stage.chapter(
            "The producer stops.".to_owned(),
            "The fleet processes the rest, then the workers stop.".to_owned(),
        );
        if let Some(producer) = &self.stage.producer {
            producer.stop();
        }
        self.stage
            .until("the producer stops", |stage| {
                stage.producer.as_mut().map_or(Ok(true), Producer::is_done)
            })
            .await?;
        // After a timeout the verdict lists the missing records.
        drop(self.wait("all is delivered", |stage| stage.ledger.is_complete()).await);
        for name in self.stage.fleet.running() {
            self.stage.fleet.stop(name)?;
        }
        self.wait("all workers stop", |stage| {
            let still = [WorkerState::Running, WorkerState::Stopping];
            !stage.board.workers.iter().any(|worker| still.contains(&worker.state))
        })
        .await?;
        self.stage.report(NewsKind::Outcome, "All workers have stopped.".to_owned());
        Ok(())
    }

    /// Waits until the running workers share all shards.
    async fn shared(&mut self) -> anyhow::Result<Duration> {
        let running = self.stage.fleet.running();
        self.wait("the workers share all shards", |stage| stage.board.is_shared_by(&running)).await
    }

    /// Waits until the others receive records of the shards `held` by `worker`, and share all
    /// shards.
    async fn taken_over(
        &mut self,
        worker: &str,
        held: &[ShardId],
        at: Moment,
    ) -> anyhow::Result<Duration> {
        let running = self.stage.fleet.running();
        self.wait("the others take over", |stage| {
            let by_another = |shard| stage.ledger.first_by_another(shard, worker, at).is_some();
            held.iter().all(by_another) && stage.board.is_shared_by(&running)
        })
        .await
    }

    async fn wait(
        &mut self,
        what: &str,
        holds: impl Fn(&Stage) -> bool + Send,
    ) -> anyhow::Result<Duration> {
        self.stage.until(what, move |stage| Ok(holds(stage))).await
    }

    /// Returns the running worker with the most shards, and its shards.
    fn busiest(&self) -> anyhow::Result<(&'static str, Vec<ShardId>)> {
        let running = self.stage.fleet.running().into_iter();
        let held = running.map(|worker| (worker, self.stage.board.held_by(worker)));
        held.max_by_key(|(_, held)| held.len()).context("no worker runs")
    }

    /// Returns how long each shard paused before the `first` record of its new owner.
    fn gaps(
        &self,
        shards: &[ShardId],
        first: impl Fn(&ShardId) -> Option<Moment>,
    ) -> Vec<Duration> {
        let gap = |shard: &ShardId| {
            let first = first(shard)?;
            Some(first.since(self.stage.ledger.last_before(shard, first)?))
        };
        shards.iter().filter_map(gap).collect()
    }

    /// Reports the outcome of a chapter, now and in the verdict.
    fn note(&mut self, what: &'static str, text: String, durations: &[Duration]) {
        let passage = Passage::new(what, text, durations);
        self.stage.report(NewsKind::Outcome, format!("{}.", passage.text));
        self.passages.push(passage);
    }
}

fn state(stage: &Stage, name: &str) -> Option<WorkerState> {
    stage.board.workers.iter().find(|worker| worker.name == name).map(|worker| worker.state)
}
