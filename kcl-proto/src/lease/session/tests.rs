//! Stories of one session: inputs, and the exact effects that they must have.

use std::time::Duration;

use super::*;
use crate::lease::session_write::{SessionWrite, SessionWriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{
    Checkpoint, Conditional, FencingToken, KeptProgress, Lease, LeaseCounter, LeaseKey, Liveness,
    Moment, Position, Session, SessionProgress, Timestamp,
};

const TIMES: SessionTimes = SessionTimes {
    expiry: Duration::from_secs(10),
    beat_every: Duration::from_secs(3),
    throttled: Duration::from_secs(1),
};

/// A session that opened at 0 s, and its row as the table has it.
struct Story {
    keeper: SessionKeeper,
    row: Option<Session>,
}

impl Story {
    fn begin() -> Self {
        let now = (Moment::at_secs(0), Timestamp::from_epoch_seconds(9_000));
        let (keeper, effect) =
            SessionKeeper::open("me".into(), TIMES, WriteNumbers::of_lane(0), now);
        let KeeperEffect::Write(write) = effect else { panic!("{effect:?}") };
        let mut story = Self { keeper, row: None };
        let effects = story.answer(10, &write);
        assert_eq!(effects, [KeeperEffect::Lives(Moment::at_secs(9))]);
        story
    }

    fn on(&mut self, millis: u64, input: SessionInput) -> Vec<KeeperEffect> {
        let time = Timestamp::from_epoch_millis(9_000_000 + i64::try_from(millis).unwrap());
        self.keeper.on(input, Moment::at_millis(millis), time)
    }

    /// Feeds an input that must cause exactly one write, and returns it.
    #[track_caller]
    fn writes(&mut self, millis: u64, input: SessionInput) -> SessionWrite {
        let effects = self.on(millis, input);
        let [KeeperEffect::Write(write)] = &effects[..] else { panic!("{effects:?}") };
        write.clone()
    }

    /// Applies a write to the row. Returns the store's answer.
    fn land(&mut self, write: &SessionWrite) -> Conditional<Session> {
        let applied = write.apply(self.row.as_ref());
        let outcome = Conditional::of(self.row.clone(), applied.clone()).unwrap();
        if let Some(row) = applied {
            self.row = row;
        }
        outcome
    }

    fn answer(&mut self, millis: u64, write: &SessionWrite) -> Vec<KeeperEffect> {
        let outcome = self.land(write);
        self.on(millis, SessionInput::Answered(outcome))
    }

    fn condemn(&mut self) {
        let kind = SessionWriteKind::Condemn { beat: self.row().beat, by: "other".into() };
        let outcome = self.land(&SessionWrite { session: "me".into(), kind });
        assert!(matches!(outcome, Conditional::Applied(_)), "{outcome:?}");
    }

    /// Another worker asks for the sample's lease.
    fn ask(&mut self) {
        let kind = SessionWriteKind::Ask { keys: [Lease::sample().key].into() };
        let outcome = self.land(&SessionWrite { session: "me".into(), kind });
        assert!(matches!(outcome, Conditional::Applied(_)), "{outcome:?}");
    }

    fn row(&self) -> &Session {
        self.row.as_ref().unwrap()
    }
}

fn lives(millis: u64) -> KeeperEffect {
    KeeperEffect::Lives(Moment::at_millis(millis))
}

fn entry(token: u64, record: u128) -> KeptProgress {
    let (token, position) = (FencingToken::from(LeaseCounter(token)), Position::of(record.into()));
    KeptProgress { token, position: Some(position), caught_up_at: None }
}

fn keep(token: u64, record: u128, is_urgent: bool) -> SessionInput {
    let (key, progress) = (Lease::sample().key, Some(entry(token, record)));
    SessionInput::Reports { reports: vec![HolderReport { key, progress }], is_urgent }
}

fn alive(key: &LeaseKey) -> SessionInput {
    let report = HolderReport { key: key.clone(), progress: None };
    SessionInput::Reports { reports: vec![report], is_urgent: false }
}

fn progress_of(write: &SessionWrite) -> &SessionProgress {
    match &write.kind {
        SessionWriteKind::Beat { progress, .. } | SessionWriteKind::Resign { progress, .. } => {
            progress
        }
        SessionWriteKind::Open { .. }
        | SessionWriteKind::Ask { .. }
        | SessionWriteKind::Condemn { .. }
        | SessionWriteKind::Close { .. }
        | SessionWriteKind::Bury => panic!("{write:?}"),
    }
}

/// The row of a lease that "me" took under this token by its session.
fn row(token: u64) -> Lease {
    let row = Lease {
        owner: Some("me".into()),
        counter: LeaseCounter(token),
        token: Some(LeaseCounter(token).into()),
        expiry: Some(Liveness::Session.stored(TIMES.expiry)),
        ..Lease::sample()
    };
    row.written_by("me")
}

fn ended(how: SessionEnd) -> Vec<KeeperEffect> {
    vec![KeeperEffect::Ended(how)]
}

#[test]
fn heartbeat_moves_the_deadline_from_its_first_copy() {
    let mut story = Story::begin();
    assert_eq!(story.keeper.wake_at(), Some(Moment::at_secs(3)));
    assert_eq!(story.on(2_999, SessionInput::Tick), []);
    let beat = story.writes(3_000, SessionInput::Tick);
    assert_eq!(story.on(4_000, SessionInput::Unanswered), []);
    let again = story.writes(4_100, SessionInput::Tick);
    assert_eq!(again, beat, "unchanged");
    assert_eq!(story.answer(4_500, &again), [lives(12_000)]);
    assert_eq!(story.row().last_update, Timestamp::from_epoch_seconds(9_000 + 3 - 3_600));
    assert_eq!(story.keeper.wake_at(), Some(Moment::at_secs(6)));
}

#[test]
fn row_found_with_the_stamp_settles_a_heartbeat() {
    let mut story = Story::begin();
    let beat = story.writes(3_000, SessionInput::Tick);
    drop(story.land(&beat)); // It landed; the answer is lost.
    assert_eq!(story.on(4_000, SessionInput::Unanswered), []);
    let again = story.writes(4_100, SessionInput::Tick);
    assert_eq!(story.answer(4_500, &again), [lives(12_000)]);
    let next = story.writes(6_000, SessionInput::Tick);
    assert_eq!(story.answer(6_100, &next), [lives(15_000)]);
}

#[test]
fn answer_after_its_own_deadline_is_not_believed() {
    let mut story = Story::begin();
    let beat = story.writes(3_000, SessionInput::Tick);
    let effects = story.answer(12_000, &beat);
    assert!(!effects.iter().any(|it| matches!(it, KeeperEffect::Lives(_))), "{effects:?}");
    let [KeeperEffect::Write(next)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(story.answer(12_100, &next.clone()), [lives(21_000)], "it lives on");
}

#[test]
fn condemned_worker_ends_even_if_its_beat_counted() {
    for lands in [false, true] {
        let mut story = Story::begin();
        let beat = story.writes(3_000, SessionInput::Tick);
        if lands {
            drop(story.land(&beat));
        }
        story.condemn();
        let condemned = ended(SessionEnd::Condemned("other".into()));
        assert_eq!(story.answer(14_000, &beat), condemned);
        assert_eq!(story.keeper.deadline(), None);
        assert_eq!(story.on(15_000, SessionInput::Tick), []);
    }
}

#[test]
fn deleted_or_overwritten_row_ends_the_session() {
    let mut story = Story::begin();
    let beat = story.writes(3_000, SessionInput::Tick);
    story.row = None;
    assert_eq!(story.answer(3_100, &beat), ended(SessionEnd::Gone));
    let mut story = Story::begin();
    let beat = story.writes(3_000, SessionInput::Tick);
    story.row = Some(Session { beat: 2, write: Some(77), ..story.row().clone() });
    assert_eq!(story.answer(3_100, &beat), ended(SessionEnd::Overwritten));
}

#[test]
fn requested_checkpoints_share_a_heartbeat() {
    let mut story = Story::begin();
    assert_eq!(story.on(1_000, keep(5, 1, false)), [], "with the next heartbeat");
    let beat = story.writes(1_100, keep(5, 2, true));
    let stored = KeeperEffect::Stored { key: Lease::sample().key, progress: entry(5, 2) };
    assert_eq!(story.answer(1_120, &beat), [lives(10_100), stored]);
    assert_eq!(story.on(1_150, keep(5, 3, true)), [], "together with others");
    assert_eq!(story.on(1_200, keep(5, 4, true)), []);
    assert_eq!(story.keeper.wake_at(), Some(Moment::at_millis(1_300)));
    let beat = story.writes(1_300, SessionInput::Tick);
    let stored = KeeperEffect::Stored { key: Lease::sample().key, progress: entry(5, 4) };
    assert_eq!(story.answer(1_310, &beat), [lives(10_300), stored]);
    let beat = story.writes(4_300, SessionInput::Tick);
    assert_eq!(progress_of(&beat).0.len(), 1, "the row holds it for as long as it beats");
    assert_eq!(story.answer(4_310, &beat), [lives(13_300)], "stored once");
}

#[test]
fn entry_stays_until_its_row_outdates_it() {
    let key = Lease::sample().key;
    let check = |row: &Lease, stays: bool| {
        let mut story = Story::begin();
        story.on(100, keep(5, 2, false));
        story.on(100, SessionInput::Seen(Box::new(row.clone())));
        assert_eq!(story.keeper.progress().0.contains_key(&key), stays, "{row:?}");
    };
    check(&row(5), true);
    check(&row(4), true);
    check(&Lease { owner: Some("b".into()), checkpoint_owner: Some("me".into()), ..row(5) }, true);
    check(&row(6), false);
    check(&Lease { owner: None, ..row(5) }, false);
    check(&Lease { owner: Some("b".into()), ..row(5) }, false);
    check(&Lease { expiry: Some(TIMES.expiry), ..row(5) }, false);
    check(&Lease { checkpoint: Checkpoint::after(1), ..row(5) }, true);
    check(&Lease { checkpoint: Checkpoint::after(2), ..row(5) }, false);
    let mut story = Story::begin();
    story.on(100, keep(5, 2, false));
    story.on(100, SessionInput::Ended(key.clone()));
    assert!(story.keeper.progress().0.contains_key(&key), "its holding has ended");
    story.on(100, keep(4, 9, false));
    story.on(100, keep(5, 1, false));
    assert_eq!(story.keeper.progress().0.get(&key), Some(&entry(5, 2)), "no later progress");
    story.on(100, keep(6, 1, false));
    assert_eq!(story.keeper.progress().0.get(&key), Some(&entry(6, 1)));
    story.on(100, SessionInput::Gone(key.clone()));
    assert!(story.keeper.progress().0.is_empty());
}

#[test]
fn resigning_worker_has_no_deadline_from_its_request_on() {
    let mut story = Story::begin();
    story.on(1_000, keep(5, 2, false));
    let beat = story.writes(3_000, SessionInput::Tick);
    assert_eq!(story.on(3_010, SessionInput::Resign), [], "one write in flight");
    assert_eq!(story.keeper.deadline(), None);
    let effects = story.answer(3_100, &beat);
    let Some(KeeperEffect::Write(resign)) = effects.last() else { panic!("{effects:?}") };
    assert!(!effects.iter().any(|it| matches!(it, KeeperEffect::Lives(_))), "{effects:?}");
    assert_eq!(progress_of(resign).0.len(), 1);
    assert_eq!(story.answer(3_200, &resign.clone()), ended(SessionEnd::Resigned));
    assert_eq!(story.row().dead, Some("me".into()));
}

#[test]
fn close_removes_the_row_only_if_no_lease_names_the_worker() {
    let mut story = Story::begin();
    let close = story.writes(1_000, SessionInput::Close { is_named: false });
    assert_eq!(close.kind, SessionWriteKind::Close { beat: 1 });
    drop(story.land(&close)); // The answer is lost.
    story.on(1_100, SessionInput::Unanswered);
    let again = story.writes(1_200, SessionInput::Tick);
    assert_eq!(story.answer(1_300, &again), ended(SessionEnd::Closed));
    assert_eq!(story.row, None);
    let mut story = Story::begin();
    let resign = story.writes(1_000, SessionInput::Close { is_named: true });
    assert!(matches!(resign.kind, SessionWriteKind::Resign { .. }), "{resign:?}");
    let mut story = Story::begin();
    story.on(500, keep(5, 2, false));
    let resign = story.writes(1_000, SessionInput::Close { is_named: false });
    assert_eq!(progress_of(&resign).0.len(), 1, "an entry may still be needed");
}

#[test]
fn leaving_is_announced_at_once() {
    let mut story = Story::begin();
    let beat = story.writes(1_000, SessionInput::Leave);
    drop(story.answer(1_100, &beat));
    assert!(story.row().is_leaving);
    assert_eq!(story.on(1_200, SessionInput::Leave), [], "once");
}

#[test]
fn request_is_told_until_a_heartbeat_has_removed_it() {
    let mut story = Story::begin();
    let asked = KeeperEffect::Asked(Lease::sample().key);
    story.ask();
    let beat = story.writes(3_000, SessionInput::Tick);
    assert_eq!(story.answer(3_010, &beat), [lives(12_000), asked.clone()]);
    assert_eq!(story.row().asked.len(), 1);
    let beat = story.writes(6_000, SessionInput::Tick);
    story.ask(); // The heartbeat removes this word, too.
    assert_eq!(story.answer(6_010, &beat), [lives(15_000), asked]);
    assert!(story.row().asked.is_empty());
    let beat = story.writes(9_000, SessionInput::Tick);
    assert_eq!(story.answer(9_010, &beat), [lives(18_000)]);
}

#[test]
fn holder_that_misses_two_calls_is_stuck() {
    let mut story = Story::begin();
    let keys = ["dead", "alive"].map(LeaseKey::from);
    for key in &keys {
        story.on(100, SessionInput::Holds { key: key.clone(), token: LeaseCounter(5).into() });
    }
    for beat in [3_000, 6_500] {
        let write = story.writes(beat, SessionInput::Tick);
        drop(story.answer(beat + 10, &write));
        let write = story.writes(beat + 500, keep(5, beat.into(), true));
        drop(story.answer(beat + 510, &write)); // Heartbeats for checkpoints are no calls.
        story.on(beat + 600, alive(&keys[1]));
    }
    let effects = story.on(10_000, SessionInput::Tick);
    let stuck = KeeperEffect::Stuck { key: keys[0].clone(), until: Moment::at_millis(16_000) };
    assert_eq!(effects[0], stuck);
    assert_eq!(effects.len(), 2, "the worker beats for the others: {effects:?}");
}

#[test]
fn throttled_heartbeat_is_sent_more_often_before_the_deadline() {
    let mut story = Story::begin();
    let beat = story.writes(3_000, SessionInput::Tick);
    for (throttled, again) in [(3_000, 3_750), (8_000, 8_125), (8_999, 9_099)] {
        assert_eq!(story.on(throttled, SessionInput::Throttled), []);
        assert_eq!(story.keeper.wake_at(), Some(Moment::at_millis(again)));
        assert_eq!(story.writes(again, SessionInput::Tick), beat);
    }
}
