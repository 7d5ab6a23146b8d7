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
    assert_eq!(story.on(3_400, HoldingInput::Throttled), []);
    assert_eq!(story.holding.wake_at(), Moment::at_millis(4_100));
    assert_eq!(story.on(4_099, HoldingInput::Tick), []);
    assert_eq!(story.writes(4_100, HoldingInput::Tick), renewal);
    let effects = story.answer(4_120, &renewal);
    assert_eq!(effects[0], HoldingEffect::Deadline(Moment::at_millis(12_000)));
}

#[test]
fn throttled_write_is_sent_more_often_before_the_deadline() {
    let mut story = Story::begin();
    let renewal = story.writes(3_000, HoldingInput::Tick);
    let mut pauses = Vec::new();
    let mut now = 3_000;
    while now < 9_000 {
        assert_eq!(story.on(now, HoldingInput::Throttled), []);
        let pause = story.holding.wake_at().since(Moment::at_millis(now));
        now += u64::try_from(pause.as_micros().div_ceil(1_000)).unwrap();
        pauses.push(pause);
        if now < 9_000 {
            assert_eq!(story.writes(now, HoldingInput::Tick), renewal);
        }
    }
    assert!(pauses.len() > 20 && pauses.is_sorted_by(|one, next| one >= next), "{pauses:?}");
    assert_eq!(pauses[0], Duration::from_millis(750));
    assert!(pauses.contains(&Duration::from_millis(100)), "{pauses:?}");
}
