//! Stories of one request: inputs, and the exact effect that each must have.

use super::*;
use crate::model::{Checkpoint, LeaseCounter, NewLease};

fn by(worker: &str, number: u64, kind: WriteKind) -> LeaseWrite {
    LeaseWrite { key: Lease::sample().key, worker: worker.into(), number, kind }
}

/// A lease of "owner" that "me" asks for, and the row in the table.
struct Story {
    request: HandoverRequest,
    row: Option<Lease>,
    others: u64,
}

impl Story {
    /// The request has just been created and reads.
    fn begin() -> Self {
        let new = NewLease::sample();
        let target = Target { key: new.key.clone(), owner: "owner".into() };
        let (request, first) = HandoverRequest::new(
            "me".into(),
            target,
            WriteNumbers::of_lane(3),
            Moment::at_millis(0),
        );
        assert_eq!(first, RequestEffect::Read);
        let mut story = Self { request, row: None, others: 0 };
        story.other("owner", WriteKind::Create(new));
        story.other("owner", WriteKind::sample_take(LeaseCounter(0), 1));
        story
    }

    /// The row carries the request, which waits.
    fn waiting() -> Self {
        let mut story = Self::begin();
        let begin = story.writes_after_reading(0);
        assert_eq!(story.land(&begin, 10), Some(RequestEffect::Begun));
        story
    }

    fn on(&mut self, millis: u64, input: RequestInput) -> Option<RequestEffect> {
        self.request.on(input, Moment::at_millis(millis))
    }

    /// Answers a read with the current row.
    fn read(&mut self, millis: u64) -> Option<RequestEffect> {
        let row = self.row.clone();
        self.on(millis, RequestInput::Read(row))
    }

    /// Answers a read, which must cause a write.
    #[track_caller]
    fn writes_after_reading(&mut self, millis: u64) -> LeaseWrite {
        match self.read(millis) {
            Some(RequestEffect::Write(write)) => *write,
            other => panic!("{other:?} instead of a write"),
        }
    }

    fn apply(&mut self, write: &LeaseWrite) -> Conditional {
        let applied = write.apply(self.row.as_ref());
        let outcome = Conditional::of(self.row.clone(), applied.clone()).unwrap();
        if let Some(row) = applied {
            self.row = row;
        }
        outcome
    }

    /// Applies a write to the row and feeds the answer.
    fn land(&mut self, write: &LeaseWrite, millis: u64) -> Option<RequestEffect> {
        let outcome = self.apply(write);
        self.on(millis, RequestInput::Answered(outcome))
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

    /// The owner renews; `next` is the requester that it knows of.
    fn renew(&mut self, next: Option<&str>) {
        let (counter, next) = (self.counter(), next.map(WorkerId::from));
        self.other("owner", WriteKind::Renew { counter, next, progress: None });
    }

    fn complete(&mut self) {
        let (counter, next) = (self.counter(), "me".into());
        self.other(
            "owner",
            WriteKind::CompleteHandover { counter, next, progress: None, unmark: None },
        );
    }

    fn cancel(&mut self) {
        let counter = self.counter();
        self.other("owner", WriteKind::CancelHandover { counter });
    }

    fn owner(&self) -> Option<&str> {
        self.row.as_ref().unwrap().owner.as_ref().map(WorkerId::as_str)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "stories compare what the machine returns")]
fn ended(end: RequestEnd) -> Option<RequestEffect> {
    Some(RequestEffect::Ended(end))
}

#[expect(clippy::unnecessary_wraps, reason = "stories compare what the machine returns")]
const fn refused(reason: &'static str) -> Option<RequestEffect> {
    Some(RequestEffect::Ended(RequestEnd::Refused(reason)))
}

#[test]
fn request_begins_waits_and_receives_the_lease() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    let (counter, victim) = (LeaseCounter(1), "owner".into());
    assert_eq!(begin.kind, WriteKind::BeginHandover { counter, victim });
    assert_eq!(story.land(&begin, 10), Some(RequestEffect::Begun));
    assert_eq!(story.request.wake_at(), Moment::at_millis(260));
    assert_eq!(story.on(260, RequestInput::Tick), Some(RequestEffect::Read));
    story.renew(Some("me"));
    assert_eq!(story.read(270), None);
    assert_eq!(story.request.wake_at(), Moment::at_millis(520));
    story.complete();
    let row = story.row.clone().unwrap();
    assert_eq!(story.read(530), ended(RequestEnd::Arrived(Box::new(row))));
}

