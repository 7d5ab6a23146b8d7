//! Registration: states, limits and rates.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::types::ConsumerStatus;
use kcl_local::{LocalStack, LocalStackOptions, SubscriptionRules};
use tokio::time::Instant;

use crate::fixture::{Came, Fixture, STREAM, STREAM_ARN, horizon, quick, register, stack, status};

async fn deregister(client: &Client, arn: &str) {
    client.deregister_stream_consumer().consumer_arn(arn).send().await.unwrap();
}

#[tokio::test]
async fn consumers_are_creating_and_deleting_for_a_time() {
    let time = Duration::from_millis(300);
    let (_stack, client) =
        stack(SubscriptionRules { creating: time, deleting: time, ..quick() }).await;
    let start = Instant::now();
    let arn = register(&client, "reader").await.unwrap();
    assert_eq!(status(&client, &arn).await, Ok(ConsumerStatus::Creating));
    while status(&client, &arn).await == Ok(ConsumerStatus::Creating) {}
    assert!(start.elapsed() >= time);
    assert_eq!(status(&client, &arn).await, Ok(ConsumerStatus::Active));
    let start = Instant::now();
    deregister(&client, &arn).await;
    assert_eq!(status(&client, &arn).await, Ok(ConsumerStatus::Deleting));
    // Its name is taken until it is gone.
    assert_eq!(register(&client, "reader").await, Err("ResourceInUseException".to_owned()));
    while status(&client, &arn).await.is_ok() {}
    assert!(start.elapsed() >= time);
    let missing = Err("ResourceNotFoundException".to_owned());
    assert_eq!(status(&client, &arn).await, missing);
    // The same name has another ARN, even within the second.
    assert_ne!(register(&client, "reader").await.unwrap(), arn);
}

#[tokio::test]
async fn a_consumer_that_is_not_active_is_in_use() {
    let rules = SubscriptionRules { creating: Duration::MAX, ..quick() };
    let (stack, client) = stack(rules).await;
    let consumer = register(&client, "reader").await.unwrap();
    let fixture = Fixture { stack, client, consumer };
    let refused = fixture.subscribe(horizon()).await.unwrap_err();
    assert_eq!(refused, "ResourceInUseException");
    let unknown = Fixture { consumer: format!("{STREAM_ARN}/consumer/other:1"), ..fixture };
    let refused = unknown.subscribe(horizon()).await.unwrap_err();
    assert_eq!(refused, "ResourceNotFoundException");
}

#[tokio::test]
async fn consumers_and_their_calls_are_limited() {
    let exceeded = Err("LimitExceededException".to_owned());
    let limits = |rules| async { stack(rules).await };
    let register_all = |client: Client, count| async move {
        for number in 0..count {
            register(&client, &format!("reader-{number}")).await.unwrap();
        }
        register(&client, "one-too-many").await
    };
    // Each limit of the service, with the others out of the way.
    let (_stack, client) = limits(quick()).await;
    assert_eq!(register_all(client, 20).await, exceeded);
    let (_stack, client) = limits(SubscriptionRules { creating: Duration::MAX, ..quick() }).await;
    assert_eq!(register_all(client, 5).await, exceeded);
    let (_stack, client) = limits(SubscriptionRules { registers_per_second: 5, ..quick() }).await;
    assert_eq!(register_all(client, 5).await, exceeded);
    let rules = SubscriptionRules { describes_per_second: 20, ..quick() };
    let (_stack, client) = stack(rules).await;
    let arn = register(&client, "reader").await.unwrap();
    for _ in 0..20 {
        status(&client, &arn).await.unwrap();
    }
    assert_eq!(status(&client, &arn).await, Err("LimitExceededException".to_owned()));
}

#[tokio::test]
async fn names_are_checked_and_unique() {
    let (_stack, client) = stack(quick()).await;
    let invalid = Err("InvalidArgumentException".to_owned());
    assert_eq!(register(&client, "with space").await, invalid);
    assert_eq!(register(&client, &"a".repeat(129)).await, invalid);
    register(&client, &"a".repeat(128)).await.unwrap();
    register(&client, "a_b.C-9").await.unwrap();
    assert_eq!(register(&client, "a_b.C-9").await, Err("ResourceInUseException".to_owned()));
}

#[tokio::test]
async fn consumers_are_listed_in_pages() {
    let (_stack, client) = stack(quick()).await;
    for name in ["c", "a", "b"] {
        register(&client, name).await.unwrap();
    }
    let list = || client.list_stream_consumers().stream_arn(STREAM_ARN).max_results(2);
    let names = |page: &[aws_sdk_kinesis::types::Consumer]| {
        page.iter().map(|consumer| consumer.consumer_name().to_owned()).collect::<Vec<_>>()
    };
    let first = list().send().await.unwrap();
    assert_eq!(names(first.consumers()), ["a", "b"]);
    let rest = list().set_next_token(first.next_token).send().await.unwrap();
    assert_eq!((names(rest.consumers()), rest.next_token), (vec!["c".to_owned()], None));
}

#[tokio::test]
async fn a_deregistered_consumer_ends_its_subscriptions() {
    let fixture = Fixture::new(quick()).await;
    let mut subscription = fixture.read_all().await;
    subscription.event().await;
    deregister(&fixture.client, &fixture.consumer).await;
    let gone = Came::Exception("ResourceNotFoundException".to_owned());
    assert_eq!(subscription.next().await, gone);
    assert_eq!(subscription.next().await, Came::End);
    assert_eq!(fixture.running(), 0);
}

#[tokio::test]
async fn a_stream_is_deleted_with_its_consumers_on_demand() {
    let fixture = Fixture::new(quick()).await;
    let mut subscription = fixture.read_all().await;
    subscription.event().await;
    let delete = || fixture.client.delete_stream().stream_name(STREAM);
    let refused = delete().send().await.unwrap_err();
    assert_eq!(refused.code(), Some("ResourceInUseException"));
    delete().enforce_consumer_deletion(true).send().await.unwrap();
    let gone = Came::Exception("ResourceNotFoundException".to_owned());
    assert_eq!(subscription.next().await, gone);
    assert!(status(&fixture.client, &fixture.consumer).await.is_err());
}

#[tokio::test]
async fn consumers_outlive_the_stack_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        LocalStackOptions::default().with_folder(folder.path()).with_subscriptions(quick());
    let arn = {
        let stack = LocalStack::start_with(&options).unwrap();
        let client = Client::new(&stack.sdk_config());
        client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
        register(&client, "reader").await.unwrap()
    };
    let stack = LocalStack::start_with(&options).unwrap();
    let client = Client::new(&stack.sdk_config());
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(&client, &arn).await != Ok(ConsumerStatus::Active) {
        assert!(Instant::now() < deadline);
    }
}
