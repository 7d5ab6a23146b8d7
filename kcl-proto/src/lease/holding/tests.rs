//! Stories of one held lease: inputs, and the exact effects that they must have.

use std::time::Duration;

use super::*;
use crate::consumer::progress::Done;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{
    Checkpoint, ChildShard, Conditional, HashKeyRange, Lease, LeaseCounter, LeaseEnd, Moment,
    NewLease, WorkerId, WriteStamp,
};

#[path = "pace_tests.rs"]
mod pace;

pub(super) const TIMES: HoldingTimes = HoldingTimes {
    expiry: Duration::from_secs(10),
    renew_first: Duration::from_secs(3),
    renew_every: Duration::from_secs(3),
    throttled: Duration::from_secs(1),
    handover: Duration::from_secs(30),
    store_every: None,
    row_every: None,
};

/// A lease that "me" took at 0 s, and the row as the table has it.
struct Story {
    holding: Holding,
    row: Option<Lease>,
}

impl Story {
    fn begin() -> Self {
        let mut numbers = WriteNumbers::of_lane(7);
        let mut row = None;
        for kind in
            [WriteKind::Create(NewLease::sample()), WriteKind::sample_take(LeaseCounter(0), 1)]
        {
            let write = by("me", numbers.draw(), kind);
            row = write.apply(row.as_ref()).unwrap();
        }
        let lease = row.clone().unwrap();
        Self {
            holding: Holding::new(
                "me".into(),
                TIMES,
                WriteNumbers::of_lane(8),
                Taken { row: lease, sent: Moment::at_millis(0) },
            ),
            row,
        }
    }

    /// Feeds an input; returns the effects.
    fn on(&mut self, millis: u64, input: HoldingInput) -> Vec<HoldingEffect> {
        self.holding.on(input, Moment::at_millis(millis))
    }

    /// Feeds an input that must cause exactly one write, and returns it.
    #[track_caller]
    fn writes(&mut self, millis: u64, input: HoldingInput) -> LeaseWrite {
        let effects = self.on(millis, input);
        let mut writes: Vec<_> = effects
            .iter()
            .filter_map(|effect| {
                if let HoldingEffect::Write(write) = effect { Some(write.clone()) } else { None }
            })
            .collect();
        assert_eq!(writes.len(), 1, "{effects:?}");
        writes.remove(0)
    }

    /// Applies a write to the row. Returns the store's answer.
    fn land(&mut self, write: &LeaseWrite) -> Conditional {
        let applied = write.apply(self.row.as_ref());
        let outcome = Conditional::of(self.row.clone(), applied.clone()).unwrap();
        if let Some(row) = applied {
            self.row = row;
        }
        outcome
    }

    /// Applies a write and feeds the answer.
    fn answer(&mut self, millis: u64, write: &LeaseWrite) -> Vec<HoldingEffect> {
        let outcome = self.land(write);
        self.on(millis, HoldingInput::Answered(outcome))
    }

    /// Another worker writes to the row.
    #[track_caller]
    fn other(&mut self, kind: WriteKind) {
        self.another("other", kind);
    }

    #[track_caller]
    fn another(&mut self, worker: &str, kind: WriteKind) {
        let outcome = self.land(&by(worker, 1, kind));
        assert!(matches!(outcome, Conditional::Applied(_)), "{outcome:?}");
    }

    /// The request of "other" is withdrawn, and "third" asks before the holder looks.
    #[track_caller]
    fn asked_by_a_third(&mut self) {
        let (counter, victim) = (self.counter(), WorkerId::new("me"));
        self.other(WriteKind::Withdraw { counter, victim: victim.clone() });
        let counter = self.counter();
        self.another("third", WriteKind::BeginHandover { counter, victim });
    }

    fn counter(&self) -> LeaseCounter {
        self.row.as_ref().unwrap().counter
    }

    /// Somebody asks for the lease, and the holder learns of it from its next renewal.
    #[track_caller]
    fn asked(&mut self) -> LeaseWrite {
        let (counter, victim) = (self.counter(), "me".into());
        self.other(WriteKind::BeginHandover { counter, victim });
        let renewal = self.writes(3_000, HoldingInput::Tick);
        let outcome = self.land(&renewal);
        self.writes(3_010, HoldingInput::Answered(outcome))
    }
}

