//! A local stack as a process, for clients in any language.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use anyhow::Context as _;
use clap::Parser;
use kcl_local::{DemoStream, LocalStack, LocalStackOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// Kinesis and DynamoDB on one loopback endpoint, for tests and development.
///
/// With a command, runs it with the environment that leads AWS clients here, and ends with it.
/// Without one, serves until Ctrl-C or SIGTERM. GET /calls returns how often each operation was
/// called, GET /health answers when the stack is up.
#[derive(Debug, Parser)]
#[command(name = "kcl-local", version)]
struct Arguments {
    /// The port to listen on; 0 chooses a free one. Default: 4567, or a free one for a command
    #[arg(long)]
    port: Option<u16>,
    /// The folder that keeps streams and tables across restarts; without it, all is in memory
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Create this stream, and put a record into it five times a second
    #[arg(long, value_name = "STREAM")]
    demo: Option<String>,
    /// The command to run, with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let port = arguments.port.unwrap_or(if arguments.command.is_empty() { 4567 } else { 0 });
    let mut options = LocalStackOptions::default().with_port(port);
    options.folder = arguments.data;
    let stack = LocalStack::start_with(&options).context("the local stack did not start")?;
    let _demo = match &arguments.demo {
        Some(stream) => {
            let started = DemoStream::start(&stack.sdk_config(), stream).await;
            Some(started.context("cannot create the demo stream")?)
        }
        None => None,
    };
    match arguments.command.split_first() {
        Some((program, rest)) => run(&stack, program, rest).await,
        None => serve(&stack, &options).await.map(|()| ExitCode::SUCCESS),
    }
}

/// Returns the environment that leads AWS clients to the stack.
fn environment(stack: &LocalStack) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", stack.endpoint_url()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

async fn serve(stack: &LocalStack, options: &LocalStackOptions) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    announce(stack, options).context("cannot write to standard output")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Runs a command until it ends. Forwards SIGTERM; the terminal sends Ctrl-C to both.
async fn run(stack: &LocalStack, program: &str, rest: &[String]) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut command = Command::new(program);
    command.args(rest).envs(environment(stack)).env_remove("AWS_SESSION_TOKEN");
    let mut child =
        command.kill_on_drop(true).spawn().with_context(|| format!("cannot run {program}"))?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(code(status.context("cannot wait for the command")?)),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
                if let Some(id) = id {
                    kill_process(id, Signal::TERM).context("cannot stop the command")?;
                }
            }
        }
    }
}

/// Returns the command's exit code; 1 if a signal ended it.
fn code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn announce(stack: &LocalStack, options: &LocalStackOptions) -> io::Result<()> {
    let url = stack.endpoint_url();
    let data = match &options.folder {
        Some(folder) => format!("in {}", folder.display()),
        None => "in memory".to_owned(),
    };
    let [url_set, region, key, secret] =
        environment(stack).map(|(name, value)| format!("{name}={value}"));
    let message = format!(
        "Kinesis and DynamoDB answer on {url}, data {data}. In the shell of your application:\n\n  \
           export {url_set} {region}\n  \
           export {key} {secret}\n\n\
         Counts of calls: {url}/calls. Ctrl-C stops it.\n"
    );
    // One write, so that a reader may close the pipe after the first line.
    let mut out = io::stdout().lock();
    out.write_all(message.as_bytes())?;
    out.flush()
}
