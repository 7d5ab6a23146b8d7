//! Keeps the credentials of one provider fresh, on a thread of its own.

use std::error::Error;
use std::fmt;
use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use kcl_core::backend::{Clock, SystemClock};
use kcl_proto::consumer::backoff::Backoff;
use tokio::runtime;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::loaded::Loaded;

/// How long one load may take. A command or a chain of roles may need half a minute.
const LOAD_MAX: Duration = Duration::from_mins(1);

/// Loads that failed.
const FAILED: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// The shortest time from one load to another that a caller asks for.
const ASKED_AFTER: Duration = Duration::from_secs(5);

/// The credentials of one provider.
///
/// The thread starts with the first call that needs credentials, and ends once the keeper is
/// dropped. It does not depend on the caller's runtime: a processor that blocks all threads of the
/// application cannot delay a load, and a worker's end cannot cancel one.
#[derive(Debug)]
pub(crate) struct Keeper {
    provider: SharedCredentialsProvider,
    asked: Arc<Notify>,
    state: Mutex<Option<watch::Receiver<State>>>,
}

/// What the thread knows.
#[derive(Clone, Debug, Default)]
struct State {
    loaded: Option<Loaded>,
    /// The error of the last load; `None` if it succeeded.
    failure: Option<Failure>,
}

impl Keeper {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, asked: Arc::default(), state: Mutex::new(None) }
    }

    /// Asks for other credentials: the service refuses these.
    pub(crate) fn renew(&self) {
        self.asked.notify_one();
    }

    /// Returns credentials that have not expired, or why there are none. Waits while they are
    /// loaded, at most for `patience`.
    pub(crate) async fn credentials(
        &self,
        patience: Duration,
    ) -> Result<Credentials, CredentialsError> {
        let mut state = self.state();
        let answer = async {
            loop {
                let answer = self.answer(&state.borrow_and_update());
                if let Some(answer) = answer {
                    return answer;
                }
                if state.changed().await.is_err() {
                    return Err(CredentialsError::unhandled("the thread that loads them ended"));
                }
            }
        };
        timeout(patience, answer).await.unwrap_or_else(|_| {
            Err(CredentialsError::provider_error(format!("still loading after {patience:?}")))
        })
    }

    /// Returns what callers get now; `None` if they have to wait.
    fn answer(&self, state: &State) -> Option<Result<Credentials, CredentialsError>> {
        if let Some(loaded) = &state.loaded {
            if loaded.is_usable(SystemClock.time_of_day()) {
                return Some(Ok(loaded.credentials.clone()));
            }
            // The machine was suspended, or its clock was set.
            self.asked.notify_one();
        }
        state.failure.as_ref().map(|failure| Err(failure.to_error()))
    }

    /// Returns the thread's state. Starts the thread unless it runs.
    fn state(&self) -> watch::Receiver<State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*state
            && running.has_changed().is_ok()
        {
            return running.clone();
        }
        let (sender, receiver) = watch::channel(State::default());
        if let Err(error) = spawn(self.provider.clone(), sender.clone(), Arc::clone(&self.asked)) {
            sender.send_modify(|state| state.failure = Some(Failure::new(error)));
        }
        state.insert(receiver).clone()
    }
}

fn spawn(
    provider: SharedCredentialsProvider,
    state: watch::Sender<State>,
    asked: Arc<Notify>,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || runtime.block_on(keep_fresh(provider, state, asked));
    thread::Builder::new().name("kcl-credentials".to_owned()).spawn(work).map(drop)
}

/// Loads credentials ahead of their expiry until every receiver of `state` is gone.
async fn keep_fresh(
    provider: SharedCredentialsProvider,
    state: watch::Sender<State>,
    asked: Arc<Notify>,
) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let end = tokio::select! {
            biased;
            () = state.closed() => return,
            end = load(&provider) => end,
        };
        let now = SystemClock.time_of_day();
        let pause = match end {
            Ok(credentials) => {
                failures = 0;
                let loaded = Loaded::new(credentials, now);
                let pause = loaded.reload_in(now);
                state.send_replace(State { loaded: Some(loaded), failure: None });
                pause
            }
            Err(error) => {
                failures += 1;
                state.send_modify(|state| state.failure = Some(Failure(Arc::new(error))));
                FAILED.pause(failures)
            }
        };
        // Who asked before or while these were loaded has its answer.
        tokio::select! {
            biased;
            () = asked.notified() => {}
            () = ready(()) => {}
        }
        let asked_for = async {
            asked.notified().await;
            sleep_until(began + ASKED_AFTER).await;
        };
        tokio::select! {
            biased;
            () = state.closed() => return,
            () = asked_for => {}
            () = sleep(pause) => {}
        }
    }
}

async fn load(provider: &SharedCredentialsProvider) -> Result<Credentials, CredentialsError> {
    let late = |_| {
        let fallback = provider.fallback_on_interrupt();
        fallback.ok_or_else(|| CredentialsError::provider_timed_out(LOAD_MAX))
    };
    timeout(LOAD_MAX, provider.provide_credentials()).await.unwrap_or_else(late)
}

/// The error of a load, for many callers.
#[derive(Clone, Debug)]
struct Failure(Arc<CredentialsError>);

impl Failure {
    fn new(error: io::Error) -> Self {
        Self(Arc::new(CredentialsError::unhandled(error)))
    }

    /// Returns an error of the same kind and with the same cause.
    fn to_error(&self) -> CredentialsError {
        let cause = || Cause(Arc::clone(&self.0));
        match &*self.0 {
            CredentialsError::InvalidConfiguration(_) => {
                CredentialsError::invalid_configuration(cause())
            }
            CredentialsError::CredentialsNotLoaded(_) if self.0.source().is_none() => {
                CredentialsError::not_loaded_no_source()
            }
            CredentialsError::CredentialsNotLoaded(_) => CredentialsError::not_loaded(cause()),
            CredentialsError::ProviderTimedOut(timeout) => {
                CredentialsError::provider_timed_out(timeout.timeout_duration())
            }
            CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_) | _ => {
                CredentialsError::provider_error(cause())
            }
        }
    }
}

/// The cause of a shared error.
#[derive(Debug)]
struct Cause(Arc<CredentialsError>);

impl Cause {
    fn get(&self) -> &(dyn Error + 'static) {
        self.0.source().unwrap_or(&*self.0)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.get(), f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.get().source()
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
