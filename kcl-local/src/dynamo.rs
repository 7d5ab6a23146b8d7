//! A client of the embedded DynamoDB.
//!
//! Its router is not public, only its server: requests go there over pooled loopback connections.

use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Forwards requests to the embedded DynamoDB.
#[derive(Debug)]
pub(crate) struct Dynamo {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
}

impl Dynamo {
    /// Creates a client of the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Result<Self, http::Error> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let uri = Uri::builder()
            .scheme("http")
            .authority(address.to_string())
            .path_and_query("/")
            .build()?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, uri })
    }

    /// Forwards one call and returns its answer.
    pub(crate) async fn call(&self, headers: HeaderMap, body: Bytes) -> Response {
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        match self.client.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                (StatusCode::BAD_GATEWAY, format!("the embedded DynamoDB did not answer: {error}"))
                    .into_response()
            }
        }
    }
}
