//! The one endpoint: tells the services apart, counts calls, and applies the repairs.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use ferrokinesis::store::Store;
use http::{HeaderMap, StatusCode};
use tower::ServiceExt as _;

use crate::calls::Calls;
use crate::dynamo::Dynamo;

/// What the endpoint hands requests to.
pub(crate) struct Gateway {
    pub(crate) kinesis: Router,
    pub(crate) store: Store,
    pub(crate) dynamo: Dynamo,
    pub(crate) calls: Arc<Calls>,
}

impl Gateway {
    /// Turns the gateway into the router of the endpoint.
    pub(crate) fn into_router(self) -> Router {
        Router::new()
            .route("/calls", get(calls))
            .route("/health", get(async || "ok\n"))
            .fallback(dispatch)
            .with_state(Arc::new(self))
    }

    async fn kinesis(&self, operation: &str, request: Request) -> Response {
        self.forward(request).await
    }

    async fn dynamo(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        match read(body).await {
            Ok(body) => self.dynamo.call(parts.headers, body).await,
            Err(refusal) => refusal,
        }
    }

    /// Hands a request to the embedded Kinesis as it is.
    async fn forward(&self, request: Request) -> Response {
        match self.kinesis.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

async fn calls(State(gateway): State<Arc<Gateway>>) -> Response {
    match serde_json::to_vec(&gateway.calls.snapshot()) {
        Ok(counts) => ([("content-type", "application/json")], counts).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn dispatch(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let Some((service, operation)) = target.and_then(|target| target.split_once('.')) else {
        return (StatusCode::NOT_FOUND, NO_TARGET).into_response();
    };
    let operation = operation.to_owned();
    match service {
        "Kinesis_20131202" => {
            gateway.calls.count("Kinesis", &operation);
            gateway.kinesis(&operation, request).await
        }
        "DynamoDB_20120810" => {
            gateway.calls.count("DynamoDB", &operation);
            gateway.dynamo(request).await
        }
        "DynamoDBStreams_20120810" => {
            gateway.calls.count("DynamoDBStreams", &operation);
            gateway.dynamo(request).await
        }
        other => {
            (StatusCode::NOT_FOUND, format!("no service {other} here, only Kinesis and DynamoDB\n"))
                .into_response()
        }
    }
}

const NO_TARGET: &str = "this is a local Kinesis and DynamoDB: set it as the endpoint of an AWS SDK, \
    or ask for /calls or /health\n";

/// The largest request: a PutRecords call of 10 MiB, in base64.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

async fn read(body: Body) -> Result<Bytes, Response> {
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        (StatusCode::PAYLOAD_TOO_LARGE, format!("body not read: {error}\n")).into_response()
    })
}
