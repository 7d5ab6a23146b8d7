//! SDK configurations: for a local stack, and for an AWS account.

use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};
use aws_types::SdkConfig;

/// Returns the configuration for a local stack. Its HTTP client has no TLS, which takes long to
/// build.
pub(crate) fn local(url: &str) -> SdkConfig {
    let connector = SharedHttpConnector::new(Connector::builder().build_http());
    let client = http_client_fn(move |_, _| connector.clone());
    kcl_local::sdk_config(url).into_builder().http_client(client).build()
}

/// Loads the configuration for the AWS account of the environment.
#[cfg(feature = "aws")]
pub(crate) async fn account() -> anyhow::Result<SdkConfig> {
    Ok(aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await)
}

/// Returns an error: this build has no TLS.
#[cfg(not(feature = "aws"))]
pub(crate) fn account() -> impl Future<Output = anyhow::Result<SdkConfig>> + Send {
    let command = "cargo run -p quickstart --features aws -- --aws";
    std::future::ready(Err(anyhow::anyhow!("this build has no TLS: use `{command}`")))
}
