//! Stories of one request: inputs, and the exact effect that each must have.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::model::{Checkpoint, HashKeyRange, LeaseCounter, NewLease};

fn at(millis: u64) -> Moment {
    Moment::from_origin(Duration::from_millis(millis))
}

fn by(worker: &str, number: u64, kind: WriteKind) -> LeaseWrite {
    LeaseWrite { key: LeaseKey::new("shardId-0"), worker: worker.into(), number, kind }
}

/// A lease of "owner" that "me" asks for, and the row as the table has it.
struct Story {
    asking: Asking,
    row: Option<Lease>,
    others: u64,
}

impl Story {
    /// The request was just made, and reads.
    fn begin() -> Self {
        let new = NewLease {
            key: LeaseKey::new("shardId-0"),
            checkpoint: Checkpoint::TrimHorizon,
            start_at: None,
            parents: BTreeSet::new(),
            hash_range: HashKeyRange::FULL,
        };
        let target = (new.key.clone(), "owner".into());
        let (asking, first) = Asking::new("me".into(), target, WriteNumbers::of_lane(3), at(0));
        assert_eq!(first, AskingEffect::Read);
        let mut story = Self { asking, row: None, others: 0 };
        story.other("owner", WriteKind::Create(new));
        let (counter, expiry) = (LeaseCounter(0), Duration::from_secs(10));
        story.other("owner", WriteKind::Take { counter, expiry, owner_switches: 1 });
        story
    }

    /// The request is on the row, and waits.
    fn waiting() -> Self {
        let mut story = Self::begin();
        let begin = story.writes_after_reading(0);
        assert_eq!(story.land(&begin, 10), Some(AskingEffect::Begun));
        story
    }

    fn on(&mut self, millis: u64, input: AskingInput) -> Option<AskingEffect> {
        self.asking.on(input, at(millis))
    }

    /// A read is answered with the row as it is.
    fn read(&mut self, millis: u64) -> Option<AskingEffect> {
        let row = self.row.clone();
        self.on(millis, AskingInput::Read(row))
    }

    /// A read is answered, which must cause a write.
    #[track_caller]
    fn writes_after_reading(&mut self, millis: u64) -> LeaseWrite {
        match self.read(millis) {
            Some(AskingEffect::Write(write)) => *write,
            other => panic!("no write but {other:?}"),
        }
    }

    fn apply(&mut self, write: &LeaseWrite) -> Conditional {
        match write.apply(self.row.as_ref()) {
            Some(row) => {
                let answer = row.clone().or_else(|| self.row.clone()).unwrap();
                self.row = row;
                Conditional::Applied(answer)
            }
            None => Conditional::Lost { found: self.row.clone() },
        }
    }

    /// A write reaches the row, and its answer arrives.
    fn land(&mut self, write: &LeaseWrite, millis: u64) -> Option<AskingEffect> {
        let outcome = self.apply(write);
        self.on(millis, AskingInput::Answered(outcome))
    }

    /// Another worker writes to the row.
    #[track_caller]
    fn other(&mut self, worker: &str, kind: WriteKind) {
        self.others += 1;
        let write = by(worker, self.others, kind);
        assert!(matches!(self.apply(&write), Conditional::Applied(_)), "{write:?}");
    }

    fn counter(&self) -> LeaseCounter {
        self.row.as_ref().unwrap().counter
    }

    /// The owner renews; `next` is who it knows to have asked.
    fn renew(&mut self, next: Option<&str>) {
        let (counter, next) = (self.counter(), next.map(WorkerId::from));
        self.other("owner", WriteKind::Renew { counter, next, progress: None });
    }

    fn complete(&mut self) {
        let (counter, next) = (self.counter(), "me".into());
        self.other("owner", WriteKind::CompleteHandOver { counter, next, progress: None });
    }

    fn cancel(&mut self) {
        let counter = self.counter();
        self.other("owner", WriteKind::CancelHandOver { counter });
    }

    fn owner(&self) -> Option<&str> {
        self.row.as_ref().unwrap().owner.as_ref().map(WorkerId::as_str)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "stories compare what the machine returns")]
fn ended(end: AskEnd) -> Option<AskingEffect> {
    Some(AskingEffect::Ended(end))
}

#[expect(clippy::unnecessary_wraps, reason = "stories compare what the machine returns")]
const fn refused(reason: &'static str) -> Option<AskingEffect> {
    Some(AskingEffect::Ended(AskEnd::Refused(reason)))
}

