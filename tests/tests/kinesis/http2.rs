//! A server that speaks HTTP/2 over TLS, as Kinesis does, and answers reads.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::SdkConfig;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kcl_tests::tls::TlsServer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The streams that one connection may have open.
pub(crate) const STREAMS_MAX: u32 = 128;

/// Returns the body of the reply to a read.
pub(crate) type Read = Arc<dyn Fn() -> BoxFuture<'static, Bytes> + Send + Sync>;

/// A running server.
pub(crate) struct Http2 {
    pub(crate) sdk: SdkConfig,
    connections: Arc<AtomicUsize>,
}

impl Http2 {
    /// Starts a server that answers `GetRecords` with `read`, and every other call with an
    /// iterator. It ends with the test's runtime.
    #[expect(clippy::disallowed_methods, reason = "the test's runtime owns the server")]
    pub(crate) async fn start(read: Read) -> Self {
        let tls = TlsServer::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sdk, connections) = (tls.sdk_config(port).unwrap(), Arc::new(AtomicUsize::new(0)));
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(socket, tls.acceptor.clone(), Arc::clone(&read)));
            }
        });
        Self { sdk, connections }
    }

    /// Returns how many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(socket: TcpStream, tls: TlsAcceptor, read: Read) {
    let stream = TokioIo::new(tls.accept(socket).await.unwrap());
    let answer = service_fn(move |request: Request<Incoming>| {
        let read = Arc::clone(&read);
        async move {
            let operation = request.headers().get("x-amz-target").unwrap().to_str().unwrap();
            let is_read = operation.ends_with(".GetRecords");
            let iterator = Bytes::from_static(br#"{"ShardIterator":"first"}"#);
            let body = if is_read { read().await } else { iterator };
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        }
    });
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.max_concurrent_streams(STREAMS_MAX);
    // A client that is gone ends it.
    drop(server.serve_connection(stream, answer).await);
}