fn by(worker: &str, number: u64, kind: WriteKind) -> LeaseWrite {
    LeaseWrite { key: Lease::sample().key, worker: worker.into(), number, kind }
}

fn ended(effects: &[HoldingEffect]) -> Option<LeaseEnd> {
    effects.iter().find_map(
        |effect| {
            if let HoldingEffect::Ended(how) = effect { Some(*how) } else { None }
        },
    )
}

#[test]
fn renewal_extends_the_deadline_from_its_sending() {
    let mut story = Story::begin();
    assert_eq!(story.holding.wake_at(), Moment::at_millis(3_000));
    let renewal = story.writes(3_000, HoldingInput::Tick);
    let effects = story.answer(4_500, &renewal);
    assert_eq!(effects[0], HoldingEffect::Deadline(Moment::at_millis(12_000)));
    assert_eq!(story.holding.wake_at(), Moment::at_millis(6_000));
}

#[test]
fn unrenewed_lease_ends_at_nine_tenths_of_expiry() {
    let mut story = Story::begin();
    drop(story.writes(3_000, HoldingInput::Tick));
    assert_eq!(ended(&story.on(8_999, HoldingInput::Tick)), None);
    assert_eq!(
        story.on(9_000, HoldingInput::Tick),
        [HoldingEffect::Cancel, HoldingEffect::Ended(LeaseEnd::Expired)]
    );
}

#[test]
fn answer_after_its_own_deadline_is_ignored() {
    let mut story = Story::begin();
    let renewal = story.writes(3_000, HoldingInput::Tick);
    let effects = story.answer(12_001, &renewal);
    assert_eq!(ended(&effects), Some(LeaseEnd::Expired));
}

#[test]
fn unknown_outcome_is_resent_unchanged() {
    let mut story = Story::begin();
    let renewal = story.writes(3_000, HoldingInput::Tick);
    drop(story.land(&renewal)); // It landed; the answer is lost.
    assert_eq!(story.on(4_000, HoldingInput::Unanswered), []);
    let again = story.writes(4_100, HoldingInput::Tick);
    assert_eq!(again, renewal);
    let effects = story.answer(4_200, &again);
    assert_eq!(effects[0], HoldingEffect::Deadline(Moment::at_millis(12_000)));
    assert_eq!(ended(&effects), None);
}

#[test]
fn row_with_another_stamp_is_not_ours() {
    let mut story = Story::begin();
    let renewal = story.writes(3_000, HoldingInput::Tick);
    let mut row = story.row.clone().unwrap();
    row.counter = row.counter.next().next().next();
    row.last_write = Some(WriteStamp { counter: row.counter, worker: "me".into(), number: 1 });
    let effects = story.on(3_100, HoldingInput::Answered(Conditional::Lost { found: Some(row) }));
    assert_eq!(ended(&effects), Some(LeaseEnd::Lost));
    drop(renewal);
}

#[test]
fn progress_waits_for_a_renewal_but_a_checkpoint_not() {
    let mut story = Story::begin();
    let done = Done { checkpoint: Some(Checkpoint::after(5)), ..Done::default() };
    assert_eq!(story.on(100, HoldingInput::Progress(done)), []);
    let write = story.writes(200, HoldingInput::Checkpoint(Checkpoint::after(3)));
    let WriteKind::Renew { progress: Some(progress), .. } = &write.kind else {
        panic!("{write:?}")
    };
    assert_eq!(progress.checkpoint, Some(Checkpoint::after(5)), "all that is done goes along");
    let effects = story.answer(210, &write);
    assert_eq!(effects[1], HoldingEffect::Stored(Checkpoint::after(5)));
}

#[test]
fn checkpoint_before_the_stored_one_is_refused() {
    let mut story = Story::begin();
    let write = story.writes(100, HoldingInput::Checkpoint(Checkpoint::after(5)));
    story.answer(110, &write);
    let effects = story.on(200, HoldingInput::Checkpoint(Checkpoint::after(4)));
    assert_eq!(effects, [HoldingEffect::Refused(Checkpoint::after(4))]);
    let effects = story.on(200, HoldingInput::Checkpoint(Checkpoint::after(5)));
    assert_eq!(effects, [HoldingEffect::Stored(Checkpoint::after(5))]);
}

