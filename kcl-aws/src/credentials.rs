//! The credentials of a client, shared with all clients of the same provider in the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::identity::{IdentityCachePartition, ResolveIdentity};
use aws_types::SdkConfig;

use crate::keeper::Keeper;

/// The keepers of this process, by the identity of their provider: clients of one `SdkConfig`
/// share one, in whichever crate they are.
static KEEPERS: Mutex<BTreeMap<IdentityCachePartition, Weak<Keeper>>> = Mutex::new(BTreeMap::new());

/// Credentials that are loaded ahead of time, on a thread of their own.
///
/// The SDK loads credentials inside the first call that needs new ones, and within that call's
/// timeout: a provider that takes longer than a lease write may take never succeeds. These are
/// loaded before the former ones expire, the former ones are used until then, and a load continues
/// when a call that waits for it times out. Use it with `IdentityCache::no_cache()`.
#[derive(Clone, Debug)]
pub struct FreshCredentials {
    /// `None` if no provider is configured.
    keeper: Option<Arc<Keeper>>,
    patience: Duration,
}

impl FreshCredentials {
    /// Returns the credentials that `sdk` names. A call waits for them at most four fifths of
    /// `attempt`, the timeout of its attempt, so that it reports what it waited for.
    #[must_use]
    pub fn new(sdk: &SdkConfig, attempt: Duration) -> Self {
        let keeper = sdk.credentials_provider().map(|provider| {
            let Some(partition) = provider.cache_partition() else {
                return Arc::new(Keeper::new(provider));
            };
            let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
            keepers.retain(|_, keeper| keeper.strong_count() > 0);
            if let Some(keeper) = keepers.get(&partition).and_then(Weak::upgrade) {
                return keeper;
            }
            let keeper = Arc::new(Keeper::new(provider));
            keepers.insert(partition, Arc::downgrade(&keeper));
            keeper
        });
        Self { keeper, patience: attempt.mul_f64(0.8) }
    }

    /// Waits until credentials are loaded, or cannot be, at most for `patience`.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn ready(&self, patience: Duration) -> Result<(), CredentialsError> {
        self.within(patience).await.map(drop)
    }

    /// Asks for other credentials: the service refuses these.
    pub fn renew(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.renew();
        }
    }

    async fn within(&self, patience: Duration) -> Result<Credentials, CredentialsError> {
        match &self.keeper {
            Some(keeper) => keeper.credentials(patience).await,
            None => Err(CredentialsError::invalid_configuration(
                "the SDK's configuration has no provider of credentials",
            )),
        }
    }
}

impl ProvideCredentials for FreshCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.within(self.patience))
    }
}
