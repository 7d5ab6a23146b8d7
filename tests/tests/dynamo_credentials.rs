//! Clients whose credentials are slow to load and expire soon.

#![cfg(test)]

use std::time::Duration;

use aws_config::SdkConfig;
use kcl_core::backend::{LeaseStore, LeaseStoreError, RecordSource};
use kcl_core::model::LeaseKey;
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_kinesis::KinesisSource;
use kcl_local::LocalStack;
use kcl_tests::errors::chain;
use kcl_tests::slow_credentials::SlowCredentials;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn store(sdk: &SdkConfig) -> DynamoLeaseStore {
    let setup = TableSetup::CreateIfMissing(NewTable::default());
    DynamoLeaseStore::new(sdk, DynamoLeaseStoreConfig::new("leases").with_setup(setup))
}

fn key() -> LeaseKey {
    LeaseKey::from("shardId-000000000000")
}

/// Loads take longer than a lease write may take.
#[tokio::test]
async fn slow_credentials_fail_no_call() {
    let stack = LocalStack::start().unwrap();
    let slow = SlowCredentials::new(SECOND * 3 / 2, SECOND * 6);
    let store = store(&slow.within(stack.sdk_config()));
    store.prepare().await.unwrap();
    let began = Instant::now();
    while began.elapsed() < SECOND * 14 {
        if let Err(error) = store.get(&key()).await {
            panic!("after {:?} and {} loads: {}", began.elapsed(), slow.loads(), chain(&error));
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(slow.loads() >= 3, "{slow:?}");
}

#[tokio::test]
async fn clients_of_one_configuration_share_their_credentials() {
    let stack = LocalStack::start().unwrap();
    let slow = SlowCredentials::new(SECOND / 2, SECOND * 3_600);
    let sdk = slow.within(stack.sdk_config());
    let source = KinesisSource::new(&sdk, "orders");
    let store = store(&sdk);
    let (prepared, described) = tokio::join!(store.prepare(), source.describe());
    prepared.unwrap();
    described.unwrap_err(); // There is no such stream.
    assert_eq!(slow.loads(), 1);
}

#[tokio::test]
async fn credentials_that_cannot_be_replaced_are_named_as_the_cause() {
    let stack = LocalStack::start().unwrap();
    let slow = SlowCredentials::new(Duration::ZERO, SECOND * 3).failing_from(2);
    let store = store(&slow.within(stack.sdk_config()));
    store.prepare().await.unwrap();
    let began = Instant::now();
    let error = loop {
        if let Err(error) = store.get(&key()).await {
            break error;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let lasted = began.elapsed();
    assert!(lasted > SECOND * 5 / 2, "credentials are used until they expire: {lasted:?}");
    assert!(matches!(error, LeaseStoreError::Credentials { .. }), "{error:?}");
    let chain = chain(&error);
    assert!(chain.contains("the command failed"), "{chain}");
}
