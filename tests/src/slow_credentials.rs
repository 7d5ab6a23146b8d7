//! Credentials that take long to load and expire soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use kcl_core::backend::{Clock as _, SystemClock};
use tokio::time::sleep;
use tracing::info;

/// Takes long for credentials that expire soon. Clones count their loads together.
#[derive(Clone, Debug)]
pub struct SlowCredentials {
    loads: Arc<AtomicU32>,
    takes: Duration,
    lifetime: Duration,
    fails_from: u32,
}

impl SlowCredentials {
    /// Credentials that take this long to load, and then live this long.
    #[must_use]
    pub fn new(takes: Duration, lifetime: Duration) -> Self {
        Self { loads: Arc::default(), takes, lifetime, fails_from: u32::MAX }
    }

    /// The load of this number, from 1, and all later ones fail.
    #[must_use]
    pub const fn failing_from(mut self, load: u32) -> Self {
        self.fails_from = load;
        self
    }

    /// The configuration with these credentials.
    #[must_use]
    pub fn within(&self, sdk: SdkConfig) -> SdkConfig {
        let provider = SharedCredentialsProvider::new(self.clone());
        sdk.into_builder().credentials_provider(provider).build()
    }

    /// How many loads have begun.
    #[must_use]
    pub fn loads(&self) -> u32 {
        self.loads.load(Ordering::Relaxed)
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let number = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(self.takes).await;
        if number >= self.fails_from {
            return Err(CredentialsError::provider_error("the command failed"));
        }
        info!(number, "credentials loaded");
        let now = u64::try_from(SystemClock.time_of_day().epoch_millis()).unwrap_or_default();
        let expiry = UNIX_EPOCH + Duration::from_millis(now) + self.lifetime;
        Ok(Credentials::new("test", "test", None, Some(expiry), "slow"))
    }
}

impl ProvideCredentials for SlowCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}
