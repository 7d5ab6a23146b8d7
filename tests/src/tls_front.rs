//! A TLS and HTTP/2 front of a local stack: what stands before Kinesis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::SdkConfig;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kcl_local::LocalStack;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::tls::TlsServer;

/// The streams that one connection may have open.
///
/// Source: what AWS front ends announce, as seen by others.
pub const STREAMS_MAX: u32 = 128;

/// The most bytes of a stream, and of a connection, that the front holds while a client does not
/// read.
const WINDOW: u32 = 64 * 1024;

/// A front of a local stack. It ends with the runtime that started it.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
    tls: TlsServer,
    seen: Arc<Seen>,
    stalls: watch::Sender<u64>,
}

/// What came to the front.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    open_most: AtomicUsize,
}

impl TlsFront {
    /// Starts a front of `stack` whose connections carry [`STREAMS_MAX`] streams.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn to(stack: &LocalStack) -> anyhow::Result<Self> {
        Self::with_streams(stack, STREAMS_MAX).await
    }

    /// Starts a front of `stack` whose connections carry at most `streams_max` streams.
    ///
    /// # Errors
    /// If it cannot listen.
    #[expect(clippy::disallowed_methods, reason = "the caller's runtime owns the front")]
    pub async fn with_streams(stack: &LocalStack, streams_max: u32) -> anyhow::Result<Self> {
        let tls = TlsServer::new()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let front = Self { port, tls, seen: Arc::default(), stalls: watch::Sender::new(0) };
        let link = Link {
            tls: front.tls.clone(),
            seen: Arc::clone(&front.seen),
            stack: stack.endpoint_url(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            streams_max,
        };
        let stalls = front.stalls.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(link.clone().serve(socket, stalls.subscribe()));
            }
        });
        Ok(front)
    }

    /// Returns a configuration for SDK clients: the SDK's default HTTP client over HTTP/2.
    ///
    /// # Errors
    /// None in practice: the certificate is the front's own.
    pub fn sdk_config(&self) -> anyhow::Result<SdkConfig> {
        self.tls.sdk_config(self.port)
    }

    /// Returns the certificate that clients have to trust, in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.tls.certificate
    }

    /// Returns how many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Returns how many streams are open now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// Returns how many streams were open at once at most.
    #[must_use]
    pub fn streams_most(&self) -> usize {
        self.seen.open_most.load(Ordering::Relaxed)
    }

    /// Lets all connections that are open now fall silent: they are neither served nor closed, as
    /// behind a middlebox that forgot them. New ones are served.
    pub fn stall(&self) {
        self.stalls.send_modify(|stalls| *stalls += 1);
    }
}

/// The way to the stack. Clones share its connections.
#[derive(Clone)]
struct Link {
    tls: TlsServer,
    seen: Arc<Seen>,
    stack: String,
    client: Client<HttpConnector, Incoming>,
    streams_max: u32,
}

/// An open stream, from its request to the end of its reply.
struct Open(Arc<Seen>);

impl Open {
    fn new(seen: &Arc<Seen>) -> Self {
        let open = seen.open.fetch_add(1, Ordering::Relaxed) + 1;
        seen.open_most.fetch_max(open, Ordering::Relaxed);
        Self(Arc::clone(seen))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    async fn serve(self, socket: TcpStream, mut stalls: watch::Receiver<u64>) {
        self.seen.connections.fetch_add(1, Ordering::Relaxed);
        drop(socket.set_nodelay(true));
        let Ok(stream) = self.tls.acceptor.accept(socket).await else {
            return;
        };
        let mut server = http2::Builder::new(TokioExecutor::new());
        server
            .max_concurrent_streams(self.streams_max)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(WINDOW as usize);
        let answer = service_fn(move |request| self.clone().forward(request));
        let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), answer));
        tokio::select! {
            // A client that is gone ends it.
            _ = &mut connection => return,
            Ok(()) = stalls.changed() => {}
        }
        // The connection is kept, and is not served.
        std::future::pending::<()>().await;
    }

    async fn forward(
        self,
        request: Request<Incoming>,
    ) -> anyhow::Result<Response<BoxBody<Bytes, hyper::Error>>> {
        let open = Open::new(&self.seen);
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("{}{path}", self.stack).parse::<Uri>()?;
        parts.version = hyper::Version::HTTP_11;
        parts.headers.remove(HOST);
        let reply = self.client.request(Request::from_parts(parts, body)).await?;
        Ok(reply.map(|body| {
            let body = body.map_frame(move |frame| {
                let _open = &open;
                frame
            });
            BoxBody::new(body)
        }))
    }
}
