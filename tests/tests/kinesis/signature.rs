//! The signature covers the request in CBOR. The embedded server checks none.

use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use bytes::Bytes;
use kcl_core::backend::{ReadFrom, RecordSource};
use kcl_kinesis::KinesisSource;
use serde_json::{Value, json};

use crate::wire::{CBOR, in_cbor};

/// A service without a network, which keeps the last request.
#[derive(Clone, Debug, Default)]
struct Service(Arc<Mutex<Option<HttpRequest>>>);

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = match request.headers().get("content-type") {
            Some(CBOR) => in_cbor(r#"{"Records":[],"NextShardIterator":"second"}"#),
            _ => Bytes::from_static(br#"{"ShardIterator":"first"}"#),
        };
        *self.0.lock().unwrap() = Some(request);
        let status = 200.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body.into())))
    }
}

/// The time in the form of `x-amz-date`, such as `20261201T104712Z`.
fn signed_at(text: &str) -> DateTime {
    let (date, time) = text.split_once('T').unwrap();
    let dashed = format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]);
    let colons = format!("{}:{}:{}", &time[..2], &time[2..4], &time[4..]);
    let format = aws_sdk_kinesis::primitives::DateTimeFormat::DateTime;
    DateTime::from_str(&format!("{dashed}T{colons}"), format).unwrap()
}

/// Signs a request again, as the service does to check it.
fn signature(request: &HttpRequest, names: &str, credentials: &Credentials) -> String {
    let identity = credentials.clone().into();
    let time = signed_at(request.headers().get("x-amz-date").unwrap());
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("kinesis")
        .time(time.try_into().unwrap())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    // The signer adds these itself.
    let own = ["host", "x-amz-date", "x-amz-security-token"];
    let headers = names.split(';').filter(|name| !own.contains(name));
    let headers = headers.map(|name| (name, request.headers().get(name).unwrap()));
    let body = SignableBody::Bytes(request.body().bytes().unwrap());
    let signable = SignableRequest::new(request.method(), request.uri(), headers, body).unwrap();
    sign(signable, &params).unwrap().into_parts().1
}

#[tokio::test]
async fn request_in_cbor_is_signed() {
    let (service, credentials) = (Service::default(), Credentials::for_tests());
    let connector = SharedHttpConnector::new(service.clone());
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
        .http_client(http_client_fn(move |_, _| connector.clone()))
        .build();
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
    let source = KinesisSource::from_arn(&sdk, arn);
    let mut reader = source.open(&"shard".into(), ReadFrom::TrimHorizon).await.unwrap();
    reader.read(10).await.unwrap();

    let request = service.0.lock().unwrap().take().unwrap();
    let body = request.body().bytes().unwrap();
    let sent: Value = ciborium::from_reader(body).unwrap();
    assert_eq!(sent, json!({ "ShardIterator": "first", "Limit": 10, "StreamARN": arn }));
    let header = |name| request.headers().get(name).unwrap();
    assert_eq!(header("content-length"), body.len().to_string());
    assert!(request.uri().contains("123456789012.data-kinesis"), "{}", request.uri());
    let authorization = header("authorization");
    let (_, names) = authorization.split_once("SignedHeaders=").unwrap();
    let (names, sent) = names.split_once(", Signature=").unwrap();
    assert!(names.split(';').any(|name| name == "content-type"), "{names}");
    assert_eq!(signature(&request, names, &credentials), sent);
}
