//! Faults on demand.

use std::time::Duration;

use kcl_local::{Fault, Strike, SubscriptionRules};

use crate::fixture::{Came, Fixture, ROOT, at, data, horizon, quick, status};

/// Returns a fixture whose subscriptions send heartbeats often.
async fn beating() -> Fixture {
    let heartbeat_every = Duration::from_millis(50);
    Fixture::new(SubscriptionRules { heartbeat_every, ..quick() }).await
}

/// Long enough for many heartbeats.
const LONG: Duration = Duration::from_secs(1);

#[tokio::test]
async fn running_subscriptions_fall_silent() {
    let fixture = beating().await;
    let mut subscription = fixture.read_all().await;
    subscription.event().await;
    assert_eq!(fixture.stack.strike(Strike::running(Fault::Silence).of_shard("another")), 0);
    subscription.event().await;
    assert_eq!(fixture.stack.strike(Strike::running(Fault::Silence)), 1);
    fixture.put("unheard").await;
    // What was under way may come.
    while let Came::Event(event) = subscription.within(LONG).await {
        assert!(event.records().is_empty());
    }
    assert_eq!(subscription.within(LONG).await, Came::Nothing);
    // The next one is whole.
    let mut next = fixture.read_all().await;
    assert_eq!(data(&next.event().await), ["unheard"]);
}

#[tokio::test]
async fn the_next_subscription_is_silent_from_the_start() {
    let fixture = beating().await;
    fixture.stack.strike(Strike::next(Fault::Silence).of_shard(ROOT));
    let mut subscription = fixture.read_all().await;
    assert_eq!(subscription.within(LONG).await, Came::Nothing);
}

#[tokio::test]
async fn a_stream_is_cut_at_any_byte() {
    let fixture = Fixture::new(quick()).await;
    fixture.put("cut").await;
    let mut whole = 0;
    for cut in 0.. {
        fixture.stack.strike(Strike::next(Fault::Cut(cut)));
        let mut subscription = fixture.read_all().await;
        match subscription.next().await {
            Came::Broken => {}
            Came::Event(event) => {
                assert_eq!(data(&event), ["cut"]);
                assert_eq!(subscription.next().await, Came::Broken);
                whole = cut;
                break;
            }
            came @ (Came::Unknown | Came::End | Came::Exception(_) | Came::Nothing) => {
                panic!("cut at {cut}: {came:?}")
            }
        }
    }
    // Head, check sums, headers and the record.
    assert!(whole > 300, "{whole}");
    let mut subscription = fixture.read_all().await;
    assert_eq!(data(&subscription.event().await), ["cut"]);
}

#[tokio::test]
async fn frames_are_broken() {
    let fixture = Fixture::new(quick()).await;
    for fault in [Fault::HalfFrame, Fault::WrongChecksum, Fault::WrongLength(3)] {
        let mut subscription = fixture.read_all().await;
        let position = subscription.event().await.continuation_sequence_number;
        fixture.stack.strike(Strike::running(fault.clone()));
        fixture.put("broken").await;
        let broken = subscription.next().await;
        // The SDK takes half a frame for the end.
        assert!(matches!(broken, Came::Broken | Came::End), "{fault:?}: {broken:?}");
        let mut next = fixture.subscribe(at(&position)).await.unwrap();
        assert_eq!(data(&next.event().await), ["broken"]);
    }
}

#[tokio::test]
async fn an_unknown_event_comes_before_the_others() {
    let fixture = Fixture::new(quick()).await;
    fixture.put("known").await;
    fixture.stack.strike(Strike::next(Fault::UnknownEvent));
    let mut subscription = fixture.read_all().await;
    assert_eq!(subscription.next().await, Came::Unknown);
    assert_eq!(data(&subscription.event().await), ["known"]);
}

#[tokio::test]
async fn a_stream_ends_with_an_exception_or_without() {
    let fixture = Fixture::new(quick()).await;
    let errors = [
        ("ResourceInUseException", "ResourceInUseException"),
        ("KMSThrottlingException", "KmsThrottlingException"),
        ("InternalFailureException", "InternalFailureException"),
    ];
    for (error, in_sdk) in errors {
        let mut subscription = fixture.read_all().await;
        subscription.event().await;
        fixture.stack.strike(Strike::running(Fault::Exception(error.to_owned())));
        assert_eq!(subscription.next().await, Came::Exception(in_sdk.to_owned()));
        assert_eq!(subscription.next().await, Came::End);
    }
    fixture.stack.strike(Strike::next(Fault::End));
    assert_eq!(fixture.read_all().await.next().await, Came::End);
}

#[tokio::test]
async fn calls_are_refused() {
    let fixture = Fixture::new(quick()).await;
    let error = "LimitExceededException";
    fixture.stack.strike(Strike::next(Fault::Refuse(error.to_owned())).times(2));
    assert_eq!(fixture.subscribe(horizon()).await.unwrap_err(), error);
    assert_eq!(fixture.subscribe(horizon()).await.unwrap_err(), error);
    fixture.read_all().await.event().await;
    let denied = "AccessDeniedException";
    fixture.stack.strike(Strike::call("DescribeStreamConsumer", denied).times(usize::MAX));
    for _ in 0..3 {
        assert_eq!(status(&fixture.client, &fixture.consumer).await, Err(denied.to_owned()));
    }
    // Other calls are not.
    fixture.read_all().await.event().await;
    fixture.stack.mend();
    status(&fixture.client, &fixture.consumer).await.unwrap();
}

#[tokio::test]
async fn a_call_gets_no_answer_or_no_event() {
    let fixture = Fixture::new(quick()).await;
    for fault in [Fault::NoAnswer, Fault::NoEvent] {
        fixture.stack.strike(Strike::next(fault));
        // The SDK reads the first frame within its call.
        let answer = tokio::time::timeout(LONG, fixture.subscribe(horizon())).await;
        assert!(answer.is_err(), "{answer:?}");
        fixture.read_all().await.event().await;
    }
}
