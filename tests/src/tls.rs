//! TLS as Kinesis speaks it: a certificate of the test's own, and HTTP/2 by ALPN.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rcgen::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The identity of a server on `localhost`.
#[derive(Clone)]
pub struct TlsServer {
    /// Accepts connections, over which it offers HTTP/2 only.
    pub acceptor: TlsAcceptor,
    /// The certificate that clients have to trust, in PEM.
    pub certificate: String,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Makes a key and a certificate.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()])
                .context("no certificate")?;
        let key = PrivateKeyDer::try_from(signing_key.serialize_der())
            .map_err(|reason| anyhow::anyhow!("no key: {reason}"))?;
        let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(tls)), certificate: cert.pem() })
    }

    /// Returns a configuration for SDK clients of the server at this port: the SDK's default HTTP
    /// client, which trusts the certificate.
    ///
    /// # Errors
    /// If the certificate is not one.
    pub fn sdk_config(&self, port: u16) -> anyhow::Result<SdkConfig> {
        let trusted = TrustStore::empty().with_pem_certificate(self.certificate.as_bytes());
        let tls = TlsContext::builder().with_trust_store(trusted).build()?;
        let client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build_https();
        Ok(SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("https://localhost:{port}"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
            .http_client(client)
            .build())
    }
}
