//! Clients whose credentials are slow to load and expire soon.

#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use kcl_core::backend::{Clock, LeaseStore, LeaseStoreError, RecordSource, SystemClock};
use kcl_core::model::LeaseKey;
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_kinesis::KinesisSource;
use kcl_local::LocalStack;
use kcl_tests::errors::chain;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Takes long for credentials that expire soon. Fails from the load `fails_from` on.
#[derive(Clone, Debug)]
struct Slow {
    loads: Arc<AtomicU32>,
    takes: Duration,
    lifetime: Duration,
    fails_from: u32,
}

impl Slow {
    fn new(takes: Duration, lifetime: Duration) -> Self {
        Self { loads: Arc::default(), takes, lifetime, fails_from: u32::MAX }
    }

    fn sdk(&self, stack: &LocalStack) -> SdkConfig {
        let provider = SharedCredentialsProvider::new(self.clone());
        let mut sdk = stack.sdk_config().into_builder();
        sdk.set_credentials_provider(Some(provider));
        sdk.build()
    }

    fn loads(&self) -> u32 {
        self.loads.load(Ordering::Relaxed)
    }
}

impl ProvideCredentials for Slow {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let number = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(self.takes).await;
            if number >= self.fails_from {
                return Err(CredentialsError::provider_error("the command failed"));
            }
            let now = u64::try_from(SystemClock.time_of_day().epoch_millis()).unwrap();
            let expiry = UNIX_EPOCH + Duration::from_millis(now) + self.lifetime;
            Ok(Credentials::new("test", "test", None, Some(expiry), "slow"))
        })
    }
}

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
    let slow = Slow::new(SECOND * 3 / 2, SECOND * 6);
    let store = store(&slow.sdk(&stack));
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
    let slow = Slow::new(SECOND / 2, SECOND * 3_600);
    let sdk = slow.sdk(&stack);
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
    let slow = Slow { fails_from: 2, ..Slow::new(Duration::ZERO, SECOND * 3) };
    let store = store(&slow.sdk(&stack));
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
