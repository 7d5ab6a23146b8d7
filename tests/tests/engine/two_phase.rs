//! Checkpoints in two phases: what was prepared and not committed reaches the next owner.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::config::CheckpointPolicy;
use kcl_core::error::CheckpointError;
use kcl_core::model::{Checkpoint, Position};
use kcl_core::processor::STATE_MAX;
use kcl_core::{BoxError, RecordBatch, RecordProcessor};
use kcl_tests::world::{Member, World};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

/// Prepares each batch with its records as state, then does as told.
struct TwoPhase {
    then: Then,
    told: Told,
}

/// What the processors said, in order.
type Told = Arc<Mutex<Vec<String>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Commit,
    Hang,
    /// Panics, unless it was told of something prepared.
    Panic,
}

fn text(batch: &RecordBatch) -> String {
    let texts = batch.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned());
    texts.collect::<Vec<_>>().join(" ")
}

impl RecordProcessor for TwoPhase {
    async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        let state = shard.pending().and_then(|pending| pending.state.clone());
        let state = state.map(|state| String::from_utf8_lossy(&state).into_owned());
        self.told
            .lock()
            .unwrap()
            .push(format!("pending {}", state.unwrap_or_else(|| "nothing".into())));
        if self.then == Then::Panic && shard.pending().is_some() {
            self.then = Then::Commit;
        }
        Ok(())
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let last = batch.last_position().ok_or("a batch is never empty")?;
        let prepared = shard.checkpointer().prepare(last, text(&batch)).await?;
        self.told.lock().unwrap().push(format!("prepared {}", text(&batch)));
        match self.then {
            Then::Commit => prepared.commit().await?,
            Then::Hang => pending().await,
            Then::Panic => panic!("as told"),
        }
        Ok(())
    }
}

fn world() -> (World, Told) {
    let mut world = World::new(1);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    (world, Told::default())
}

fn start(world: &World, name: &str, then: Then, told: &Told) -> Member {
    let told = Arc::clone(told);
    world.start_processor(name, world.stream.clone(), move |_: &ShardContext| TwoPhase {
        then,
        told: Arc::clone(&told),
    })
}

fn has(told: &Told, wanted: &str) -> bool {
    told.lock().unwrap().iter().any(|said| said == wanted)
}

