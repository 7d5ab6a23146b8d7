//! The endpoint: routes calls to their service, counts them, and applies the repairs.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::store::Store;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::task::unconstrained;
use tower::ServiceExt as _;

use crate::calls::Calls;
use crate::dynamo::Dynamo;
use crate::repair::{
    cbor_times, fan_out, get_records, list_shards, shard_count, stream_arn, timestamp,
};
use crate::topology::Topology;
use crate::wire::Encoding;

/// The services behind the endpoint.
pub(crate) struct Gateway {
    kinesis: Router,
    store: Store,
    topology: Topology,
    dynamo: Dynamo,
    calls: Arc<Calls>,
    writes: Mutex<()>,
}

/// The result of a repair.
enum Repair {
    /// The answer of the call.
    Answer(Vec<u8>),
    /// The call to forward instead.
    Request(Map<String, Value>),
    /// The call needs no repair.
    None,
}

impl Gateway {
    /// Creates a gateway to the embedded services.
    pub(crate) fn new(kinesis: Router, store: Store, dynamo: Dynamo, calls: Arc<Calls>) -> Self {
        let kinesis = kinesis.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let (topology, writes) = (Topology::new(store.clone()), Mutex::default());
        Self { kinesis, topology, store, dynamo, calls, writes }
    }

    /// Turns the gateway into the router of the endpoint.
    pub(crate) fn into_router(self) -> Router {
        Router::new()
            .route("/calls", get(calls))
            .route("/health", get(async || "ok\n"))
            .fallback(dispatch)
            .with_state(Arc::new(self))
    }

    async fn kinesis(&self, operation: &str, request: Request) -> Response {
        match operation {
            "PutRecord" | "PutRecords" | "SplitShard" | "MergeShards" => {
                self.write(operation, request).await
            }
            "GetRecords" | "GetShardIterator" | "ListShards" => {
                self.repaired(operation, request).await
            }
            "SubscribeToShard" => {
                let encoding = Encoding::of(request.headers());
                fan_out::watch(self.repaired(operation, request).await, encoding)
            }
            _ => {
                let rewrite = cbor_times::has_times(operation)
                    && Encoding::of(request.headers()) == Some(Encoding::Cbor);
                let repaired = operation == "UpdateShardCount" || stream_arn::needs_name(operation);
                let response = if repaired {
                    self.repaired(operation, request).await
                } else {
                    self.forward(request).await
                };
                self.topology.forget();
                if rewrite { cbor_times::rewrite(response).await } else { response }
            }
        }
    }

    /// Forwards one write at a time, and none until a change of the shards is complete.
    ///
    /// With a folder, the embedded Kinesis assigns a record its number and shard before it waits
    /// for the disk. If the shard ended meanwhile, the record would be stored after the shard's
    /// end, where no consumer reads.
    async fn write(&self, operation: &str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        // Before the lock, so that a slow client blocks no other.
        let body = match read(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let request = Request::from_parts(parts, Body::from(body));
        let turn = self.writes.lock().await;
        let response = if matches!(operation, "PutRecord" | "PutRecords") {
            // Puts may be large, and need no repair.
            self.forward(request).await
        } else {
            let response = self.repaired(operation, request).await;
            self.topology.settle().await;
            response
        };
        drop(turn);
        response
    }

    /// Answers a call with its repairs. Forwards calls that need none, and invalid ones, unchanged.
    async fn repaired(&self, operation: &str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = match read(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let message = Encoding::of(&parts.headers)
            .and_then(|encoding| Some((encoding, encoding.decode(&body)?)));
        let Some((encoding, fields)) = message else {
            return self.forward(Request::from_parts(parts, Body::from(body))).await;
        };
        match self.repair(operation, fields, encoding).await {
            Ok(Repair::Answer(answer)) => encoding.answer(answer),
            Ok(Repair::None) => self.forward(Request::from_parts(parts, Body::from(body))).await,
            Ok(Repair::Request(fields)) => {
                let mut parts = parts;
                parts.headers.remove(CONTENT_LENGTH);
                let body = encoding.encode(&Value::Object(fields));
                self.forward(Request::from_parts(parts, Body::from(body))).await
            }
            Err(error) => encoding.refuse(&error),
        }
    }

    async fn repair(
        &self,
        operation: &str,
        mut fields: Map<String, Value>,
        encoding: Encoding,
    ) -> Result<Repair, KinesisErrorResponse> {
        if operation == "GetRecords" {
            let answer =
                get_records::answer(&self.store, &self.topology, &fields, encoding).await?;
            return Ok(answer.map_or(Repair::None, Repair::Answer));
        }
        let named = stream_arn::needs_name(operation) && stream_arn::resolve(&mut fields)?;
        let positioned = match operation {
            "UpdateShardCount" => return Err(shard_count::refusal()),
            "ListShards" => {
                let answer = list_shards::answer(&self.topology, &fields).await?;
                return Ok(
                    answer.map_or(Repair::None, |answer| Repair::Answer(encoding.encode(&answer)))
                );
            }
            "GetShardIterator" => timestamp::in_iterator(&self.store, &mut fields).await,
            "SubscribeToShard" => timestamp::in_subscription(&self.store, &mut fields).await,
            _ => false,
        };
        Ok(if named || positioned { Repair::Request(fields) } else { Repair::None })
    }

    async fn dynamo(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        match read(body).await {
            Ok(body) => self.dynamo.call(parts.headers, body).await,
            Err(refusal) => refusal,
        }
    }

    /// Forwards a request to the embedded Kinesis.
    ///
    /// Without the runtime's budget no other call runs between the assignment of a record's number
    /// and its storage, so that no reader passes a record that is about to appear.
    async fn forward(&self, request: Request) -> Response {
        match unconstrained(self.kinesis.clone().oneshot(request)).await {
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

/// The largest request: a `PutRecords` call of 10 MiB, in base64.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

async fn read(body: Body) -> Result<Bytes, Response> {
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        (StatusCode::PAYLOAD_TOO_LARGE, format!("body not read: {error}\n")).into_response()
    })
}
