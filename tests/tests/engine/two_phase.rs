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
use kcl_sim::story::{Member, Story};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);

/// Prepares each batch with its records as state, then does scripted.
struct TwoPhase {
    then: Then,
    reported: Reported,
}

/// What the processors said, in order.
type Reported = Arc<Mutex<Vec<String>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Commit,
    Hang,
    /// Panics, unless it wscripted of something prepared.
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
        self.reported
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
        self.reported.lock().unwrap().push(format!("prepared {}", text(&batch)));
        match self.then {
            Then::Commit => prepared.commit().await?,
            Then::Hang => pending().await,
            Then::Panic => panic!("scripted"),
        }
        Ok(())
    }
}

fn with_manual_checkpoints() -> (Story, Reported) {
    let story = Story::new(1);
    story.configure(|config| config.delivery.checkpoints = CheckpointPolicy::Manual);
    (story, Reported::default())
}

fn start(story: &Story, name: &str, then: Then, reported: &Reported) -> Member {
    let reported = Arc::clone(reported);
    story.start_with(name, move |_: &ShardContext| TwoPhase {
        then,
        reported: Arc::clone(&reported),
    })
}

fn has(reported: &Reported, wanted: &str) -> bool {
    reported.lock().unwrap().iter().any(|said| said == wanted)
}

fn has_progressed(story: &Story) -> bool {
    story.find(0).is_some_and(|lease| lease.checkpoint.has_progressed())
}

#[test]
fn next_owner_may_commit_what_is_prepared() {
    struct Committer(Reported);
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
    let (story, reported) = with_manual_checkpoints();
    story.put(0, ["a", "b"]);
    let one = start(&story, "one", Then::Hang, &reported);
    story.until("prepared", SOON, |_| has(&reported, "prepared a b"));
    one.crash();
    story.put(0, ["c"]);
    let reported = Reported::default();
    let of = Arc::clone(&reported);
    let factory = move |_: &ShardContext| Committer(Arc::clone(&of));
    story.start_with("two", factory);
    story.until("committed", SECOND * 30, has_progressed);
    assert_eq!(story.lease(0).pending, None);
    story.until("delivered", SOON, |_| has(&reported, "c"));
    assert_eq!(*reported.lock().unwrap(), ["c"]);
}

#[test]
fn crash_hands_the_prepared_state_to_the_next_owner() {
    let (story, reported) = with_manual_checkpoints();
    let first = story.put(0, ["a"]);
    let one = start(&story, "one", Then::Hang, &reported);
    story.until("prepared", SOON, |_| has(&reported, "prepared a"));
    let row = story.lease(0);
    assert_eq!(row.checkpoint, Checkpoint::TrimHorizon);
    let pending = row.pending.unwrap();
    assert_eq!(pending.checkpoint, Checkpoint::After(Position::of(first)));
    story.pass(SECOND * 20); // Renewals leave it there.
    one.crash();

    let _two = start(&story, "two", Then::Commit, &reported);
    story.until("reported", SECOND * 30, |_| has(&reported, "pending a"));
    story.until("committed", SOON, |story| story.lease(0).pending.is_none());
    assert_eq!(story.lease(0).checkpoint, pending.checkpoint);
    let expected = ["pending nothing", "prepared a", "pending a", "prepared a"];
    assert_eq!(*reported.lock().unwrap(), expected, "the record comes again");
}

#[test]
fn committed_state_is_no_longer_pending() {
    let (story, reported) = with_manual_checkpoints();
    story.put(0, ["a", "b"]);
    let one = start(&story, "one", Then::Commit, &reported);
    story.until("committed", SOON, has_progressed);
    one.stop().unwrap();
    let last = story.put(0, ["c"]);
    let _two = start(&story, "two", Then::Commit, &reported);
    let stored = Checkpoint::After(Position::of(last));
    story.until("committed", SOON, |story| story.lease(0).checkpoint == stored);
    let expected = ["pending nothing", "prepared a b", "pending nothing", "prepared c"];
    assert_eq!(*reported.lock().unwrap(), expected);
}

#[test]
fn processor_after_a_panic_sees_what_is_prepared() {
    let (story, reported) = with_manual_checkpoints();
    story.put(0, ["a"]);
    let _one = start(&story, "one", Then::Panic, &reported);
    story.until("committed", SOON, has_progressed);
    assert_eq!(
        *reported.lock().unwrap(),
        ["pending nothing", "prepared a", "pending a", "prepared a"]
    );
}

#[test]
fn invalid_preparations_are_refused_by_name() {
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
    let (story, _) = with_manual_checkpoints();
    story.put(0, ["a"]);
    let refused = Arc::new(Mutex::new(Vec::new()));
    let of = Arc::clone(&refused);
    let factory = move |_: &ShardContext| Refused(Arc::clone(&of));
    story.start_with("one", factory);
    story.until("committed", SOON, has_progressed);
    story.pass(SECOND);
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

#[test]
fn policy_stores_progress_before_the_renewal() {
    let story = Story::new(1);
    story.configure(|config| {
        config.delivery.checkpoints = CheckpointPolicy::Every { records: 1_000, time: SECOND / 2 };
    });
    story.start("one");
    story.until("held", SOON, |story| story.owned_by("one") == Some(1));
    for number in 0..8 {
        let last = story.put(0, [number.to_string().as_str()]);
        let stored = Checkpoint::After(Position::of(last));
        // At most a second until it is read, and half of one until it is stored.
        let is_stored = |story: &Story| story.lease(0).checkpoint == stored;
        story.until("stored", SECOND * 8 / 5, is_stored);
    }
}