#[test]
fn taken_lease_is_lost() {
    let mut story = Story::begin();
    let counter = story.counter();
    story.other(WriteKind::sample_take(counter, 2));
    let renewal = story.writes(3_000, HoldingInput::Tick);
    let effects = story.answer(3_010, &renewal);
    assert_eq!(effects, [HoldingEffect::Cancel, HoldingEffect::Ended(LeaseEnd::Lost)]);
}

#[test]
fn asked_owner_drains_and_renews_until_handover() {
    let mut story = Story::begin();
    let renewal = story.asked();
    let next = Some(WorkerId::new("other"));
    assert!(matches!(&renewal.kind, WriteKind::Renew { next: asked, .. } if *asked == next));
    story.answer(3_020, &renewal);
    let done = Done { checkpoint: Some(Checkpoint::after(9)), ..Done::default() };
    story.on(3_100, HoldingInput::Progress(done));
    let complete = story.writes(3_200, HoldingInput::Drained);
    assert!(matches!(complete.kind, WriteKind::CompleteHandover { .. }));
    let effects = story.answer(3_210, &complete);
    assert_eq!(ended(&effects), Some(LeaseEnd::HandedOver));
    let row = story.row.unwrap();
    assert_eq!(
        (row.owner, row.checkpoint_owner, row.checkpoint),
        (next, None, Checkpoint::after(9))
    );
}

#[test]
fn renewal_amid_handover_stores_progress() {
    let mut story = Story::begin();
    let renewal = story.asked();
    story.answer(3_020, &renewal);
    let done = Done { checkpoint: Some(Checkpoint::after(9)), ..Done::default() };
    story.on(3_100, HoldingInput::Progress(done));
    let renewal = story.writes(6_100, HoldingInput::Tick);
    story.answer(6_110, &renewal);
    assert_eq!(story.row.unwrap().checkpoint, Checkpoint::after(9));
}

#[test]
fn handover_to_a_silent_worker_is_cancelled() {
    let mut story = Story::begin();
    let mut renewal = story.asked();
    for second in 1..=5 {
        story.answer(3_000 * second + 20, &renewal);
        if second < 5 {
            renewal = story.writes(3_000 * (second + 1) + 20, HoldingInput::Tick);
        }
    }
    let cancel = story.writes(15_200, HoldingInput::Drained);
    assert!(matches!(cancel.kind, WriteKind::CancelHandover { .. }), "{cancel:?}");
    let effects = story.answer(15_210, &cancel);
    assert_eq!(ended(&effects), Some(LeaseEnd::Kept));
    assert_eq!(story.row.unwrap().owner, Some("me".into()));
}

#[test]
fn withdrawn_handover_keeps_the_lease() {
    let mut story = Story::begin();
    let renewal = story.asked();
    story.answer(3_020, &renewal);
    let (counter, victim) = (story.counter(), "me".into());
    story.other(WriteKind::Withdraw { counter, victim });
    let row = story.row.clone();
    let effects = story.on(3_300, HoldingInput::Read(row));
    assert_eq!(effects, [HoldingEffect::HandoverEnded("it was withdrawn")]);
    assert_eq!(ended(&story.on(3_400, HoldingInput::Drained)), Some(LeaseEnd::Kept));
}

#[test]
fn unnoticed_requests_change_nothing() {
    let mut story = Story::begin();
    for who in ["other", "third", "fourth"] {
        let (counter, victim) = (story.counter(), WorkerId::new("me"));
        story.another(who, WriteKind::BeginHandover { counter, victim: victim.clone() });
        story.another(who, WriteKind::Withdraw { counter, victim });
    }
    let renewal = story.writes(3_000, HoldingInput::Tick);
    let outcome = story.land(&renewal);
    let renewal = story.writes(3_010, HoldingInput::Answered(outcome));
    assert!(matches!(renewal.kind, WriteKind::Renew { next: None, .. }), "{renewal:?}");
    assert_eq!(ended(&story.answer(3_020, &renewal)), None);
    assert_eq!(story.holding.deadline(), Moment::at_millis(3_010 + 9_000));
}