#[test]
fn a_request_begins_waits_and_receives_the_lease() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    let (counter, victim) = (LeaseCounter(1), "owner".into());
    assert_eq!(begin.kind, WriteKind::BeginHandOver { counter, victim });
    assert_eq!(story.land(&begin, 10), Some(AskingEffect::Begun));
    assert_eq!(story.asking.wake_at(), at(260));
    assert_eq!(story.on(260, AskingInput::Tick), Some(AskingEffect::Read));
    story.renew(Some("me"));
    assert_eq!(story.read(270), None);
    assert_eq!(story.asking.wake_at(), at(520));
    story.complete();
    let row = story.row.clone().unwrap();
    assert_eq!(story.read(530), ended(AskEnd::Arrived(Box::new(row))));
}

#[test]
fn an_owner_that_renews_in_between_is_asked_again_four_times_at_most() {
    let mut story = Story::begin();
    for round in 0..4 {
        let begin = story.writes_after_reading(round);
        story.renew(None);
        assert_eq!(story.land(&begin, round), Some(AskingEffect::Read));
    }
    assert_eq!(story.read(9), refused("the owner changed, or renewed too fast"));
    assert_eq!(story.owner(), Some("owner"));
}

#[test]
fn a_begin_whose_answer_was_lost_is_sent_again_as_it_was() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    drop(story.apply(&begin));
    assert_eq!(story.on(10, AskingInput::Unanswered), None);
    assert_eq!(story.asking.wake_at(), at(260));
    let again = story.on(260, AskingInput::Tick);
    assert_eq!(again, Some(AskingEffect::Write(Box::new(begin.clone()))));
    // The first copy counted: the row says so, and the request waits.
    assert_eq!(story.land(&begin, 270), Some(AskingEffect::Read));
    assert_eq!(story.read(280), Some(AskingEffect::Begun));
    assert_eq!(story.asking.wake_at(), at(530));
}

#[test]
fn a_read_that_failed_is_made_again() {
    let mut story = Story::waiting();
    assert_eq!(story.on(300, AskingInput::Unread), None);
    assert_eq!(story.asking.wake_at(), at(550));
    assert_eq!(story.on(550, AskingInput::Tick), Some(AskingEffect::Read));
}

#[test]
fn an_owner_that_cancels_keeps_its_lease() {
    let mut story = Story::waiting();
    story.cancel();
    assert_eq!(story.read(300), refused("the owner kept the lease"));
}

#[test]
fn a_row_that_is_gone_or_ended_or_another_workers_is_not_asked_for() {
    let mut story = Story::begin();
    story.row = None;
    assert_eq!(story.read(0), refused("the row is gone"));

    let mut story = Story::begin();
    let row = story.row.clone().unwrap();
    story.row = Some(Lease { checkpoint: Checkpoint::ShardEnd, ..row });
    assert_eq!(story.read(0), refused("the shard is finished"));

    let mut story = Story::waiting();
    let row = story.row.clone().unwrap();
    let owner = Some("me".into());
    story.row =
        Some(Lease { owner, checkpoint_owner: None, checkpoint: Checkpoint::ShardEnd, ..row });
    assert_eq!(story.read(300), refused("the shard is finished"));

    let mut story = Story::begin();
    let row = story.row.clone().unwrap();
    story.row = Some(Lease { owner: Some("third".into()), ..row });
    assert_eq!(story.read(0), refused("the owner changed, or renewed too fast"));
}

#[test]
fn a_lease_that_a_third_worker_asked_for_first_is_left_to_it() {
    let mut story = Story::begin();
    let (counter, victim) = (story.counter(), "owner".into());
    story.other("third", WriteKind::BeginHandOver { counter, victim });
    assert_eq!(story.read(0), refused("the owner changed, or renewed too fast"));
}

#[test]
fn a_lease_that_was_asked_for_on_its_way_is_passed_on() {
    for is_stopping in [false, true] {
        let mut story = Story::waiting();
        story.complete();
        let (counter, victim) = (story.counter(), "me".into());
        story.other("third", WriteKind::BeginHandOver { counter, victim });
        if is_stopping {
            assert_eq!(story.on(290, AskingInput::Stop), None);
        }
        let pass = story.writes_after_reading(300);
        assert_eq!(story.land(&pass, 310), refused(PASSED_ON));
        let row = story.row.clone().unwrap();
        assert_eq!((story.owner(), row.checkpoint_owner), (Some("third"), None));
    }
}

#[test]
fn a_lease_that_is_not_asked_for_any_more_is_not_passed_on() {
    let mut story = Story::waiting();
    story.complete();
    let (counter, victim) = (story.counter(), WorkerId::from("me"));
    story.other("third", WriteKind::BeginHandOver { counter, victim: victim.clone() });
    let pass = story.writes_after_reading(300);
    story.other("third", WriteKind::Withdraw { counter, victim });
    assert_eq!(story.land(&pass, 310), Some(AskingEffect::Read));
    assert!(matches!(story.read(320), Some(AskingEffect::Ended(AskEnd::Arrived(_)))));
}