#[test]
fn begin_is_retried_four_times_against_renewals() {
    let mut story = Story::begin();
    for round in 0..4 {
        let begin = story.writes_after_reading(round);
        story.renew(None);
        assert_eq!(story.land(&begin, round), Some(RequestEffect::Read));
    }
    assert_eq!(story.read(9), refused("the owner changed, or renewed too fast"));
    assert_eq!(story.owner(), Some("owner"));
}

#[test]
fn begin_with_a_lost_answer_is_resent_unchanged() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    drop(story.apply(&begin));
    assert_eq!(story.on(10, RequestInput::Unanswered), None);
    assert_eq!(story.request.wake_at(), Moment::at_millis(260));
    let again = story.on(260, RequestInput::Tick);
    assert_eq!(again, Some(RequestEffect::Write(Box::new(begin.clone()))));
    // The first copy was applied: the row proves it, and the request waits.
    assert_eq!(story.land(&begin, 270), Some(RequestEffect::Read));
    assert_eq!(story.read(280), Some(RequestEffect::Begun));
    assert_eq!(story.request.wake_at(), Moment::at_millis(530));
}

#[test]
fn failed_read_is_retried() {
    let mut story = Story::waiting();
    assert_eq!(story.on(300, RequestInput::Unread), None);
    assert_eq!(story.request.wake_at(), Moment::at_millis(550));
    assert_eq!(story.on(550, RequestInput::Tick), Some(RequestEffect::Read));
}

#[test]
fn cancelling_owner_keeps_its_lease() {
    let mut story = Story::waiting();
    story.cancel();
    assert_eq!(story.read(300), refused("the owner kept the lease"));
}

#[test]
fn gone_ended_or_moved_lease_is_refused() {
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
fn earlier_request_of_a_third_worker_wins() {
    let mut story = Story::begin();
    let (counter, victim) = (story.counter(), "owner".into());
    story.other("third", WriteKind::BeginHandover { counter, victim });
    assert_eq!(story.read(0), refused("the owner changed, or renewed too fast"));
}

#[test]
fn lease_requested_on_its_way_is_passed_on() {
    for is_stopping in [false, true] {
        let mut story = Story::waiting();
        story.complete();
        let (counter, victim) = (story.counter(), "me".into());
        story.other("third", WriteKind::BeginHandover { counter, victim });
        if is_stopping {
            assert_eq!(story.on(290, RequestInput::Stop), None);
        }
        let pass = story.writes_after_reading(300);
        assert_eq!(story.land(&pass, 310), refused(PASSED_ON));
        let row = story.row.clone().unwrap();
        assert_eq!((story.owner(), row.checkpoint_owner), (Some("third"), None));
    }
}

#[test]
fn lease_with_a_withdrawn_request_is_kept() {
    let mut story = Story::waiting();
    story.complete();
    let (counter, victim) = (story.counter(), WorkerId::from("me"));
    story.other("third", WriteKind::BeginHandover { counter, victim: victim.clone() });
    let pass = story.writes_after_reading(300);
    story.other("third", WriteKind::Withdraw { counter, victim });
    assert_eq!(story.land(&pass, 310), Some(RequestEffect::Read));
    assert!(matches!(story.read(320), Some(RequestEffect::Ended(RequestEnd::Arrived(_)))));
}

#[test]
fn stop_before_the_begin_leaves_no_trace() {
    let mut story = Story::begin();
    assert_eq!(story.on(0, RequestInput::Stop), None);
    let before = story.row.clone();
    assert_eq!(story.read(10), ended(RequestEnd::Withdrawn));
    assert_eq!(story.row, before);
}

#[test]
fn stop_while_waiting_withdraws() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, RequestInput::Stop), None);
    assert_eq!(story.on(260, RequestInput::Tick), Some(RequestEffect::Read));
    let withdrawal = story.writes_after_reading(270);
    let (counter, victim) = (LeaseCounter(1), "owner".into());
    assert_eq!(withdrawal.kind, WriteKind::Withdraw { counter, victim });
    assert_eq!(story.land(&withdrawal, 280), ended(RequestEnd::Withdrawn));
    assert_eq!(story.owner(), Some("owner"));
    assert_eq!(story.row.as_ref().unwrap().checkpoint_owner, None);
}

