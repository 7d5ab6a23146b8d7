//! Starts and stops the local stack.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_types::SdkConfig;
use aws_types::region::Region;
use axum::serve::ListenerExt as _;
use ferrokinesis::store::{DurableStateOptions, StoreOptions};
use thiserror::Error;
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing::subscriber::{NoSubscriber, with_default};

use crate::calls::Calls;
use crate::dynamo::Dynamo;
use crate::fan_out::rules::SubscriptionRules;
use crate::fan_out::service::FanOut;
use crate::fan_out::strike::Strike;
use crate::gateway::Gateway;

/// A running Kinesis and DynamoDB on one loopback endpoint.
///
/// A stack runs on its own thread, so it serves blocking code and single-threaded runtimes too. Any
/// number of stacks can run in a process. Dropping a stack closes all connections and joins the
/// thread, within milliseconds. A stack logs nothing, because the embedded services warn of every
/// failed condition, which is normal between workers.
#[derive(Debug)]
pub struct LocalStack {
    address: SocketAddr,
    calls: Arc<Calls>,
    fan_out: Arc<FanOut>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Options of a [`LocalStack`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LocalStackOptions {
    /// The loopback port to listen on.
    ///
    /// Default: `None`, the operating system chooses a free one.
    pub port: Option<u16>,
    /// The folder that keeps streams, records and tables across restarts. Created if missing.
    ///
    /// Default: `None`, everything is in memory and ends with the stack.
    pub folder: Option<PathBuf>,
    /// The times and limits of enhanced fan-out.
    ///
    /// Default: the service's.
    pub subscriptions: SubscriptionRules,
}

/// Why a [`LocalStack`] did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process has the port. Choose a different one, or let the system choose.
    #[error("port {port} is in use: choose another one, or port 0 for a free one")]
    PortInUse {
        /// The configured port.
        port: u16,
    },
    /// The folder holds no usable data, or another process has it open. Choose another one.
    #[error("cannot keep data in {}: {reason}", folder.display())]
    Folder {
        /// The configured folder.
        folder: PathBuf,
        /// The error of the embedded service.
        reason: String,
    },
    /// The system refused a socket or a thread.
    #[error("cannot serve on loopback")]
    Io(#[source] io::Error),
    /// An embedded service did not start. This is a bug.
    #[error("embedded service did not start: {reason}")]
    Service {
        /// The error of the embedded service.
        reason: String,
    },
}

impl LocalStack {
    /// Starts on a free port, with its data in memory.
    ///
    /// # Errors
    ///
    /// [`StartError::Io`] if the system has no socket or thread left.
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(&LocalStackOptions::default())
    }

    /// Starts with `options`.
    ///
    /// # Errors
    ///
    /// Any [`StartError`].
    pub fn start_with(options: &LocalStackOptions) -> Result<Self, StartError> {
        let listener = listen(options.port.unwrap_or(0))?;
        let address = listener.local_addr().map_err(StartError::Io)?;
        let calls = Arc::new(Calls::default());
        let fan_out = Arc::new(FanOut::new(options.subscriptions.clone()));
        let stop = CancellationToken::new();
        let (ready, started) = mpsc::channel();
        let server = Server {
            listener,
            folder: options.folder.clone(),
            calls: Arc::clone(&calls),
            fan_out: Arc::clone(&fan_out),
            ready,
        };
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("kcl-local".to_owned())
            .spawn(move || with_default(NoSubscriber::new(), || server.run(&stopped)))
            .map_err(StartError::Io)?;
        let stack = Self { address, calls, fan_out, stop, thread: Some(thread) };
        started
            .recv()
            .unwrap_or_else(|gone| Err(StartError::Service { reason: gone.to_string() }))?;
        Ok(stack)
    }

    /// Returns the URL of both services, such as `http://127.0.0.1:41234`.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns a configuration for SDK clients: this endpoint, `us-east-1` and test credentials.
    #[must_use]
    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(&self.endpoint_url())
    }

    /// Returns the number of calls of each operation, by names such as `Kinesis.GetRecords`.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.snapshot()
    }

    /// Lets a fault strike subscriptions or calls. Returns the number of running subscriptions that
    /// it struck; faults of next calls wait for them.
    ///
    /// A subscription meets one fault at a time: of two strikes in a row the first may be lost.
    pub fn strike(&self, strike: Strike) -> usize {
        self.fan_out.strike(strike)
    }

    /// Forgets the faults that wait for a call. Broken subscriptions stay broken.
    pub fn mend(&self) {
        self.fan_out.mend();
    }

    /// Returns the consumer's ARN and the shard of each running subscription, in order. A
    /// subscription runs until its stream ends or its client closes the connection.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<(String, String)> {
        self.fan_out.running().into_iter().map(|key| (key.consumer, key.shard)).collect()
    }
}

