//! A server with scripted answers, which logs its requests. It answers in the encoding of the
//! request.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ciborium::Value as Cbor;
use kcl_core::backend::{Clock, SystemClock};
use kcl_core::model::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This HTTP status, and this body of JSON in the encoding of the request.
    Reply(u16, String),
    /// This HTTP status, content type and body, as they are.
    Raw(u16, &'static str, Bytes),
    /// No answer at all.
    Hang,
    /// The head of a good reply, but never its whole body.
    Stall,
}

pub(crate) const JSON: &str = "application/x-amz-json-1.1";
pub(crate) const CBOR: &str = "application/x-amz-cbor-1.1";

/// Returns an SDK configuration for a server on this machine.
pub(crate) fn sdk_for(address: SocketAddr) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .timeout_config(TimeoutConfig::disabled())
        .build()
}

/// A server with scripted answers.
pub(crate) struct Wire {
    pub(crate) sdk: SdkConfig,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Wire {
    /// Answers each request by its operation and body.
    pub(crate) async fn answering(
        answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::dated(Some(SystemClock.time_of_day()), answer).await
    }

    /// Like [`answering`](Self::answering), with `time` in the `Date` header, or without the
    /// header.
    pub(crate) async fn dated(
        time: Option<Timestamp>,
        answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let date = time.map_or_else(String::new, |time| {
            let time = DateTime::from_secs(time.epoch_seconds());
            format!("Date: {}\r\n", time.fmt(DateTimeFormat::HttpDate).unwrap())
        });
        Self::start(answer, date).await
    }

    /// Answers each request with an error in Kinesis's format.
    pub(crate) async fn failing(status: u16, code: &'static str) -> Self {
        Self::answering(move |_, _| {
            Answer::Reply(status, format!(r#"{{"__type":"{code}","message":"so it is"}}"#))
        })
        .await
    }

    /// Returns the operations of all requests.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.requests().into_iter().map(|(operation, _)| operation).collect()
    }

    /// Returns the operations and bodies of all requests.
    pub(crate) fn requests(&self) -> Vec<(String, Value)> {
        let requests = self.requests.lock().unwrap().clone();
        requests.into_iter().map(|(operation, _, body)| (operation, body)).collect()
    }

    /// Returns the content types of all requests.
    pub(crate) fn encodings(&self) -> Vec<&'static str> {
        self.requests.lock().unwrap().iter().map(|(_, encoding, _)| *encoding).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "the test's runtime owns the server")]
    async fn start(
        answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
        date: String,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(serve(socket, date.clone(), move |request| {
                    log.lock().unwrap().push(request.clone());
                    answer(&request.0, &request.2)
                }));
            }
        });
        Self { sdk: sdk_for(address), requests }
    }
}

async fn serve(
    socket: TcpStream,
    date: String,
    answer: impl Fn(&Request) -> Answer,
) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    while let Some(request) = request(&mut socket).await? {
        let encoding = request.1;
        let (status, encoding, body, missing) = match answer(&request) {
            Answer::Reply(status, text) if encoding == CBOR => (status, CBOR, in_cbor(&text), 0),
            Answer::Reply(status, text) => (status, JSON, text.into(), 0),
            Answer::Raw(status, content_type, body) => (status, content_type, body, 0),
            Answer::Stall => (200, encoding, Bytes::from_static(b"\xa2"), 1),
            Answer::Hang => return pending().await,
        };
        let length = body.len() + missing;
        let head = format!(
            "HTTP/1.1 {status} So\r\n{date}Content-Type: {encoding}\r\nContent-Length: {length}\r\n\r\n"
        );
        socket.write_all(&[head.as_bytes(), &body].concat()).await?;
    }
    Ok(())
}

/// Returns a body of JSON in CBOR, with data in bytes and times in milliseconds. Other texts stay as
/// they are.
pub(crate) fn in_cbor(text: &str) -> Bytes {
    let Ok(body) = serde_json::from_str(text) else {
        return Bytes::copy_from_slice(text.as_bytes());
    };
    let mut message = Vec::new();
    ciborium::into_writer(&member("", body), &mut message).unwrap();
    message.into()
}

#[expect(clippy::cast_possible_truncation, reason = "the times of the tests are small")]
fn member(name: &str, value: Value) -> Cbor {
    match value {
        Value::String(data) if name == "Data" => Cbor::Bytes(BASE64_STANDARD.decode(data).unwrap()),
        Value::Number(seconds) if name.ends_with("Timestamp") => {
            Cbor::from((seconds.as_f64().unwrap() * 1_000.0).round() as i64)
        }
        Value::Object(members) => Cbor::Map(
            members
                .into_iter()
                .map(|(name, value)| (Cbor::from(name.as_str()), member(&name, value)))
                .collect(),
        ),
        Value::Array(items) => Cbor::Array(items.into_iter().map(|it| member("", it)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Cbor::serialized(&value).unwrap()
        }
    }
}

/// A request: its operation, encoding and body.
type Request = (String, &'static str, Value);

/// Reads the next request. `None` at the end of the connection.
async fn request(socket: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let (mut operation, mut encoding, mut length) = (String::new(), JSON, 0);
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        match line.split_once(": ") {
            None if line.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("x-amz-target") => {
                operation = value.rsplit('.').next().unwrap_or_default().to_owned();
            }
            Some((name, CBOR)) if name.eq_ignore_ascii_case("content-type") => encoding = CBOR,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) | None => {}
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    let body = match encoding {
        CBOR => ciborium::from_reader(&*body).unwrap(),
        _ => serde_json::from_slice(&body).unwrap(),
    };
    Ok(Some((operation, encoding, body)))
}
