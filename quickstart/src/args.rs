//! Command line arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, value_parser};
use kcl_core::model::Liveness;

/// About how long the events of all chapters take.
const BUSY: Duration = Duration::from_secs(12);

/// The number of chapters that end with a pause.
const CHAPTERS: u32 = 5;

/// Three workers share a stream. One is killed, one joins, the stream is resharded, and one is
/// asked to stop, while every record is tracked.
///
/// By default everything runs on this machine: no account, no Docker, nothing to clean up.
#[derive(Clone, Debug, Parser)]
#[command(name = "quickstart", version)]
pub(crate) struct Args {
    /// How many shards the stream starts with
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(3..=32))]
    pub(crate) shards: u16,
    /// How many workers start first
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(2..=6))]
    pub(crate) workers: u8,
    /// About how many seconds the run takes; more seconds mean longer pauses between the chapters
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(15..=3_600))]
    pub(crate) seconds: u32,
    /// What proves that a worker is alive: the counter of each lease it holds, or one session
    #[arg(long, value_name = "counter|session", default_value_t = Liveness::Counter)]
    pub(crate) liveness: Liveness,
    /// Use a running local stack, such as `cargo run -p kcl-local`
    #[arg(long, value_name = "URL", conflicts_with = "aws")]
    pub(crate) endpoint: Option<String>,
    /// Use your AWS account, with the credentials of your environment. The run creates a stream and
    /// a table, deletes them at the end, and costs a few cents. Needs a build with `--features aws`
    #[arg(long)]
    pub(crate) aws: bool,
    /// Write the screen after the reshard to this file, as an SVG image
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
    /// Run as one of the workers
    #[arg(long, hide = true, requires_all = ["stream", "folder"])]
    pub(crate) worker: Option<String>,
    /// The name of the stream and of the table
    #[arg(long, hide = true)]
    pub(crate) stream: Option<String>,
    /// The folder of the workers' delivery logs
    #[arg(long, hide = true)]
    pub(crate) folder: Option<PathBuf>,
}

impl Args {
    /// Returns the pause after a chapter.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds)).saturating_sub(BUSY) / CHAPTERS
    }

    /// Returns how long a step may take: on AWS, changing a stream takes up to a minute.
    pub(crate) const fn step_timeout(&self) -> Duration {
        if self.aws { Duration::from_mins(3) } else { Duration::from_secs(30) }
    }
}