#[test]
fn stop_during_the_begin_reads_and_withdraws() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    assert_eq!(story.on(5, RequestInput::Stop), None);
    assert_eq!(story.land(&begin, 10), Some(RequestEffect::Read));
    let withdrawal = story.writes_after_reading(20);
    assert_eq!(story.land(&withdrawal, 30), ended(RequestEnd::Withdrawn));
    assert_eq!(story.owner(), Some("owner"));
}

#[test]
fn stop_after_arrival_releases() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, RequestInput::Stop), None);
    story.complete();
    let release = story.writes_after_reading(270);
    let counter = story.counter();
    assert_eq!(release.kind, WriteKind::Release { counter, progress: None, unmark: None });
    assert_eq!(story.land(&release, 280), ended(RequestEnd::Withdrawn));
    assert_eq!(story.owner(), None);
}

#[test]
fn withdrawal_that_meets_a_renewal_is_renewed() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, RequestInput::Stop), None);
    let late = story.writes_after_reading(270);
    story.renew(Some("me"));
    assert_eq!(story.land(&late, 280), Some(RequestEffect::Read));
    let withdrawal = story.writes_after_reading(290);
    assert_ne!(withdrawal.number, late.number);
    assert_eq!(story.land(&withdrawal, 300), ended(RequestEnd::Withdrawn));
    assert_eq!(story.owner(), Some("owner"));
}

#[test]
fn withdrawal_that_meets_the_handover_releases() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, RequestInput::Stop), None);
    let late = story.writes_after_reading(270);
    story.complete();
    assert_eq!(story.land(&late, 280), Some(RequestEffect::Read));
    let release = story.writes_after_reading(290);
    assert_eq!(story.land(&release, 300), ended(RequestEnd::Withdrawn));
    assert_eq!(story.owner(), None);
}

#[test]
fn withdrawal_with_a_lost_answer_is_settled_by_a_read() {
    let mut story = Story::waiting();
    assert_eq!(story.on(100, RequestInput::Stop), None);
    let withdrawal = story.writes_after_reading(270);
    drop(story.apply(&withdrawal));
    assert_eq!(story.on(280, RequestInput::Unanswered), None);
    let again = story.on(530, RequestInput::Tick);
    assert_eq!(again, Some(RequestEffect::Write(Box::new(withdrawal.clone()))));
    assert_eq!(story.land(&withdrawal, 540), Some(RequestEffect::Read));
    assert_eq!(story.read(550), ended(RequestEnd::Withdrawn));
}

#[test]
fn stop_before_the_first_read_leaves_no_trace() {
    let mut story = Story::begin();
    assert_eq!(story.on(10, RequestInput::Unread), None);
    assert_eq!(story.on(20, RequestInput::Stop), None);
    assert_eq!(story.on(260, RequestInput::Tick), Some(RequestEffect::Read));
    let withdrawn = Some(RequestEffect::Ended(RequestEnd::Withdrawn));
    assert_eq!(story.on(270, RequestInput::Unread), withdrawn);
}

