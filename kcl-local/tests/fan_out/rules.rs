//! Subscriptions by the service's rules.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition};
use kcl_local::SubscriptionRules;
use tokio::time::Instant;

use crate::fixture::{Came, Fixture, after, at, data, horizon, latest, quick};

#[tokio::test]
async fn records_come_at_once_and_in_order() {
    let fixture = Fixture::new(quick()).await;
    fixture.put("1").await;
    fixture.put("2").await;
    let mut subscription = fixture.read_all().await;
    assert_eq!(data(&subscription.event().await), ["1", "2"]);
    let start = Instant::now();
    fixture.put("3").await;
    assert_eq!(data(&subscription.event().await), ["3"]);
    // Long before a heartbeat.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_subscription_ends_after_its_lifetime_without_an_error() {
    let lifetime = Duration::from_millis(400);
    let fixture = Fixture::new(SubscriptionRules { lifetime, ..quick() }).await;
    let start = Instant::now();
    let mut subscription = fixture.read_all().await;
    let continuation = subscription.event().await.continuation_sequence_number;
    assert_eq!(subscription.next().await, Came::End);
    assert!(start.elapsed() >= lifetime);
    assert_eq!(fixture.running(), 0);
    // The next one starts at the continuation.
    fixture.put("later").await;
    let mut renewed = fixture.subscribe(at(&continuation)).await.unwrap();
    assert_eq!(data(&renewed.event().await), ["later"]);
}

#[tokio::test]
async fn heartbeats_move_the_continuation_and_skip_nothing() {
    let rules = SubscriptionRules { heartbeat_every: Duration::from_millis(600), ..quick() };
    let fixture = Fixture::new(rules).await;
    fixture.put("old").await;
    let mut subscription = fixture.subscribe(latest()).await.unwrap();
    let first = subscription.event().await;
    let start = Instant::now();
    let mut last = first.continuation_sequence_number;
    let mut moved = 0;
    for _ in 0..4 {
        let event = subscription.event().await;
        assert!(event.records().is_empty());
        assert_eq!(event.millis_behind_latest(), 0);
        assert!(event.continuation_sequence_number() >= last.as_str());
        moved += u32::from(event.continuation_sequence_number() > last.as_str());
        last = event.continuation_sequence_number;
    }
    // Positions have whole seconds, so that not every heartbeat moves.
    assert!(moved >= 2, "{moved}");
    let elapsed = start.elapsed();
    assert!(
        (Duration::from_millis(2300)..Duration::from_secs(20)).contains(&elapsed),
        "{elapsed:?}"
    );
    fixture.put("new").await;
    for position in [at(&last), after(&last)] {
        let mut subscription = fixture.subscribe(position).await.unwrap();
        assert_eq!(data(&subscription.event().await), ["new"]);
    }
}

#[tokio::test]
async fn calls_are_limited_for_each_shard() {
    let rules = SubscriptionRules { call_every: Duration::from_millis(500), ..quick() };
    let fixture = Fixture::new(rules).await;
    let start = Instant::now();
    let _running = fixture.read_all().await;
    let refused = fixture.subscribe(horizon()).await.unwrap_err();
    assert_eq!(refused, "LimitExceededException");
    while fixture.subscribe(horizon()).await.is_err() {}
    assert!(start.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_young_subscription_is_in_use_and_an_old_one_is_taken_over() {
    let rules = SubscriptionRules { taken_over_after: Duration::from_secs(1), ..quick() };
    let fixture = Fixture::new(rules).await;
    let start = Instant::now();
    let mut old = fixture.read_all().await;
    old.event().await;
    let refused = fixture.subscribe(horizon()).await.unwrap_err();
    assert_eq!(refused, "ResourceInUseException");
    let mut new = loop {
        match fixture.subscribe(horizon()).await {
            Ok(new) => break new,
            Err(error) => assert_eq!(error, "ResourceInUseException"),
        }
    };
    assert!(start.elapsed() >= Duration::from_secs(1));
    new.event().await;
    assert_eq!(old.next().await, Came::Exception("ResourceInUseException".to_owned()));
    assert_eq!(old.next().await, Came::End);
    assert_eq!(fixture.running(), 1);
}

#[tokio::test]
async fn a_subscription_that_ended_is_in_use_as_long() {
    let rules = SubscriptionRules { taken_over_after: Duration::from_mins(1), ..quick() };
    let fixture = Fixture::new(rules).await;
    drop(fixture.read_all().await);
    fixture.ended().await;
    let refused = fixture.subscribe(horizon()).await.unwrap_err();
    assert_eq!(refused, "ResourceInUseException");
}

#[tokio::test]
async fn events_have_a_size_and_say_how_far_they_are_behind() {
    let fixture = Fixture::new(SubscriptionRules { event_bytes_max: 250, ..quick() }).await;
    let (small, large) = ("s".repeat(99), "l".repeat(1000));
    for data in [&small, &small, &small, &large, &small] {
        fixture.put(data).await;
    }
    // Arrival times are whole seconds: a lag is at least what has passed of one.
    let mut subscription = fixture.read_all().await;
    let mut sizes = Vec::new();
    loop {
        let event = subscription.event().await;
        sizes.push((event.records().len(), event.millis_behind_latest() > 0));
        if event.millis_behind_latest() == 0 {
            break;
        }
    }
    // One record comes however large it is.
    assert_eq!(sizes, [(2, true), (1, true), (1, true), (1, false)]);
}

#[tokio::test]
async fn the_end_of_a_shard_comes_again() {
    let fixture = Fixture::new(quick()).await;
    fixture.put("last").await;
    let mut subscription = fixture.read_all().await;
    let event = subscription.event().await;
    assert_eq!((event.records().len(), event.child_shards().len()), (1, 0));
    fixture.split().await;
    for start in [latest(), at(event.continuation_sequence_number())] {
        let end = subscription.event().await;
        assert_eq!((end.records().len(), end.child_shards().len()), (0, 2));
        // The SDK reads a missing position as an empty one.
        assert_eq!(end.continuation_sequence_number(), "");
        assert_eq!(subscription.next().await, Came::End);
        subscription = fixture.subscribe(start).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_position_is_refused() {
    let fixture = Fixture::new(quick()).await;
    for position in [at("17"), after("no number")] {
        let refused = fixture.subscribe(position).await.unwrap_err();
        assert_eq!(refused, "InvalidArgumentException");
    }
    assert_eq!(fixture.running(), 0);
}

#[tokio::test]
async fn a_closed_connection_ends_its_subscription() {
    let fixture = Fixture::new(quick()).await;
    let mut subscription = fixture.read_all().await;
    subscription.event().await;
    assert_eq!(fixture.running(), 1);
    let start = Instant::now();
    drop(subscription);
    fixture.ended().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[expect(clippy::disallowed_methods, reason = "the server's clock is the system's")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[tokio::test]
async fn a_subscription_from_a_timestamp_gets_later_records() {
    let fixture = Fixture::new(quick()).await;
    fixture.put("old").await;
    // Arrival times are whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let start = StartingPosition::builder().r#type(ShardIteratorType::AtTimestamp);
    let start = start.timestamp(DateTime::from(now())).build().unwrap();
    let mut subscription = fixture.subscribe(start).await.unwrap();
    assert!(subscription.event().await.records().is_empty());
    fixture.put("new").await;
    assert_eq!(data(&subscription.event().await), ["new"]);
}
