//! DynamoDB for tests: the embedded one and, if available, DynamoDB Local.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use dynoxide::Database;
use kcl_core::backend::LeaseStore;
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The image of DynamoDB Local.
const IMAGE: (&str, &str) = ("amazon/dynamodb-local", "latest");
/// How long DynamoDB Local may take to start.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A running DynamoDB. Dropping it stops its server, unless the server is external.
#[derive(Debug)]
pub struct DynamoDb {
    endpoint: String,
    server: Server,
}

#[derive(Debug)]
enum Server {
    Embedded(JoinHandle<()>),
    /// Removed when dropped.
    Container {
        _container: Box<ContainerAsync<GenericImage>>,
    },
    External,
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        match &self.server {
            Server::Embedded(task) => task.abort(),
            Server::Container { .. } | Server::External => {}
        }
    }
}

impl DynamoDb {
    /// Starts an empty DynamoDB in this process.
    ///
    /// # Errors
    /// If no port is free.
    #[expect(clippy::disallowed_methods, reason = "the server's task ends with the test")]
    pub async fn embedded() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let database = Database::memory()?;
        let task = tokio::spawn(dynoxide::server::serve_on(listener, database));
        Ok(Self { endpoint, server: Server::Embedded(task) })
    }

    /// Returns DynamoDB Local: the one that `KCL_TEST_DYNAMODB` names (`http://…`), or one in a
    /// container if `KCL_TEST_CONTAINERS` is `1`; `None` if neither is set.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn real() -> Result<Option<Self>> {
        let set = |name| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the servers to test against are no setting of the library"
            )]
            std::env::var(name).ok().filter(|value| !value.is_empty())
        };
        let found = if let Some(endpoint) = set("KCL_TEST_DYNAMODB") {
            Self { endpoint, server: Server::External }
        } else if set("KCL_TEST_CONTAINERS").as_deref() == Some("1") {
            let (name, tag) = IMAGE;
            let image = GenericImage::new(name, tag).with_exposed_port(8_000.tcp());
            let container = image.start().await.context("start DynamoDB Local in a container")?;
            let port = container.get_host_port_ipv4(8_000.tcp()).await?;
            let endpoint = format!("http://{}:{port}", container.get_host().await?);
            Self { endpoint, server: Server::Container { _container: Box::new(container) } }
        } else {
            return Ok(None);
        };
        found.wait_until_ready().await?;
        Ok(Some(found))
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let client = self.client();
        let began = Instant::now();
        loop {
            match client.list_tables().send().await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let in_time = began.elapsed() < START_TIMEOUT;
                    ensure!(in_time, "{} does not answer: {error:?}", self.endpoint);
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Returns an SDK configuration with this endpoint.
    #[must_use]
    pub fn sdk(&self) -> SdkConfig {
        sdk(&self.endpoint)
    }

    /// Returns a client, for calls that the store does not make.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.sdk())
    }

    /// Returns a store in a new table.
    ///
    /// # Errors
    /// If the table cannot be created.
    pub async fn store(&self) -> Result<DynamoLeaseStore> {
        let setup = TableSetup::CreateIfMissing(NewTable::default());
        let config = DynamoLeaseStoreConfig::new(unique_table()).with_setup(setup);
        // Tests of the store must not fail on a busy machine.
        let config = config
            .with_attempt_timeout(Duration::from_secs(10))
            .with_operation_timeout(Duration::from_secs(30));
        let store = DynamoLeaseStore::new(&self.sdk(), config);
        store.prepare().await.context("create the table")?;
        Ok(store)
    }
}

/// Returns an SDK configuration with `endpoint`.
#[must_use]
pub fn sdk(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Returns a table name that is unique, also on a server that other runs share.
#[must_use]
pub fn unique_table() -> String {
    static TABLES: AtomicU64 = AtomicU64::new(0);
    let number = TABLES.fetch_add(1, Ordering::Relaxed);
    let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("kcl-test-{}-{nanos:x}-{number}", std::process::id())
}