#[test]
fn request_after_a_withdrawn_one_is_served() {
    let mut story = Story::begin();
    let renewal = story.asked();
    story.answer(3_020, &renewal);
    story.asked_by_a_third();
    let row = story.row.clone();
    assert_eq!(
        story.on(3_300, HoldingInput::Read(row)),
        [
            HoldingEffect::HandoverEnded("it was withdrawn"),
            HoldingEffect::HandoverRequested("third".into())
        ]
    );
    let complete = story.writes(3_400, HoldingInput::Drained);
    assert_eq!(ended(&story.answer(3_410, &complete)), Some(LeaseEnd::HandedOver));
    assert_eq!(story.row.unwrap().owner, Some("third".into()));
}

#[test]
fn answer_to_an_applied_renewal_carries_a_request() {
    let mut story = Story::begin();
    let renewal = story.asked();
    drop(story.land(&renewal)); // The answer is lost.
    story.asked_by_a_third();
    let (counter, victim) = (story.counter(), WorkerId::new("me"));
    story.another("third", WriteKind::Withdraw { counter, victim: victim.clone() });
    let counter = story.counter();
    story.another("fourth", WriteKind::BeginHandover { counter, victim });
    story.on(3_100, HoldingInput::Unanswered);
    let again = story.writes(3_200, HoldingInput::Tick);
    let outcome = story.land(&again);
    let renewal = story.writes(3_210, HoldingInput::Answered(outcome));
    let next = Some(WorkerId::new("fourth"));
    assert!(matches!(&renewal.kind, WriteKind::Renew { next: asked, .. } if *asked == next));
    assert_eq!(ended(&story.answer(3_220, &renewal)), None);
}

#[test]
fn release_that_meets_a_request_completes_it() {
    let mut story = Story::begin();
    let effects = story.on(100, HoldingInput::Stop { until: Moment::at_millis(20_000) });
    assert_eq!(effects, [HoldingEffect::Drain { until: Moment::at_millis(20_000) }]);
    let (counter, victim) = (story.counter(), "me".into());
    story.other(WriteKind::BeginHandover { counter, victim });
    let release = story.writes(200, HoldingInput::Drained);
    assert!(matches!(release.kind, WriteKind::Release { .. }));
    let outcome = story.land(&release);
    let complete = story.writes(210, HoldingInput::Answered(outcome));
    assert!(matches!(complete.kind, WriteKind::CompleteHandover { .. }));
}

#[test]
fn release_stores_progress() {
    let mut story = Story::begin();
    let done = Done { checkpoint: Some(Checkpoint::after(9)), ..Done::default() };
    story.on(100, HoldingInput::Progress(done));
    story.on(200, HoldingInput::Stop { until: Moment::at_millis(5_000) });
    let release = story.writes(300, HoldingInput::Drained);
    let effects = story.answer(310, &release);
    assert_eq!(ended(&effects), Some(LeaseEnd::Released));
    assert_eq!(story.row.unwrap().checkpoint, Checkpoint::after(9));
}

#[test]
fn shard_ends_after_its_children_have_leases() {
    let mut story = Story::begin();
    let child = |n: u8, start, end| ChildShard {
        id: format!("shardId-{n}").into(),
        parents: vec!["shardId-0".into()],
        hash_range: HashKeyRange { start, end },
    };
    let children = vec![child(1, 0, 9), child(2, 10, u128::MAX)];
    let effects = story.on(100, HoldingInput::ShardEnded(children.clone()));
    assert_eq!(effects, [HoldingEffect::CreateChildren(children)]);
    let renewal = story.writes(3_000, HoldingInput::Tick);
    assert!(matches!(renewal.kind, WriteKind::Renew { .. }), "held while they are created");
    story.answer(3_010, &renewal);
    let end = story.writes(3_100, HoldingInput::ChildrenCreated);
    let effects = story.answer(3_110, &end);
    assert_eq!(ended(&effects), Some(LeaseEnd::ShardEnded));
    let row = story.row.unwrap();
    assert_eq!((row.checkpoint, row.children.len()), (Checkpoint::ShardEnd, 2));
}

