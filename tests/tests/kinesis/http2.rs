//! A server that speaks HTTP/2 over TLS, as Kinesis does, and answers reads.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

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
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tls, connections) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(AtomicUsize::new(0)));
        let accepted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(socket, tls.clone(), Arc::clone(&read)));
            }
        });
        Self { sdk: sdk(port, &cert.pem()), connections }
    }

    /// Returns how many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A configuration that trusts the server's certificate.
fn sdk(port: u16, certificate: &str) -> SdkConfig {
    let trusted = TrustStore::empty().with_pem_certificate(certificate.as_bytes());
    let tls = TlsContext::builder().with_trust_store(trusted).build().unwrap();
    let client = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls)
        .build_https();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("https://localhost:{port}"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .http_client(client)
        .build()
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
