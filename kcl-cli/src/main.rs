//! `kclctl`: looks at fleets of Kinesis consumers.

mod args;
mod context;
mod describe;
mod exit;
mod lag;
mod list;
mod local;
mod paint;
mod table;
mod text;
mod view;
mod watch;
mod why;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;
use kcl_operate::iam::{Feature, On, Wanted};

use crate::args::{Arguments, Command, Iam};
use crate::exit::End;
use crate::view::{View, print};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(end) => end.into(),
        Err(error) => {
            let (text, code) = exit::report(&error);
            // A closed standard error is no failure of its own.
            drop(io::stderr().write_all(text.as_bytes()));
            code
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<End> {
    let view = View::new(arguments.global)?;
    match &arguments.command {
        Command::List(arguments) => list::run(&view, arguments).await,
        Command::Describe(arguments) => describe::run(&view, arguments).await,
        Command::Lag(arguments) => lag::run(&view, arguments).await,
        Command::Why(arguments) => why::run(&view, arguments).await,
        Command::Watch(arguments) => watch::run(&view, arguments).await,
        Command::Iam(arguments) => iam(arguments),
        Command::Local(arguments) => local::run(arguments).await,
        Command::Completions { shell } => completions(*shell),
        Command::Man { folder } => man(folder),
    }
}

fn iam(arguments: &Iam) -> anyhow::Result<End> {
    let mut wanted = Wanted::new(arguments.role, &arguments.stream, &arguments.table);
    let features = [
        (arguments.create, Feature::Create),
        (arguments.tags, Feature::Tags),
        (arguments.recovery, Feature::Recovery),
    ];
    for (is_wanted, feature) in features {
        if is_wanted {
            wanted = wanted.with(feature);
        }
    }
    if let Some(arn) = &arguments.dead_letter {
        wanted = wanted.with_on(Feature::DeadLetters, On::DeadLetter, arn.clone());
    }
    if let Some(arn) = &arguments.kms {
        wanted = wanted.with_on(Feature::Encrypted, On::Key, arn.clone());
    }
    print(&wanted.policy())?;
    Ok(End::Good)
}

fn completions(shell: Shell) -> anyhow::Result<End> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kclctl", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(End::Good)
}

fn man(folder: &Path) -> anyhow::Result<End> {
    clap_mangen::generate_to(Arguments::command(), folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(End::Good)
}