#[test]
fn stop_of_a_sent_request_waits_for_a_read() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    story.renew(None);
    assert_eq!(story.land(&begin, 10), Some(RequestEffect::Read));
    assert_eq!(story.on(20, RequestInput::Stop), None);
    assert_eq!(story.on(30, RequestInput::Unread), None);
    assert_eq!(story.on(280, RequestInput::Tick), Some(RequestEffect::Read));
    assert_eq!(story.read(290), Some(RequestEffect::Ended(RequestEnd::Withdrawn)));
}

fn rest(millis: u64) -> RequestInput {
    RequestInput::Rest { until: Moment::at_millis(millis) }
}

#[test]
fn request_rests_before_it_begins() {
    let mut story = Story::begin();
    assert_eq!(story.on(0, rest(2_000)), None);
    assert_eq!(story.read(10), None);
    assert_eq!(story.request.wake_at(), Moment::at_millis(2_000));
    story.renew(None);
    assert_eq!(story.on(2_000, RequestInput::Tick), Some(RequestEffect::Read));
    let begin = story.writes_after_reading(2_010);
    assert_eq!(story.land(&begin, 2_020), Some(RequestEffect::Begun));
}

#[test]
fn throttled_begin_is_made_anew_from_a_newer_row() {
    let mut story = Story::begin();
    for round in 0..10 {
        let begin = story.writes_after_reading(round * 1_000);
        let throttled_at = round * 1_000 + 10;
        assert_eq!(story.on(throttled_at, RequestInput::Throttled), None);
        assert_eq!(story.on(throttled_at, rest(round * 1_000 + 900)), None);
        assert_eq!(story.request.wake_at(), Moment::at_millis(round * 1_000 + 900));
        story.renew(None);
        assert_eq!(story.on(round * 1_000 + 900, RequestInput::Tick), Some(RequestEffect::Read));
        assert!(matches!(story.apply(&begin), Conditional::Lost { .. }));
    }
    let begin = story.writes_after_reading(20_000);
    assert_eq!(story.land(&begin, 20_010), Some(RequestEffect::Begun));
}

#[test]
fn begin_that_may_be_made_is_resent_unchanged_after_it_was_throttled() {
    let mut story = Story::begin();
    let begin = story.writes_after_reading(0);
    assert_eq!(story.on(10, RequestInput::Unanswered), None);
    let again = Some(RequestEffect::Write(Box::new(begin)));
    assert_eq!(story.on(260, RequestInput::Tick), again);
    assert_eq!(story.on(270, RequestInput::Throttled), None);
    assert_eq!(story.on(520, RequestInput::Tick), again);
}

#[test]
fn waiting_request_reads_more_rarely_while_moves_rest() {
    let mut story = Story::waiting();
    assert_eq!(story.on(10, rest(5_000)), None);
    assert_eq!(story.request.wake_at(), Moment::at_millis(1_010));
    assert_eq!(story.on(1_010, RequestInput::Tick), Some(RequestEffect::Read));
    story.complete();
    let arrived = RequestEnd::Arrived(Box::new(story.row.clone().unwrap()));
    assert_eq!(story.read(1_020), ended(arrived));
}

#[test]
fn stopping_request_does_not_rest() {
    let mut story = Story::waiting();
    assert_eq!(story.on(10, rest(5_000)), None);
    assert_eq!(story.on(20, RequestInput::Stop), None);
    assert_eq!(story.request.wake_at(), Moment::at_millis(260));
    let mut story = Story::begin();
    assert_eq!(story.on(0, rest(5_000)), None);
    assert_eq!(story.read(10), None);
    assert_eq!(story.on(20, RequestInput::Stop), None);
    assert_eq!(story.request.wake_at(), Moment::at_millis(260));
    assert_eq!(story.on(260, RequestInput::Tick), Some(RequestEffect::Read));
    assert_eq!(story.read(270), ended(RequestEnd::Withdrawn));
}
