//! The local stack as a process, for clients in any language.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use kcl_local::{LocalStack, LocalStackOptions};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// Kinesis and DynamoDB on one loopback endpoint, for tests and development.
///
/// Ctrl-C or SIGTERM stops it. GET /calls returns how often each operation was called, GET /health
/// answers when the stack is up.
#[derive(Debug, Parser)]
#[command(name = "kcl-local", version)]
struct Arguments {
    /// The port to listen on; 0 chooses a free one
    #[arg(long, default_value_t = 4567)]
    port: u16,
    /// The folder to keep streams and tables in across restarts; without it, all is in memory
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut options = LocalStackOptions::default().with_port(arguments.port);
    options.folder = arguments.data;
    let stack = LocalStack::start_with(&options).context("the local stack did not start")?;
    announce(&stack, &options).context("cannot write to standard output")?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted.context("cannot wait for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn announce(stack: &LocalStack, options: &LocalStackOptions) -> io::Result<()> {
    let url = stack.endpoint_url();
    let data = match &options.folder {
        Some(folder) => format!("in {}", folder.display()),
        None => "in memory".to_owned(),
    };
    let message = format!(
        "Kinesis and DynamoDB answer on {url}, data {data}. In the shell of your application:\n\n  \
           export AWS_ENDPOINT_URL={url} AWS_REGION=us-east-1\n  \
           export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test\n\n\
         Counts of calls: {url}/calls. Ctrl-C stops it.\n"
    );
    // In one piece, so that a reader may go after the first line.
    let mut out = io::stdout().lock();
    out.write_all(message.as_bytes())?;
    out.flush()
}
