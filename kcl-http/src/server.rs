//! A server for programs without one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kcl_core::WorkerHandle;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::router::Probes;

/// Why the server could not start, or ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is used by another program, or by another worker on this machine. Name another
    /// port; 0 finds a free one.
    #[error("address {address} is in use: name another port, or 0 for a free one")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on. Name one of this machine, and a port that the process may
    /// use.
    #[error("address {address} cannot be listened on")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The server ended. Serve again.
    #[error("the server of probes and metrics ended")]
    Ended {
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// A server that listens, and serves once [`run`](Self::run) is polled.
#[derive(Debug)]
#[must_use = "nothing is served until `run`"]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    probes: Probes,
}

/// Serves probes, metrics and status of a worker on this port of the loopback interface, until the
/// future is dropped. Other machines, and so Kubernetes, do not reach that: see [`Server::bind`].
///
/// ```no_run
/// # async fn f(worker: kcl_core::Worker) -> Result<(), kcl_core::BoxError> {
/// let handle = worker.handle();
/// tokio::select! {
///     end = worker.run() => drop(end?),
///     failed = kcl_http::serve(9090, handle) => failed?,
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ServeError`] if the port is taken, or if the server ends.
pub async fn serve(port: u16, worker: WorkerHandle) -> Result<(), ServeError> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    Server::bind(address, Probes::new([worker])).await?.run().await
}

impl Server {
    /// Listens on an address. `0.0.0.0` is reachable from everywhere: every client
    /// reads the names of streams, shards and workers, and none can change anything.
    ///
    /// # Errors
    /// [`ServeError`] if it is in use or cannot be used.
    pub async fn bind(address: SocketAddr, probes: Probes) -> Result<Self, ServeError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                ServeError::InUse { address, source }
            } else {
                ServeError::Address { address, source }
            }
        })?;
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, address, probes })
    }

    /// The address, with the port that was found if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// [`ServeError::Ended`] if the server ends by itself.
    pub async fn run(self) -> Result<(), ServeError> {
        let served = axum::serve(self.listener, self.probes.router()).await;
        served.map_err(|source| ServeError::Ended { source })
    }
}
