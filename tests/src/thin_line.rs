//! A TCP proxy whose replies share a line of a few bytes a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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

/// Starts a proxy to `server`. Returns its address. It ends with the test's runtime.
#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the proxy")]
pub(crate) async fn to(server: SocketAddr, bytes_per_second: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let line = Line { free_at: Arc::new(Mutex::new(Instant::now())), bytes_per_second };
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let line = line.clone();
            tokio::spawn(async move {
                let (mut requests, client) = client.into_split();
                let (replies, mut server) = TcpStream::connect(server).await.unwrap().into_split();
                // A client that gives up ends the reply.
                tokio::select! {
                    _ = copy(&mut requests, &mut server) => {}
                    () = line.carry(replies, client) => {}
                }
            });
        }
    });
    address
}

impl Line {
    async fn carry(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut piece = [0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            {
                let mut free_at = self.free_at.lock().await;
                let takes = Duration::from_secs(1) * u32::try_from(length).unwrap();
                let earliest = Instant::now() - CATCHES_UP;
                *free_at = (*free_at).max(earliest) + takes / self.bytes_per_second;
                sleep_until(*free_at).await;
            }
            if to.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    }
}
