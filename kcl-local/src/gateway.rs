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
use tokio::sync::{Mutex, watch};
use tokio::task::unconstrained;
use tower::ServiceExt as _;

use crate::calls::Calls;
use crate::dynamo::Dynamo;
use crate::fan_out::consumers::Consumers;
use crate::fan_out::service::FanOut;
use crate::fan_out::stock::Stock;
use crate::repair::{cbor_times, get_records, list_shards, shard_count, stream_arn, timestamp};
use crate::topology::Topology;
use crate::wire::Encoding;

/// The services behind the endpoint.
pub(crate) struct Gateway {
    kinesis: Router,
    store: Store,
    topology: Arc<Topology>,
    dynamo: Dynamo,
    calls: Arc<Calls>,
    writes: Arc<Mutex<()>>,
    news: watch::Sender<u64>,
    fan_out: Arc<FanOut>,
    consumers: Consumers,
}

/// The result of a repair.
enum Repair {
    /// The answer of the call.
    Answer(Vec<u8>),
    /// The answer of a call, with its head.
    Response(Response),
    /// The call to forward instead.
    Request(Map<String, Value>),
    /// The call needs no repair.
    None,
}

impl Gateway {
    /// Creates a gateway to the embedded services.
    pub(crate) fn new(
        (kinesis, store): (Router, Store),
        dynamo: Dynamo,
        calls: Arc<Calls>,
        fan_out: Arc<FanOut>,
    ) -> Self {
        Self {
            kinesis: kinesis.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
            topology: Arc::new(Topology::new(store.clone())),
            consumers: Consumers::new(store.clone(), Arc::clone(fan_out.rules())),
            writes: Arc::default(),
            news: watch::Sender::new(0),
            store,
            dynamo,
            calls,
            fan_out,
        }
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
        if let Some(refusal) = self.fan_out.refusal(operation) {
            return Encoding::of(request.headers()).unwrap_or(Encoding::Json).refuse(&refusal);
        }
        match operation {
            "PutRecord" | "PutRecords" | "SplitShard" | "MergeShards" => {
                let response = self.write(operation, request).await;
                self.news.send_modify(|news| *news += 1);
                response
            }
            "GetRecords" | "GetShardIterator" | "ListShards" | "SubscribeToShard" => {
                self.repaired(operation, request).await
            }
            _ => {
                let rewrite = cbor_times::has_times(operation)
                    && Encoding::of(request.headers()) == Some(Encoding::Cbor);
                let response = if is_repaired(operation) {
                    self.repaired(operation, request).await
                } else {
                    self.forward(request).await
                };
                self.topology.forget();
                self.news.send_modify(|news| *news += 1);
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
            Ok(Repair::Response(response)) => response,
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
        let answer = |answer: Value| Repair::Answer(encoding.encode(&answer));
        match operation {
            "GetRecords" => {
                let answer =
                    get_records::answer(&self.store, &self.topology, &fields, encoding).await?;
                return Ok(answer.map_or(Repair::None, Repair::Answer));
            }
            "SubscribeToShard" => {
                let stock = self.stock();
                let subscribed = self.fan_out.subscribe(fields, encoding, &self.consumers, stock);
                return Ok(Repair::Response(Box::pin(subscribed).await?));
            }
            "RegisterStreamConsumer" => return self.consumers.register(&fields).await.map(answer),
            "DescribeStreamConsumer" => return self.consumers.describe(&fields).await.map(answer),
            "ListStreamConsumers" => return self.consumers.list(&fields).await.map(answer),
            "DeregisterStreamConsumer" => {
                self.fan_out.consumer_gone(&self.consumers.deregister(&fields).await?);
                return Ok(Repair::Answer(Vec::new()));
            }
            "UpdateShardCount" => return Err(shard_count::refusal()),
            _ => {}
        }
        let named = stream_arn::needs_name(operation) && stream_arn::resolve(&mut fields)?;
        let positioned = match operation {
            "ListShards" => {
                let list = list_shards::answer(&self.topology, &fields).await?;
                return Ok(list.map_or(Repair::None, answer));
            }
            "DeleteStream" => {
                self.delete_consumers(&fields).await?;
                false
            }
            "GetShardIterator" => timestamp::in_iterator(&self.store, &mut fields).await,
            _ => false,
        };
        Ok(if named || positioned { Repair::Request(fields) } else { Repair::None })
    }

    /// Deletes the consumers of a stream that is to be deleted.
    async fn delete_consumers(
        &self,
        fields: &Map<String, Value>,
    ) -> Result<(), KinesisErrorResponse> {
        let stream = fields.get("StreamName").and_then(Value::as_str).unwrap_or_default();
        let enforced = fields.get("EnforceConsumerDeletion") == Some(&Value::Bool(true));
        for consumer in self.consumers.delete_all(stream, enforced).await? {
            self.fan_out.consumer_gone(&consumer);
        }
        Ok(())
    }

    fn stock(&self) -> Stock {
        Stock {
            rules: Arc::clone(self.fan_out.rules()),
            store: self.store.clone(),
            topology: Arc::clone(&self.topology),
            writes: Arc::clone(&self.writes),
            news: self.news.clone(),
        }
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

/// Returns whether calls of an operation that changes streams or consumers are repaired.
fn is_repaired(operation: &str) -> bool {
    stream_arn::needs_name(operation)
        || matches!(
            operation,
            "UpdateShardCount"
                | "RegisterStreamConsumer"
                | "DescribeStreamConsumer"
                | "ListStreamConsumers"
                | "DeregisterStreamConsumer"
        )
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
