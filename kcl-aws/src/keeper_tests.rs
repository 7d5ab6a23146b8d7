//! Credentials that come late, expire, fail and return.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use aws_credential_types::provider::future;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Takes `takes` for credentials of `lifetime`. Fails as often as `failures` says.
#[derive(Clone, Debug)]
struct Provider {
    begun: Arc<AtomicU32>,
    failures: u32,
    takes: Duration,
    lifetime: Option<Duration>,
}

impl Provider {
    fn taking(takes: Duration) -> Self {
        Self { begun: Arc::default(), failures: 0, takes, lifetime: None }
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(SharedCredentialsProvider::new(self.clone()))
    }

    fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let this = self.clone();
        future::ProvideCredentials::new(async move {
            let number = this.begun.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(this.takes).await;
            if number <= this.failures {
                return Err(CredentialsError::provider_error("503"));
            }
            let now = SystemClock.time_of_day().epoch_millis();
            let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now).unwrap());
            let expiry = this.lifetime.map(|lifetime| now + lifetime);
            Ok(Credentials::new(format!("key {number}"), "secret", None, expiry, "test"))
        })
    }
}

#[tokio::test]
async fn load_continues_after_its_caller_gave_up() {
    let provider = Provider::taking(Duration::from_millis(300));
    let keeper = provider.keeper();
    for _ in 0..3 {
        let error = keeper.credentials(Duration::from_millis(20)).await.unwrap_err();
        let cause = error.source().unwrap().to_string();
        assert_eq!(cause, "still loading after 20ms");
    }
    let loaded = keeper.credentials(SECOND * 10).await.unwrap();
    assert_eq!((loaded.access_key_id(), provider.begun()), ("key 1", 1));
}

#[tokio::test]
async fn credentials_are_replaced_before_they_expire_and_used_until_then() {
    let lifetime = Some(SECOND * 3);
    let provider = Provider { lifetime, ..Provider::taking(Duration::from_millis(600)) };
    let keeper = provider.keeper();
    keeper.credentials(SECOND * 10).await.unwrap();
    let began = Instant::now();
    while provider.begun() < 4 {
        keeper.credentials(Duration::ZERO).await.expect("the former ones are still good");
        assert!(began.elapsed() < SECOND * 30, "{provider:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn failure_is_reported_at_once_with_its_cause_until_a_load_succeeds() {
    let provider = Provider { failures: 2, ..Provider::taking(Duration::ZERO) };
    let keeper = provider.keeper();
    let error = keeper.credentials(SECOND * 10).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "503");
    while keeper.credentials(SECOND).await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(provider.begun(), 3);
}

#[tokio::test]
async fn refused_credentials_are_replaced() {
    let provider = Provider::taking(Duration::ZERO);
    let keeper = provider.keeper();
    assert_eq!(keeper.credentials(SECOND * 10).await.unwrap().access_key_id(), "key 1");
    let began = Instant::now();
    while keeper.credentials(SECOND).await.unwrap().access_key_id() == "key 1" {
        keeper.renew();
        assert!(began.elapsed() < SECOND * 30, "{provider:?}");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() > SECOND * 4, "{:?}", began.elapsed());
}

#[tokio::test]
async fn thread_ends_with_its_keeper() {
    let provider = Provider::taking(Duration::ZERO);
    let keeper = provider.keeper();
    keeper.credentials(SECOND * 10).await.unwrap();
    drop(keeper);
    let began = Instant::now();
    // The thread holds the provider, and with it the counter.
    while Arc::strong_count(&provider.begun) > 1 {
        assert!(began.elapsed() < SECOND * 30, "the thread still runs");
        sleep(Duration::from_millis(5)).await;
    }
}
