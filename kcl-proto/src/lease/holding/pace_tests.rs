//! When a holder renews, and when it sends a throttled write again.

use super::*;

#[test]
fn first_renewal_has_a_time_of_its_own() {
    let mut story = Story::begin();
    story.holding = Holding::new(
        "me".into(),
        HoldingTimes { renew_first: Duration::from_millis(700), ..TIMES },
        WriteNumbers::of_lane(8),
        Taken { row: story.row.clone().unwrap(), sent: Moment::at_millis(0) },
    );
    assert_eq!(story.holding.wake_at(), Moment::at_millis(700));
    let renewal = story.writes(700, HoldingInput::Tick);
    story.answer(720, &renewal);
    assert_eq!(story.holding.wake_at(), Moment::at_millis(3_700));
}

#[test]
fn throttled_write_is_sent_again_after_a_pause() {
    let mut story = Story::begin();
    let renewal = story.writes(3_000, HoldingInput::Tick);
    assert_eq!(story.on(3_010, HoldingInput::Throttled), []);
    assert_eq!(story.holding.wake_at(), Moment::at_millis(4_010));
    assert_eq!(story.on(4_009, HoldingInput::Tick), []);
    assert_eq!(story.writes(4_010, HoldingInput::Tick), renewal);
    let effects = story.answer(4_020, &renewal);
    assert_eq!(effects[0], HoldingEffect::Deadline(Moment::at_millis(12_000)));
}
