//! Stories of a lease that lives by its worker's session.

use std::time::Duration;

use super::tests::TIMES;
use super::*;
use crate::consumer::progress::Done;
use crate::lease::precondition::Field;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{
    Checkpoint, Conditional, KeptProgress, Lease, LeaseCounter, LeaseEnd, Liveness, Moment,
    PendingCheckpoint, Position, Timestamp,
};

/// A lease that "me" took at 0 s, when its session lived until 9 s.
struct Story {
    holding: Holding,
    row: Lease,
}

impl Story {
    fn begin() -> Self {
        Self::with(TIMES)
    }

    fn with(times: HoldingTimes) -> Self {
        let take = WriteKind::Take {
            counter: LeaseCounter(0),
            last_write: Field::Any,
            floor: LeaseCounter(4),
            expiry: TIMES.expiry,
            owner_switches: 1,
            start_at: None,
            lives_by: Liveness::Session,
            adopt: None,
        };
        let row = Self::by("me", take).apply(Some(&Lease::sample())).flatten().unwrap();
        let (lives_until, now) = (Moment::at_secs(9), Moment::at_secs(0));
        let taken = InSession { row: row.clone(), lives_until, now };
        let holding = Holding::in_session("me".into(), times, WriteNumbers::of_lane(8), taken);
        Self { holding, row }
    }

    fn by(worker: &str, kind: WriteKind) -> LeaseWrite {
        LeaseWrite { key: Lease::sample().key, worker: worker.into(), number: 1, kind }
    }

    fn on(&mut self, seconds: u64, input: HoldingInput) -> Vec<HoldingEffect> {
        self.holding.on(input, Moment::at_secs(seconds))
    }

    fn progress(&mut self, seconds: u64, record: u128) -> Vec<HoldingEffect> {
        let checkpoint = Some(Checkpoint::after(record));
        self.on(seconds, HoldingInput::Progress(Done { checkpoint, ..Done::default() }))
    }

    /// Feeds an input that must cause exactly one write, makes it, and feeds the answer.
    #[track_caller]
    fn writes(&mut self, seconds: u64, input: HoldingInput) -> (WriteKind, Vec<HoldingEffect>) {
        let effects = self.on(seconds, input);
        let [HoldingEffect::Write(write)] = &effects[..] else { panic!("{effects:?}") };
        self.row = write.apply(Some(&self.row)).flatten().unwrap();
        let answer = HoldingInput::Answered(Conditional::Applied(self.row.clone()));
        (write.kind.clone(), self.on(seconds, answer))
    }
}

fn kept(record: u128, is_urgent: bool) -> HoldingEffect {
    let position = Some(Position::of(record.into()));
    let token = LeaseCounter(5).into();
    HoldingEffect::Keep {
        progress: KeptProgress { token, position, caught_up_at: None },
        is_urgent,
    }
}

fn stored(record: u128) -> HoldingInput {
    HoldingInput::SessionStored(Position::of(record.into()))
}

#[test]
fn session_moves_the_deadline_and_nothing_is_renewed() {
    let mut story = Story::begin();
    assert_eq!(story.holding.wake_at(), Moment::at_secs(9));
    assert_eq!(story.on(8, HoldingInput::Tick), []);
    let later = Moment::at_secs(12);
    assert_eq!(story.on(8, HoldingInput::SessionLives(later)), [HoldingEffect::Deadline(later)]);
    assert_eq!(story.on(11, HoldingInput::SessionLives(Moment::at_secs(11))), []);
    let ended = [HoldingEffect::Cancel, HoldingEffect::Ended(LeaseEnd::Expired)];
    assert_eq!(story.on(12, HoldingInput::Tick), ended);
    let later = Moment::at_secs(20);
    assert_eq!(story.on(12, HoldingInput::SessionLives(later)), [], "never revived");
}