fn has_progressed(world: &World) -> bool {
    world.find(0).is_some_and(|lease| lease.checkpoint.has_progressed())
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_may_commit_what_it_finds_prepared_and_its_records_come_no_more() {
    struct Committer(Told);
    impl RecordProcessor for Committer {
        async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
            let pending = shard.pending().ok_or("something is prepared")?;
            let position = pending.checkpoint.position().ok_or("it is a position")?;
            Ok(shard.checkpointer().checkpoint(position).await?)
        }

        async fn process_records(
            &mut self,
            batch: RecordBatch,
            _: &ShardContext,
        ) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(text(&batch));
            Ok(())
        }
    }
    let (world, told) = world();
    world.put(0, ["a", "b"]);
    let one = start(&world, "one", Then::Hang, &told);
    world.until("prepared", SOON, |_| has(&told, "prepared a b")).await;
    one.crash();
    world.put(0, ["c"]);
    let told = Told::default();
    let of = Arc::clone(&told);
    let factory = move |_: &ShardContext| Committer(Arc::clone(&of));
    let _two = world.start_processor("two", world.stream.clone(), factory);
    world.until("committed", SECOND * 30, has_progressed).await;
    assert_eq!(world.lease(0).pending, None);
    world.until("delivered", SOON, |_| has(&told, "c")).await;
    assert_eq!(*told.lock().unwrap(), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_prepare_and_commit_hands_the_state_to_the_next_owner() {
    let (world, told) = world();
    let first = world.put(0, ["a"]);
    let one = start(&world, "one", Then::Hang, &told);
    world.until("prepared", SOON, |_| has(&told, "prepared a")).await;
    let row = world.lease(0);
    assert_eq!(row.checkpoint, Checkpoint::TrimHorizon);
    let pending = row.pending.unwrap();
    assert_eq!(pending.checkpoint, Checkpoint::After(Position::of(first)));
    world.pass(SECOND * 20).await; // Renewals leave it there.
    one.crash();

    let _two = start(&world, "two", Then::Commit, &told);
    world.until("told", SECOND * 30, |_| has(&told, "pending a")).await;
    world.until("committed", SOON, |world| world.lease(0).pending.is_none()).await;
    assert_eq!(world.lease(0).checkpoint, pending.checkpoint);
    let expected = ["pending nothing", "prepared a", "pending a", "prepared a"];
    assert_eq!(*told.lock().unwrap(), expected, "the record comes again");
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_pending_no_more() {
    let (world, told) = world();
    world.put(0, ["a", "b"]);
    let one = start(&world, "one", Then::Commit, &told);
    world.until("committed", SOON, has_progressed).await;
    one.stop().await.unwrap();
    let last = world.put(0, ["c"]);
    let _two = start(&world, "two", Then::Commit, &told);
    let stored = Checkpoint::After(Position::of(last));
    world.until("committed", SOON, |world| world.lease(0).checkpoint == stored).await;
    let expected = ["pending nothing", "prepared a b", "pending nothing", "prepared c"];
    assert_eq!(*told.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_new_processor_after_a_panic_is_told_of_what_the_former_one_prepared() {
    let (world, told) = world();
    world.put(0, ["a"]);
    let _one = start(&world, "one", Then::Panic, &told);
    world.until("committed", SOON, has_progressed).await;
    assert_eq!(*told.lock().unwrap(), ["pending nothing", "prepared a", "pending a", "prepared a"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_prepared_is_refused_by_name() {
    struct Refused(Arc<Mutex<Vec<CheckpointError>>>);
    impl RecordProcessor for Refused {
        async fn process_records(
            &mut self,
            batch: RecordBatch,
            shard: &ShardContext,
        ) -> Result<(), BoxError> {
            let last = batch.last_position().ok_or("a batch is never empty")?;
            let beyond = Position { sub_sequence: 7, ..last };
            let (beyond, large) = tokio::join!(
                shard.checkpointer().prepare(beyond, ""),
                shard.checkpointer().prepare(last, vec![0; STATE_MAX + 1]),
            );
            self.0.lock().unwrap().extend([beyond.unwrap_err(), large.unwrap_err()]);
            shard.checkpointer().prepare(last, vec![0; STATE_MAX]).await?.commit().await?;
            let done = shard.checkpointer().prepare(last, "").await;
            self.0.lock().unwrap().push(done.unwrap_err());
            Ok(())
        }
    }
    let (world, _) = world();
    world.put(0, ["a"]);
    let refused = Arc::new(Mutex::new(Vec::new()));
    let of = Arc::clone(&refused);
    let factory = move |_: &ShardContext| Refused(Arc::clone(&of));
    let _one = world.start_processor("one", world.stream.clone(), factory);
    world.until("committed", SOON, has_progressed).await;
    world.pass(SECOND).await;
    let said: Vec<_> = refused.lock().unwrap().iter().map(ToString::to_string).collect();
    assert!(said[0].contains("outside what was delivered"), "{said:?}");
    assert_eq!(
        said[1],
        "state of 65537 bytes is too large for a lease (at most 65536): store it elsewhere and \
         prepare its key"
    );
    assert!(said[2].contains("outside what was delivered"), "{said:?}");
    assert_eq!(said.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn progress_is_stored_sooner_than_the_renewal_where_the_policy_says_so() {
    let mut world = World::new(1);
    world.config.delivery.checkpoints =
        CheckpointPolicy::Every { records: 1_000, time: SECOND / 2 };
    let _one = world.start("one");
    world.until("held", SOON, |world| world.owned_by("one") == Some(1)).await;
    for number in 0..8 {
        let last = world.put(0, [number.to_string().as_str()]);
        let stored = Checkpoint::After(Position::of(last));
        // At most a second until it is read, and half of one until it is stored.
        let is_stored = |world: &World| world.lease(0).checkpoint == stored;
        world.until("stored", SECOND * 8 / 5, is_stored).await;
    }
}
