//! A fleet of workers shares a stream, on screen: one crashes, one joins, the stream is resharded,
//! one stops, and a verdict accounts for every record.
#![expect(clippy::print_stdout, reason = "the program reports on standard output")]

mod args;
mod board;
mod fleet;
mod ledger;
mod picture;
mod producer;
mod screen;
mod sdk;
mod stage;
mod story;
mod stream;
mod verdict;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::screen::Interrupted;
use crate::stream::Place;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(name) = &args.worker {
        worker::run(name, &args).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let place = Place::of(&args).await?;
    let stream = place.stream();
    let outcome = tokio::select! {
        played = story::play(&args, &stream) => played,
        () = interrupted() => Err(Interrupted.into()),
    };
    // Stream and table are deleted after failures too.
    let cleaned = stream.delete().await;
    let verdict = match outcome {
        Err(error) if error.is::<Interrupted>() => {
            println!("\n  Stopped. Nothing is left running.");
            return Ok(ExitCode::from(130));
        }
        outcome => outcome?,
    };
    cleaned?;
    println!("{verdict}");
    Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Completes when this process is asked to stop.
async fn interrupted() {
    let (Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}
