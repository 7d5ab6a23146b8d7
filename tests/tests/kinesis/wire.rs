//! A server with scripted answers, which logs its requests.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use kcl_core::backend::{Clock, SystemClock};
use kcl_core::model::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This HTTP status and body.
    Reply(u16, String),
    /// No answer at all.
    Hang,
    /// The head of a good reply, but never its whole body.
    Stall,
}

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
    requests: Arc<Mutex<Vec<(String, Value)>>>,
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
        self.requests.lock().unwrap().clone()
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
                tokio::spawn(serve(socket, date.clone(), move |operation, body| {
                    log.lock().unwrap().push((operation.to_owned(), body.clone()));
                    answer(operation, body)
                }));
            }
        });
        Self { sdk: sdk_for(address), requests }
    }
}

async fn serve(
    socket: TcpStream,
    date: String,
    answer: impl Fn(&str, &Value) -> Answer,
) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    while let Some((operation, body)) = request(&mut socket).await? {
        let (status, text, missing) = match answer(&operation, &body) {
            Answer::Reply(status, text) => (status, text, 0),
            Answer::Stall => (200, "{".to_owned(), 1),
            Answer::Hang => return pending().await,
        };
        let length = text.len() + missing;
        let head = format!("HTTP/1.1 {status} So\r\n{date}Content-Length: {length}\r\n\r\n");
        socket.write_all((head + &text).as_bytes()).await?;
    }
    Ok(())
}

/// Reads the operation and body of the next request. `None` at the end of the connection.
async fn request(socket: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, Value)>> {
    let (mut operation, mut length) = (String::new(), 0);
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
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) | None => {}
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok(Some((operation, serde_json::from_slice(&body).unwrap())))
}
