//! Stories of one held lease with prepared checkpoints, and with progress that is stored early.

use std::time::Duration;

use super::*;
use crate::consumer::progress::Done;
use crate::lease::write::LeaseWrite;
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{Checkpoint, Conditional, Lease, LeaseCounter, Moment, PendingCheckpoint};

const TIMES: HoldingTimes = HoldingTimes {
    expiry: Duration::from_secs(10),
    renew_first: Duration::from_secs(3),
    renew_every: Duration::from_secs(3),
    throttled: Duration::from_secs(1),
    handover: Duration::from_secs(30),
    store_every: None,
    row_every: None,
};

fn pending(number: u128) -> PendingCheckpoint {
    PendingCheckpoint {
        checkpoint: Checkpoint::after(number),
        state: Some(format!("to {number}").into()),
    }
}

/// A lease that "me" took at 0 s with a checkpoint after 5, and a table that answers at once.
struct Story {
    holding: Holding,
    row: Lease,
    writes: usize,
}

impl Story {
    fn begin(inherited: Option<PendingCheckpoint>, times: HoldingTimes) -> Self {
        let row = Lease {
            owner: Some("me".into()),
            counter: LeaseCounter(1),
            checkpoint: Checkpoint::after(5),
            pending: inherited,
            ..Lease::sample()
        }
        .written_by("me");
        let (numbers, sent) = (WriteNumbers::of_lane(8), Moment::default());
        let holding = Holding::new("me".into(), times, numbers, Taken { row: row.clone(), sent });
        Self { holding, row, writes: 0 }
    }

    /// Feeds an input, and answers each write that follows. Returns the other effects.
    fn on(&mut self, millis: u64, input: HoldingInput) -> Vec<HoldingEffect> {
        let now = Moment::at_millis(millis);
        let (mut inputs, mut effects) = (vec![input], Vec::new());
        while let Some(input) = inputs.pop() {
            for effect in self.holding.on(input, now) {
                if let HoldingEffect::Write(write) = effect {
                    inputs.push(self.land(&write));
                } else {
                    effects.push(effect);
                }
            }
        }
        effects
    }

    fn land(&mut self, write: &LeaseWrite) -> HoldingInput {
        self.row = write.apply(Some(&self.row)).unwrap().unwrap();
        self.writes += 1;
        HoldingInput::Answered(Conditional::Applied(self.row.clone()))
    }

    fn done(&mut self, millis: u64, number: u128, records: u64) {
        let done =
            Done { checkpoint: Some(Checkpoint::after(number)), records, caught_up_at: None };
        self.on(millis, HoldingInput::Progress(done));
    }

    #[track_caller]
    fn check(&self, checkpoint: u128, prepared: Option<u128>) {
        let expected = (Checkpoint::after(checkpoint), prepared.map(pending));
        assert_eq!((self.row.checkpoint, self.row.pending.clone()), expected);
    }
}

#[test]
fn prepared_checkpoint_is_written_at_once() {
    let mut story = Story::begin(None, TIMES);
    let effects = story.on(100, HoldingInput::Prepare(pending(9)));
    assert!(effects.contains(&HoldingEffect::Prepared));
    story.check(5, Some(9));
    assert_eq!(story.row.counter, LeaseCounter(2), "it counts as a renewal");
    assert_eq!(story.on(200, HoldingInput::Prepare(pending(9))), [HoldingEffect::Prepared]);
    assert_eq!(story.writes, 1, "no further write");
    story.on(300, HoldingInput::Prepare(pending(7)));
    story.check(5, Some(7));
}

#[test]
fn checkpoint_settles_earlier_prepared_ones() {
    let mut story = Story::begin(None, TIMES);
    story.on(100, HoldingInput::Prepare(pending(9)));
    story.on(200, HoldingInput::Checkpoint(Checkpoint::after(7)));
    story.check(7, Some(9));
    story.done(300, 8, 3);
    story.on(3_400, HoldingInput::Tick);
    story.check(8, Some(9));
    let effects = story.on(3_500, HoldingInput::Checkpoint(Checkpoint::after(9)));
    assert!(effects.contains(&HoldingEffect::Stored(Checkpoint::after(9))));
    story.check(9, None);
    assert_eq!(story.on(3_600, HoldingInput::Prepare(pending(9))), [HoldingEffect::Prepared]);
    story.check(9, None);
}

#[test]
fn inherited_prepared_checkpoint_lasts_until_a_write() {
    let mut story = Story::begin(Some(pending(9)), TIMES);
    story.on(3_000, HoldingInput::Tick);
    story.check(5, Some(9));
    story.done(3_100, 6, 1);
    story.on(6_100, HoldingInput::Tick);
    story.check(6, None);
    let mut story = Story::begin(Some(pending(9)), TIMES);
    story.on(100, HoldingInput::Prepare(pending(12)));
    story.check(5, Some(12));
}

#[test]
fn request_during_a_write_is_prepared_after_it() {
    let mut story = Story::begin(None, TIMES);
    let first = story.holding.on(HoldingInput::Prepare(pending(9)), Moment::at_millis(100));
    let [HoldingEffect::Write(first)] = &first[..] else { unreachable!("{first:?}") };
    assert_eq!(story.holding.on(HoldingInput::Prepare(pending(8)), Moment::at_millis(110)), []);
    let answer = story.land(first);
    let effects = story.on(120, answer);
    assert_eq!(effects.iter().filter(|effect| **effect == HoldingEffect::Prepared).count(), 1);
    story.check(5, Some(8));
}

#[test]
fn earlier_prepared_checkpoint_answers_no_later_one() {
    for (asked, settled) in [(7, false), (5, true)] {
        let mut story = Story::begin(None, TIMES);
        story.on(100, HoldingInput::Prepare(pending(7)));
        let sent = story.holding.on(HoldingInput::Prepare(pending(9)), Moment::at_millis(200));
        let [HoldingEffect::Write(sent)] = &sent[..] else { unreachable!("{sent:?}") };
        assert_eq!(
            story.holding.on(HoldingInput::Prepare(pending(asked)), Moment::at_millis(210)),
            []
        );
        let answer = story.land(sent);
        let effects = story.on(220, answer);
        assert_eq!(effects.iter().filter(|effect| **effect == HoldingEffect::Prepared).count(), 1);
        story.check(5, Some(if settled { 9 } else { asked }));
    }
}

#[test]
fn progress_is_stored_by_count_or_time() {
    let every = StoreEvery { records: 10, time: Duration::from_millis(500) };
    let mut story = Story::begin(None, HoldingTimes { store_every: Some(every), ..TIMES });
    story.done(100, 6, 9);
    story.check(5, None);
    story.done(110, 7, 10);
    story.check(7, None);
    story.done(200, 8, 12);
    let wake_at = story.holding.wake_at();
    assert_eq!(wake_at, Moment::at_millis(700));
    story.on(699, HoldingInput::Tick);
    story.check(7, None);
    story.on(700, HoldingInput::Tick);
    story.check(8, None);
    story.on(1_500, HoldingInput::Tick);
    assert_eq!(story.writes, 2, "no new progress");
    story.done(1_600, 9, 22);
    assert_eq!(story.writes, 3);
}