/// Returns a configuration for SDK clients of a stack in another process.
#[must_use]
pub fn sdk_config(endpoint_url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "kcl-local");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint_url)
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

impl LocalStackOptions {
    /// Listens on this port of the loopback interface; 0 lets the system choose.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Stores the data in this folder.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets the times and limits of enhanced fan-out.
    #[must_use]
    pub fn with_subscriptions(mut self, rules: SubscriptionRules) -> Self {
        self.subscriptions = rules;
        self
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("local stack ended in a panic");
        }
    }
}

/// The region of the stack.
const REGION: &str = "us-east-1";

fn listen(port: u16) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            StartError::PortInUse { port }
        } else {
            StartError::Io(error)
        }
    })?;
    listener.set_nonblocking(true).map_err(StartError::Io)?;
    Ok(listener)
}

/// The server, which runs on the thread of the stack.
struct Server {
    listener: TcpListener,
    folder: Option<PathBuf>,
    calls: Arc<Calls>,
    fan_out: Arc<FanOut>,
    ready: mpsc::Sender<Result<(), StartError>>,
}

impl Server {
    /// Serves until `stop`.
    ///
    /// One thread leaves the other cores to the clients, and makes every call of the embedded
    /// Kinesis atomic: no reader runs between the assignment of a sequence number and the storage
    /// of the record.
    fn run(self, stop: &CancellationToken) {
        let ready = self.ready.clone();
        match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let outcome = runtime.block_on(stop.run_until_cancelled(self.serve()));
                if let Some(Err(error)) = outcome {
                    // The receiver is gone when the stack has already started.
                    drop(ready.send(Err(error)));
                }
                runtime.shutdown_timeout(FLUSH_MAX);
            }
            Err(error) => drop(ready.send(Err(StartError::Io(error)))),
        }
    }

    async fn serve(self) -> Result<(), StartError> {
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(StartError::Io)?
            // Without TCP_NODELAY a connection is slow, and correct.
            .tap_io(|connection| drop(connection.set_nodelay(true)));
        let inner = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(StartError::Io)?;
        let address = inner.local_addr().map_err(StartError::Io)?;
        let folder = self.folder.as_deref();
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
        }
        let database = database(folder)?;
        let (kinesis, store) = ferrokinesis::create_app(store_options(folder));
        if let (Err(error), Some(folder)) = (store.check_ready(), folder) {
            return Err(unusable(folder, &error));
        }
        let dynamo = Dynamo::new(address)
            .map_err(|error| StartError::Service { reason: error.to_string() })?;
        let gateway = Gateway::new((kinesis, store), dynamo, self.calls, self.fan_out);
        drop(self.ready.send(Ok(())));
        tokio::select! {
            served = axum::serve(listener, gateway.into_router()) => served.map_err(StartError::Io),
            () = dynoxide::server::serve_on(inner, database) => Ok(()),
        }
    }
}

/// How long stopping waits for writes to the folder.
const FLUSH_MAX: Duration = Duration::from_secs(2);

fn database(folder: Option<&Path>) -> Result<dynoxide::Database, StartError> {
    match folder {
        None => dynoxide::Database::memory()
            .map_err(|error| StartError::Service { reason: error.to_string() }),
        Some(folder) => {
            let path = folder.join("dynamodb.sqlite");
            dynoxide::Database::new(&path.to_string_lossy())
                .map_err(|error| unusable(folder, &error))
        }
    }
}

/// Returns options with which changes of streams take effect at once and the limit of shards is
/// high.
fn store_options(folder: Option<&Path>) -> StoreOptions {
    StoreOptions {
        create_stream_ms: 0,
        delete_stream_ms: 0,
        update_stream_ms: 0,
        shard_limit: 100_000,
        durable: folder.map(|folder| DurableStateOptions {
            state_dir: folder.join("kinesis"),
            snapshot_interval_secs: 30,
            max_retained_bytes: None,
        }),
        aws_region: REGION.to_owned(),
        ..StoreOptions::default()
    }
}

fn unusable(folder: &Path, error: &dyn std::fmt::Display) -> StartError {
    StartError::Folder { folder: folder.to_owned(), reason: error.to_string() }
}
