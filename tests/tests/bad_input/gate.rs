//! A proxy between workers and the stack, which answers in the stack's place if a rule says so.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How the gate handles a call.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The stack answers it.
    Pass,
    /// The stack answers it, and the gate replaces the first word by the second in the reply.
    Reword(&'static str, &'static str),
    /// The gate refuses it with this code, as AWS does.
    Refuse(&'static str),
    /// The gate never answers it.
    Hang,
}

type Rule = Arc<dyn Fn(&str) -> Verdict + Send + Sync>;

/// A proxy in front of the stack. Its rule gets the action of each call, such as
/// `kinesis:GetRecords`.
pub(crate) struct Gate {
    endpoint: String,
    // The test replaces the rule while workers call; the lock is held only to read or replace it.
    rule: Arc<Mutex<Rule>>,
    task: JoinHandle<()>,
}

impl Gate {
    /// Starts a gate in front of the stack at `endpoint`. It passes all calls.
    #[expect(clippy::disallowed_methods, reason = "aborted when the gate is dropped")]
    pub(crate) async fn before(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stack = endpoint.strip_prefix("http://").unwrap().to_owned();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Arc::new(|_: &str| Verdict::Pass)));
        let rules = Arc::clone(&rule);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, stack.clone(), Arc::clone(&rules)));
            }
        });
        Self { endpoint: format!("http://{address}"), rule, task }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Handles later calls by `rule`.
    pub(crate) fn rule(&self, rule: impl Fn(&str) -> Verdict + Send + Sync + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rule);
    }

    /// Handles later calls of `action` by `verdict`. All others pass.
    pub(crate) fn only(&self, action: &'static str, verdict: Verdict) {
        self.rule(move |called| if called == action { verdict.clone() } else { Verdict::Pass });
    }

    /// Refuses the next `calls` calls of `action` as if its resource did not exist. All others pass.
    pub(crate) fn miss(&self, action: &'static str, calls: u32) {
        let left = AtomicU32::new(calls);
        self.rule(move |called| {
            let count = |left: u32| left.checked_sub(1);
            let is_missed = called == action
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok();
            if is_missed { Verdict::Refuse("ResourceNotFoundException") } else { Verdict::Pass }
        });
    }

    /// Denies later calls of `action`. All others pass.
    pub(crate) fn deny(&self, action: &'static str) {
        self.only(action, Verdict::Refuse("AccessDeniedException"));
    }

    /// Passes all later calls.
    pub(crate) fn open(&self) {
        self.rule(|_| Verdict::Pass);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: TcpStream, stack: String, rule: Arc<Mutex<Rule>>) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    while let Some(call) = Message::read(&mut socket).await? {
        let rule = Arc::clone(&*rule.lock().unwrap_or_else(PoisonError::into_inner));
        let reply = match rule(&call.action()) {
            Verdict::Pass => call.pass(&stack).await?,
            Verdict::Reword(word, other) => {
                let mut reply = call.pass(&stack).await?;
                let text = String::from_utf8_lossy(&reply.body).replace(word, other);
                reply.body = text.into_bytes();
                reply
            }
            Verdict::Refuse(code) => Message::refusal(code),
            Verdict::Hang => pending().await,
        };
        reply.write(&mut socket, "Connection: keep-alive").await?;
    }
    Ok(())
}

/// A request or a reply.
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn refusal(code: &str) -> Self {
        let body = format!(r#"{{"__type":"{code}","message":"as the test says"}}"#);
        let kind = ("content-type".to_owned(), "application/x-amz-json-1.1".to_owned());
        let first = "HTTP/1.1 400 Bad Request".to_owned();
        Self { first, headers: vec![kind], body: body.into_bytes() }
    }

    /// Reads the connection's next message. `None` at its end.
    async fn read(socket: &mut BufReader<TcpStream>) -> std::io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let first = lines.remove(0);
        let header = |line: &String| {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let mut message =
            Self { first, headers: lines.iter().map(header).collect(), body: Vec::new() };
        message.body = vec![0; message.header("content-length").parse().unwrap_or(0)];
        socket.read_exact(&mut message.body).await?;
        Ok(Some(message))
    }

    async fn write(
        &self,
        socket: &mut BufReader<TcpStream>,
        connection: &str,
    ) -> std::io::Result<()> {
        let mut head = format!("{}\r\n{connection}\r\n", self.first);
        for (name, value) in &self.headers {
            if !["connection", "content-length"].contains(&name.as_str()) {
                head.push_str(&[name, ": ", value, "\r\n"].concat());
            }
        }
        let head = format!("{head}content-length: {}\r\n\r\n", self.body.len());
        socket.write_all(&[head.as_bytes(), &self.body].concat()).await
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// Returns the action that allows the call, such as `kinesis:GetRecords`.
    fn action(&self) -> String {
        let target = self.header("x-amz-target");
        let (service, operation) = target.split_once('.').unwrap_or_default();
        let (service, _) = service.split_once('_').unwrap_or_default();
        format!("{}:{operation}", service.to_lowercase())
    }

    /// Passes the call to the stack. Returns the reply.
    async fn pass(&self, stack: &str) -> std::io::Result<Self> {
        let mut socket = BufReader::new(TcpStream::connect(stack).await?);
        self.write(&mut socket, "Connection: close").await?;
        let reply = Self::read(&mut socket).await?;
        reply.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}