#[test]
fn row_gets_a_copy_of_the_progress_now_and_then() {
    let mut story = Story::with(HoldingTimes { row_every: Some(Duration::from_secs(4)), ..TIMES });
    assert_eq!(story.on(5, HoldingInput::Tick), [], "there is nothing to copy");
    let mut story = Story::with(HoldingTimes { row_every: Some(Duration::from_secs(4)), ..TIMES });
    assert_eq!(story.progress(1, 7), [kept(7, false)]);
    assert_eq!(story.holding.wake_at(), Moment::at_secs(4));
    let (kind, effects) = story.writes(4, HoldingInput::Tick);
    assert!(matches!(kind, WriteKind::Renew { progress: Some(_), .. }), "{kind:?}");
    assert_eq!(story.row.checkpoint, Checkpoint::after(7));
    assert!(!effects.iter().any(|it| matches!(it, HoldingEffect::Deadline(_))), "{effects:?}");
    assert_eq!(story.holding.wake_at(), Moment::at_secs(9), "its session's deadline");
    assert_eq!(story.progress(5, 9), [kept(9, false)]);
    assert_eq!(story.holding.wake_at(), Moment::at_secs(8), "4 s after the last copy");
}

#[test]
fn lease_of_a_lapsed_session_ends_at_once() {
    let mut story = Story::begin();
    let effects = story.on(9, HoldingInput::Tick);
    assert!(effects.contains(&HoldingEffect::Ended(LeaseEnd::Expired)), "{effects:?}");
    let mut story = Story::begin();
    let effects = story.on(1, HoldingInput::SessionOver);
    assert!(effects.contains(&HoldingEffect::Ended(LeaseEnd::Expired)), "{effects:?}");
}

#[test]
fn progress_goes_to_the_session() {
    let mut story = Story::begin();
    assert_eq!(story.progress(1, 7), [kept(7, false)]);
    assert_eq!(story.progress(2, 7), [], "it has been handed over");
    assert_eq!(story.on(3, HoldingInput::Tick), []);
    assert_eq!(story.progress(3, 9), [kept(9, false)]);
    let (kind, effects) = story.writes(4, HoldingInput::ConsumerFailed);
    let WriteKind::Release { progress, unmark, .. } = kind else { panic!("{kind:?}") };
    let released = progress.and_then(|progress| progress.checkpoint);
    assert_eq!(released, Some(Checkpoint::after(9)), "the row has all of it in the end");
    assert_eq!(unmark, Some(TIMES.expiry));
    assert!(effects.contains(&HoldingEffect::Ended(LeaseEnd::Released)), "{effects:?}");
    assert!(!effects.iter().any(|it| matches!(it, HoldingEffect::Deadline(_))), "{effects:?}");
}

#[test]
fn requested_checkpoint_is_stored_with_a_heartbeat_at_once() {
    let mut story = Story::begin();
    assert_eq!(story.progress(1, 7), [kept(7, false)]);
    let ask = |record| HoldingInput::Checkpoint(Checkpoint::after(record));
    assert_eq!(story.on(1, ask(7)), [kept(7, true)]);
    assert_eq!(story.on(1, HoldingInput::Tick), [], "once");
    assert_eq!(story.progress(2, 8), [kept(8, false)]);
    let reached = |record| HoldingEffect::Stored(Checkpoint::after(record));
    assert_eq!(story.on(2, stored(7)), [reached(7)]);
    assert_eq!(story.on(3, ask(7)), [reached(7)], "it is stored");
    assert_eq!(story.on(3, ask(6)), [HoldingEffect::Refused(Checkpoint::after(6))]);
    assert_eq!(story.on(3, ask(8)), [kept(8, true)]);
}

#[test]
fn progress_is_kept_at_once_as_often_as_the_policy_says() {
    let every = StoreEvery { records: 10, time: Duration::from_secs(5) };
    let mut story = Story::with(HoldingTimes { store_every: Some(every), ..TIMES });
    let mut done = |seconds, records: u64| {
        let checkpoint = Some(Checkpoint::after(records.into()));
        let done = Done { checkpoint, records, caught_up_at: None };
        story.on(seconds, HoldingInput::Progress(done))
    };
    assert_eq!(done(1, 9), [kept(9, false)]);
    assert_eq!(done(1, 10), [kept(10, true)]);
    assert_eq!(done(2, 11), [kept(11, false)]);
    assert_eq!(story.holding.wake_at(), Moment::at_secs(7));
    assert_eq!(story.on(7, HoldingInput::Tick), [kept(11, true)]);
    assert_eq!(story.on(8, HoldingInput::Tick), []);
}