#[test]
fn hung_consumer_is_cancelled_and_released() {
    let mut story = Story::begin();
    story.on(100, HoldingInput::Stop { until: Moment::at_millis(1_000) });
    assert_eq!(story.holding.wake_at(), Moment::at_millis(1_500));
    let effects = story.on(1_500, HoldingInput::Tick);
    assert_eq!(effects[0], HoldingEffect::Cancel);
    assert!(
        matches!(&effects[1], HoldingEffect::Write(write) if matches!(write.kind, WriteKind::Release { .. }))
    );
}

#[test]
fn outdated_read_is_ignored() {
    let mut story = Story::begin();
    let old = story.row.clone();
    let renewal = story.writes(3_000, HoldingInput::Tick);
    story.answer(3_010, &renewal);
    assert_eq!(story.on(3_020, HoldingInput::Read(old)), []);
}

#[test]
fn consumer_that_ended_its_shard_does_not_release() {
    let mut story = Story::begin();
    story.on(100, HoldingInput::ShardEnded(Vec::new()));
    assert_eq!(story.on(110, HoldingInput::ConsumerFailed), []);
    let end = story.writes(120, HoldingInput::ChildrenCreated);
    assert!(matches!(end.kind, WriteKind::EndShard { .. }), "{end:?}");
}

#[test]
fn request_in_an_answer_is_served_once_read() {
    let mut story = Story::begin();
    let renewal = story.writes(3_000, HoldingInput::Tick);
    drop(story.land(&renewal)); // The answer is lost.
    story.on(3_010, HoldingInput::Unanswered);
    let (counter, victim) = (story.counter(), "me".into());
    story.other(WriteKind::BeginHandover { counter, victim });
    let again = story.writes(3_110, HoldingInput::Tick);
    story.answer(3_120, &again);
    let row = story.row.clone();
    let effects = story.on(3_130, HoldingInput::Read(row));
    assert_eq!(effects[0], HoldingEffect::HandoverRequested("other".into()));
    assert!(matches!(effects[1], HoldingEffect::Drain { .. }), "{effects:?}");
}

/// A lease whose shard ended at 0.1 s, and whose children's leases cannot be created.
fn ending() -> Story {
    let mut story = Story::begin();
    story.on(100, HoldingInput::ShardEnded(Vec::new()));
    story
}

#[test]
fn stop_waits_for_children_until_the_drain_ends() {
    let mut story = ending();
    assert_eq!(story.on(200, HoldingInput::Stop { until: Moment::at_millis(1_000) }), []);
    assert_eq!(story.holding.wake_at(), Moment::at_millis(1_500));
    let release = story.writes(1_500, HoldingInput::Tick);
    assert!(matches!(release.kind, WriteKind::Release { .. }), "{release:?}");
    assert_eq!(story.on(1_505, HoldingInput::ChildrenCreated), [], "too late");
    assert_eq!(ended(&story.answer(1_510, &release)), Some(LeaseEnd::Released));
    assert!(!story.row.unwrap().is_ended(), "the next holder ends the shard");
}

#[test]
fn shard_end_amid_drain_waits_no_longer_than_drain() {
    let mut story = Story::begin();
    story.on(50, HoldingInput::Stop { until: Moment::at_millis(1_000) });
    story.on(100, HoldingInput::ShardEnded(Vec::new()));
    let release = story.writes(1_500, HoldingInput::Tick);
    assert!(matches!(release.kind, WriteKind::Release { .. }), "{release:?}");
}

#[test]
fn handover_waits_for_children_until_its_deadline() {
    let mut story = ending();
    let mut write = story.asked();
    let mut second = 3;
    while matches!(write.kind, WriteKind::Renew { .. }) {
        story.answer(1_000 * second + 20, &write);
        story.on(
            1_000 * second + 20,
            HoldingInput::NextOwnerMoved(Some(Moment::at_millis(1_000 * second))),
        );
        second += 3;
        assert!(second <= 40, "it never ends");
        let now = story.holding.wake_at().max(Moment::at_millis(1_000 * second + 20));
        write = story.writes(
            u64::try_from(now.since(Moment::at_millis(0)).as_millis()).unwrap(),
            HoldingInput::Tick,
        );
    }
    assert!(matches!(write.kind, WriteKind::CompleteHandover { .. }), "{write:?}");
}
