//! What the command line says.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, value_parser};

/// How long everything takes that happens in the chapters, about.
const BUSY: Duration = Duration::from_secs(12);

/// How many chapters are left to be looked at.
const CHAPTERS: u32 = 5;

/// Three workers share a stream. Then one is killed, one joins, the stream is resharded, and one
/// is asked to stop, while every record is watched.
///
/// By default everything takes place on this machine: no account, no Docker, nothing to clean up.
#[derive(Clone, Debug, Parser)]
#[command(name = "quickstart", version)]
pub(crate) struct Args {
    /// How many shards the stream starts with
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(3..=32))]
    pub(crate) shards: u16,
    /// How many workers there are at the start
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(2..=6))]
    pub(crate) workers: u8,
    /// About how many seconds the story takes; more of them leave more quiet between its chapters
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(15..=3_600))]
    pub(crate) seconds: u32,
    /// Use a local stack that is running already, such as `cargo run -p kcl-local`
    #[arg(long, value_name = "URL", conflicts_with = "aws")]
    pub(crate) endpoint: Option<String>,
    /// Use your AWS account, with the credentials of your environment: a stream and a table are
    /// created, and deleted at the end. This costs some cents
    #[arg(long)]
    pub(crate) aws: bool,
    /// Be one of the workers
    #[arg(long, hide = true, requires_all = ["stream", "folder"])]
    pub(crate) worker: Option<String>,
    /// The stream's name, which is the table's name as well
    #[arg(long, hide = true)]
    pub(crate) stream: Option<String>,
    /// Where a worker writes down what it delivered
    #[arg(long, hide = true)]
    pub(crate) folder: Option<PathBuf>,
}

impl Args {
    /// How long a chapter is left to be looked at.
    pub(crate) fn quiet(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds)).saturating_sub(BUSY) / CHAPTERS
    }

    /// How long something may take before the story is broken off: changing a stream of a real
    /// account takes up to a minute.
    pub(crate) const fn patience(&self) -> Duration {
        if self.aws { Duration::from_mins(3) } else { Duration::from_secs(30) }
    }
}