#[test]
fn time_at_the_end_is_kept_in_whole_seconds() {
    let mut story = Story::begin();
    let mut caught_up = |millis| {
        let caught_up_at = Some(Timestamp::from_epoch_millis(millis));
        story.on(1, HoldingInput::Progress(Done { caught_up_at, ..Done::default() }))
    };
    let effects = caught_up(5_900);
    let [HoldingEffect::Keep { progress, is_urgent: false }] = effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(progress.caught_up_at, Some(Timestamp::from_epoch_seconds(5)));
    assert_eq!(progress.position, None);
    assert_eq!(caught_up(5_950), []);
}

/// Only the row holds a prepared checkpoint, so the progress must not overtake it elsewhere.
#[test]
fn progress_goes_to_the_row_while_a_checkpoint_is_prepared() {
    let mut story = Story::begin();
    assert_eq!(story.progress(1, 7), [kept(7, false)]);
    let prepared = PendingCheckpoint { checkpoint: Checkpoint::after(9), state: None };
    let (kind, effects) = story.writes(1, HoldingInput::Prepare(prepared));
    assert!(matches!(kind, WriteKind::Renew { .. }), "{kind:?}");
    assert_eq!(story.row.checkpoint, Checkpoint::after(7));
    assert!(effects.contains(&HoldingEffect::Prepared), "{effects:?}");
    assert_eq!(story.progress(2, 8), [], "with the next write of the row");
    assert_eq!(story.holding.wake_at(), Moment::at_secs(4));
    let (kind, _) = story.writes(4, HoldingInput::Tick);
    assert!(matches!(kind, WriteKind::Renew { .. }), "{kind:?}");
    assert_eq!(story.row.checkpoint, Checkpoint::after(8));
    let (_, effects) = story.writes(5, HoldingInput::Checkpoint(Checkpoint::after(9)));
    assert!(effects.contains(&HoldingEffect::Stored(Checkpoint::after(9))), "{effects:?}");
    assert_eq!(story.row.pending, None);
    assert_eq!(story.progress(6, 10), [kept(10, false)]);
}

/// Progress in a session ends with it, and the row of a parent may go before the child's does.
#[test]
fn first_progress_of_a_child_is_stored_in_its_row_too() {
    let mut story = Story::begin();
    story.row.parents.insert("parent".into());
    story.holding = Holding::in_session(
        "me".into(),
        TIMES,
        WriteNumbers::of_lane(8),
        InSession {
            row: story.row.clone(),
            lives_until: Moment::at_secs(9),
            now: Moment::at_secs(0),
        },
    );
    assert_eq!(story.progress(1, 7), [kept(7, false)]);
    let (kind, _) = story.writes(3, HoldingInput::Tick);
    assert!(matches!(kind, WriteKind::Renew { .. }), "{kind:?}");
    assert_eq!(story.row.checkpoint, Checkpoint::after(7));
    assert_eq!(story.progress(4, 8), [kept(8, false)]);
    assert_eq!(story.on(7, HoldingInput::Tick), [], "once");
}

#[test]
fn checkpoint_that_the_session_contains_is_handed_over() {
    let mut story = Story::begin();
    assert_eq!(story.on(1, HoldingInput::Checkpoint(Checkpoint::after(7))), [kept(7, true)]);
    drop(story.on(2, stored(7)));
    drop(story.on(3, HoldingInput::Stop { until: Moment::at_secs(5) }));
    let (kind, _) = story.writes(3, HoldingInput::Drained);
    assert!(matches!(kind, WriteKind::Release { .. }), "{kind:?}");
    assert_eq!(story.row.checkpoint, Checkpoint::after(7));
}