#[test]
fn a_stop_before_the_begin_leaves_nothing_behind() {
    let mut story = Story::begin();
    assert_eq!(story.on(0, AskingInput::Stop), None);
    let before = story.row.clone();
    assert_eq!(story.read(10), ended(AskEnd::Withdrawn));
    assert_eq!(story.row, before);
}

#[test]
fn a_stop_while_waiting_withdraws_and_gives_the_lease_back() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, AskingInput::Stop), None);
    assert_eq!(story.on(260, AskingInput::Tick), Some(AskingEffect::Read));
    let withdrawal = story.writes_after_reading(270);
    let (counter, victim) = (LeaseCounter(1), "owner".into());
    assert_eq!(withdrawal.kind, WriteKind::Withdraw { counter, victim });
    assert_eq!(story.land(&withdrawal, 280), ended(AskEnd::Withdrawn));
    assert_eq!(story.owner(), Some("owner"));
    assert_eq!(story.row.as_ref().unwrap().checkpoint_owner, None);
}

#[test]
fn a_stop_while_the_begin_is_on_its_way_reads_and_then_withdraws() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    assert_eq!(story.on(5, AskingInput::Stop), None);
    assert_eq!(story.land(&begin, 10), Some(AskingEffect::Read));
    let withdrawal = story.writes_after_reading(20);
    assert_eq!(story.land(&withdrawal, 30), ended(AskEnd::Withdrawn));
    assert_eq!(story.owner(), Some("owner"));
}

#[test]
fn a_stop_after_the_lease_arrived_releases_it() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, AskingInput::Stop), None);
    story.complete();
    let release = story.writes_after_reading(270);
    let counter = story.counter();
    assert_eq!(release.kind, WriteKind::Release { counter, progress: None });
    assert_eq!(story.land(&release, 280), ended(AskEnd::Withdrawn));
    assert_eq!(story.owner(), None);
}

#[test]
fn a_withdrawal_that_meets_a_renewal_is_made_anew() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, AskingInput::Stop), None);
    let late = story.writes_after_reading(270);
    story.renew(Some("me"));
    assert_eq!(story.land(&late, 280), Some(AskingEffect::Read));
    let withdrawal = story.writes_after_reading(290);
    assert_ne!(withdrawal.number, late.number);
    assert_eq!(story.land(&withdrawal, 300), ended(AskEnd::Withdrawn));
    assert_eq!(story.owner(), Some("owner"));
}

#[test]
fn a_withdrawal_that_meets_the_hand_over_releases_what_arrived() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, AskingInput::Stop), None);
    let late = story.writes_after_reading(270);
    story.complete();
    assert_eq!(story.land(&late, 280), Some(AskingEffect::Read));
    let release = story.writes_after_reading(290);
    assert_eq!(story.land(&release, 300), ended(AskEnd::Withdrawn));
    assert_eq!(story.owner(), None);
}

#[test]
fn a_withdrawal_whose_answer_was_lost_is_settled_by_reading() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, AskingInput::Stop), None);
    let withdrawal = story.writes_after_reading(270);
    drop(story.apply(&withdrawal));
    assert_eq!(story.on(280, AskingInput::Unanswered), None);
    let again = story.on(530, AskingInput::Tick);
    assert_eq!(again, Some(AskingEffect::Write(Box::new(withdrawal.clone()))));
    assert_eq!(story.land(&withdrawal, 540), Some(AskingEffect::Read));
    assert_eq!(story.read(550), ended(AskEnd::Withdrawn));
}

#[test]
fn a_request_that_stops_before_it_could_read_left_nothing() {
    let mut story = Story::begin();
    assert_eq!(story.on(10, AskingInput::Unread), None);
    assert_eq!(story.on(20, AskingInput::Stop), None);
    assert_eq!(story.on(260, AskingInput::Tick), Some(AskingEffect::Read));
    let withdrawn = Some(AskingEffect::Ended(AskEnd::Withdrawn));
    assert_eq!(story.on(270, AskingInput::Unread), withdrawn);
}

#[test]
fn a_request_that_may_stand_in_the_row_stops_only_once_it_has_read_it() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    story.renew(None);
    assert_eq!(story.land(&begin, 10), Some(AskingEffect::Read));
    assert_eq!(story.on(20, AskingInput::Stop), None);
    assert_eq!(story.on(30, AskingInput::Unread), None);
    assert_eq!(story.on(280, AskingInput::Tick), Some(AskingEffect::Read));
    assert_eq!(story.read(290), Some(AskingEffect::Ended(AskEnd::Withdrawn)));
}
