//! A TCP proxy whose replies share a line of a few bytes a second.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// How many bytes take their turn on the line together.
const PIECE: usize = 4 * 1024;

/// How far the line may be behind its rate and still catch up: sleeps end late.
const CATCHES_UP: Duration = Duration::from_millis(500);

/// When the line is free again.
#[derive(Clone, Debug)]
struct Line {
    free_at: Arc<Mutex<Instant>>,
    bytes_per_second: u32,
}

/// Starts a proxy to `server`. Returns its address. It ends with the caller's runtime.
///
/// # Errors
/// If it cannot listen.
#[expect(clippy::disallowed_methods, reason = "the caller's runtime owns the proxy")]
pub async fn to(server: SocketAddr, bytes_per_second: u32) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let line = Line { free_at: Arc::new(Mutex::new(Instant::now())), bytes_per_second };
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let line = line.clone();
            tokio::spawn(async move { drop(line.connect(client, server).await) });
        }
    });
    Ok(address)
}

impl Line {
    async fn connect(&self, client: TcpStream, server: SocketAddr) -> io::Result<()> {
        let (mut requests, client) = client.into_split();
        let (replies, mut server) = TcpStream::connect(server).await?.into_split();
        // A client that gives up ends the reply.
        tokio::select! {
            end = copy(&mut requests, &mut server) => end.map(drop),
            end = self.carry(replies, client) => end,
        }
    }

    async fn carry(
        &self,
        mut from: impl tokio::io::AsyncRead + Unpin,
        mut to: impl tokio::io::AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut piece = [0; PIECE];
        loop {
            let length = from.read(&mut piece).await?;
            let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else {
                return Ok(());
            };
            {
                let mut free_at = self.free_at.lock().await;
                let takes = Duration::from_secs(1) * u32::try_from(length).unwrap_or(u32::MAX);
                let earliest = Instant::now() - CATCHES_UP;
                *free_at = (*free_at).max(earliest) + takes / self.bytes_per_second;
                sleep_until(*free_at).await;
            }
            to.write_all(read).await?;
        }
    }
}
