//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kcl_core::model::Timestamp;
use kcl_operate::StreamId;

/// Shows who holds which shard of a Kinesis stream, how far behind it is, and why it stands still.
///
/// Reads lease tables, those of the Java KCL included, and changes nothing. APP is the name or ARN
/// of the lease table, which is the application's name.
///
/// Exit codes: 0 good, 1 failed, 2 wrong usage, 3 looked and found it unhealthy, 5 credentials or a
/// permission are missing.
#[derive(Debug, Parser)]
#[command(name = "kclctl", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// A context of the configuration: an application with its region and profile.
    #[arg(short, long, global = true, env = "KCL_CONTEXT")]
    pub(crate) context: Option<String>,
    /// The configuration [default: ~/.config/kcl/config.toml].
    #[arg(long, global = true, env = "KCL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The profile of the AWS configuration.
    #[arg(long, global = true)]
    pub(crate) profile: Option<String>,
    /// The AWS region.
    #[arg(long, global = true)]
    pub(crate) region: Option<String>,
    /// The endpoint of Kinesis and DynamoDB.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) endpoint_url: Option<String>,
    /// The stack of `kclctl local` on its default port, with test credentials.
    #[arg(long, global = true, conflicts_with = "endpoint_url")]
    pub(crate) local: bool,
    /// The form of the output.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// When to use colour. The variable `NO_COLOR` is obeyed.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    /// The width of tables, in columns [default: the terminal's].
    #[arg(long, global = true)]
    pub(crate) width: Option<u16>,
    /// Shows no progress on the standard error.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Reports as of this time: for copies of tables.
    #[arg(long, global = true, env = "KCL_AT", hide = true)]
    pub(crate) at: Option<Timestamp>,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table for people.
    Text,
    /// The same with more columns.
    Wide,
    /// One JSON document. Fields are only added.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// If the standard output is a terminal.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the lease tables of the account, with the state of each fleet.
    List(List),
    /// Shows the shards, the workers, and what is wrong.
    Describe(Describe),
    /// Checks how far each shard is behind: exit code 3 if one is too far.
    Lag(Lag),
    /// Explains why a shard stands still, and what to do.
    Why(Why),
    /// Prints what changes, line by line, until Ctrl-C.
    Watch(Watch),
    /// Prints the least policy that a role needs.
    Iam(Iam),
    /// Runs Kinesis and DynamoDB on this machine, with a stream, a producer and a small fleet.
    Local(Local),
    /// Prints the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Writes the manual pages into a folder.
    Man {
        /// The folder, which exists.
        folder: PathBuf,
    },
}

/// The table and the stream to look at.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// The application: the name or ARN of its lease table [default: the context's].
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) stream: Stream,
}

/// The stream to look at.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stream {
    /// The stream, a name or an ARN [default: what the table says, the Java KCL's does not].
    #[arg(long)]
    pub(crate) stream: Option<StreamId>,
    /// Leaves the stream out: neither retention nor shards without leases are known then.
    #[arg(long, conflicts_with = "stream")]
    pub(crate) no_stream: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Names only: reads no table.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Looks twice, with this pause: for trends, and for the workers of the Java KCL 2.x.
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub(crate) pause: Option<Duration>,
    /// Shows finished shards too.
    #[arg(long)]
    pub(crate) ended: bool,
    /// Only the workers.
    #[arg(long, conflicts_with = "shards")]
    pub(crate) workers: bool,
    /// Only the shards.
    #[arg(long)]
    pub(crate) shards: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Lag {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How far behind a shard may be.
    #[arg(long, value_parser = duration, default_value = "30s", value_name = "TIME")]
    pub(crate) max: Duration,
    /// Looks twice, with this pause: for trends.
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub(crate) pause: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The application, which the context may name, and the shard: `2` or its id.
    #[arg(required = true, num_args = 1..=2, value_names = ["APP", "SHARD"])]
    pub(crate) app_and_shard: Vec<String>,
    #[command(flatten)]
    pub(crate) stream: Stream,
    /// Looks again after this pause where one look does not tell; 0s never does.
    #[arg(long = "for", value_parser = duration, default_value = "5s", value_name = "TIME")]
    pub(crate) pause: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The pause between two looks, each of which reads the whole table.
    #[arg(long, value_parser = duration, default_value = "2s", value_name = "TIME")]
    pub(crate) every: Duration,
    /// Ends after this many looks.
    #[arg(long, short = 'n')]
    pub(crate) looks: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Iam {
    /// Who gets the policy: a worker, or people who look.
    #[arg(long = "for", value_name = "worker|viewer")]
    pub(crate) role: kcl_operate::iam::Role,
    /// The stream's name.
    #[arg(long)]
    pub(crate) stream: String,
    /// The lease table's name.
    #[arg(long)]
    pub(crate) table: String,
    /// The worker creates its table.
    #[arg(long)]
    pub(crate) create: bool,
    /// The worker puts tags on the table that it creates.
    #[arg(long, requires = "create")]
    pub(crate) tags: bool,
    /// The worker turns on point-in-time recovery of the table that it creates.
    #[arg(long, requires = "create")]
    pub(crate) recovery: bool,
    /// The ARN of the stream that takes dead letters.
    #[arg(long, value_name = "ARN")]
    pub(crate) dead_letter: Option<String>,
    /// The ARN of the key that encrypts the stream.
    #[arg(long, value_name = "ARN")]
    pub(crate) kms: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Local {
    /// The port on the loopback interface.
    #[arg(long, default_value_t = 4567)]
    pub(crate) port: u16,
    /// A stream to create, with its number of shards.
    #[arg(long, default_value = "orders:4", value_name = "NAME:SHARDS")]
    pub(crate) stream: crate::local::NewStream,
    /// How many records a second are put into it; 0/s puts none.
    #[arg(long, value_parser = crate::local::rate, default_value = "100/s", value_name = "N/s")]
    pub(crate) traffic: u32,
    /// How many workers read it, as the application NAME-consumer.
    #[arg(long, default_value_t = 2)]
    pub(crate) workers: u32,
    /// The folder that keeps everything across restarts [default: memory].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Parses `5s`, `2m`, `3h` or `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a time such as 30s, 500ms, 5m or 2h");
    let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_error| error())?;
    let millis = match text.strip_prefix(digits) {
        Some("ms") => Some(number),
        Some("s") => number.checked_mul(1_000),
        Some("m") => number.checked_mul(60_000),
        Some("h") => number.checked_mul(3_600_000),
        Some(_) | None => None,
    };
    millis.map(Duration::from_millis).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        for text in ["", "30", "s", "3 s", "-1s", "1d", "99999999999999999h"] {
            assert!(duration(text).unwrap_err().contains("30s"), "{text}");
        }
    }
}
