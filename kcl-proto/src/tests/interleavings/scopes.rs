//! How much is explored, and the tests that do.
//!
//! `cargo test` explores a part of each scope; `ci/exhaustive.sh` all of it, and prints how many states
//! that are.

use std::time::Duration;

use super::explorer::{Visited, explore};
use super::steps::Left;
use super::worker::Times;
use super::world::World;

/// The bounds of one exploration.
#[derive(Debug)]
pub(super) struct Scope {
    name: &'static str,
    pub(super) times: Times,
    /// One clock is up to a tick ahead of the other, so that each may be the faster one.
    pub(super) is_drifting: bool,
    /// A worker that was started anew has the id of its former self: a mistake.
    pub(super) same_incarnation: bool,
    /// The first worker holds the lease at the start.
    is_held: bool,
    pub(super) left: Left,
}

const NOTHING: Left = Left {
    ticks: 0,
    copies: 0,
    failures: 0,
    stale_scans: 0,
    asks: 0,
    batches: 0,
    checkpoints: 0,
    ends: 0,
    surrenders: 0,
    beats: 0,
    stops: 0,
    crashes: 0,
    cleanups: 0,
};

/// A deadline is two ticks after a write was sent, an expiry two after a counter was sighted.
const EVEN: Times = Times { tick: Duration::from_secs(10), hand_over: Duration::from_secs(10) };

/// Hand-overs may take so long that the requester counts as silent.
const PATIENT: Times = Times { tick: Duration::from_secs(10), hand_over: Duration::from_secs(30) };

/// A deadline is two ticks after a write was sent, an expiry three after a counter was sighted.
const DRIFTING: Times = Times { tick: Duration::from_secs(9), hand_over: Duration::from_secs(9) };

const HELD: Scope = Scope {
    name: "",
    times: EVEN,
    is_drifting: false,
    same_incarnation: false,
    is_held: true,
    left: NOTHING,
};

/// Explores a part, or everything if that is asked for. Prints how much it was.
#[track_caller]
fn check(part: &'static Scope, all: &'static Scope) {
    #[expect(clippy::disallowed_methods, reason = "a test that is longer when asked for")]
    let wants_all = std::env::var("KCL_EXHAUSTIVE").is_ok();
    let scope = if wants_all { all } else { part };
    let start = if scope.is_held { World::held(scope) } else { World::new(scope) };
    match explore(&start) {
        Ok(Visited { states, steps, depth }) => {
            println!("{:28} {states:>9} states {steps:>10} steps, {depth} deep", scope.name);
        }
        Err(trace) => panic!("{}: {trace:?}", scope.name),
    }
}

/// Both workers take a free lease at once.
#[test]
fn race() {
    const PART: Scope = Scope {
        name: "race",
        is_held: false,
        left: Left { ticks: 1, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { left: Left { ticks: 3, failures: 1, batches: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A holder is paused, cut off or dies, and the lease is taken; late writes land.
#[test]
fn failover() {
    const PART: Scope = Scope {
        name: "failover",
        left: Left { ticks: 3, failures: 1, batches: 1, crashes: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        left: Left { ticks: 4, failures: 1, batches: 1, stale_scans: 1, crashes: 1, ..NOTHING },
        ..PART
    };
    check(&PART, &ALL);
}

/// The same with clocks that run at different speeds.
#[test]
fn drift() {
    const PART: Scope = Scope {
        name: "drift",
        times: DRIFTING,
        is_drifting: true,
        left: Left { ticks: 8, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        left: Left { ticks: 9, failures: 1, batches: 1, stale_scans: 1, ..NOTHING },
        ..PART
    };
    check(&PART, &ALL);
}

/// Outcomes stay unknown again and again, and the client retries by itself.
#[test]
fn ambiguity() {
    const PART: Scope = Scope {
        name: "ambiguity",
        left: Left { ticks: 3, failures: 2, copies: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope { left: Left { ticks: 4, failures: 2, copies: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// Checkpoints, with the renewals and on their own.
#[test]
fn checkpoints() {
    const PART: Scope = Scope {
        name: "checkpoints",
        left: Left { ticks: 2, failures: 1, batches: 2, checkpoints: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        left: Left { ticks: 3, failures: 1, batches: 2, checkpoints: 1, surrenders: 1, ..NOTHING },
        ..PART
    };
    check(&PART, &ALL);
}

/// A worker asks for the lease, and gets it.
#[test]
fn hand_over() {
    const PART: Scope = Scope {
        name: "hand-over",
        left: Left { ticks: 2, failures: 1, asks: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope { left: Left { ticks: 3, failures: 1, asks: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A worker asks for the lease and does not get it in time; its presence moves meanwhile, or not.
#[test]
fn silent_requester() {
    const PART: Scope = Scope {
        name: "silent requester",
        times: PATIENT,
        left: Left { ticks: 3, asks: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope { left: Left { ticks: 4, asks: 1, beats: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// Either side of a hand-over stops or dies.
#[test]
fn stop_amid_a_hand_over() {
    const PART: Scope = Scope {
        name: "stop amid a hand-over",
        left: Left { ticks: 1, asks: 1, stops: 1, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { left: Left { ticks: 2, asks: 1, stops: 2, crashes: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// The shard ends, also amid a hand-over, and its row is deleted.
#[test]
fn shard_end() {
    const PART: Scope = Scope {
        name: "shard end",
        left: Left { ticks: 1, failures: 1, asks: 1, ends: 1, cleanups: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        left: Left {
            ticks: 2,
            failures: 1,
            asks: 1,
            ends: 1,
            cleanups: 1,
            stale_scans: 1,
            ..NOTHING
        },
        ..PART
    };
    check(&PART, &ALL);
}

/// The check has teeth: a worker that is started anew under its old id takes a late copy of its
/// former self's write for its own.
#[test]
fn a_reused_incarnation_is_noticed() {
    const REUSED: Scope = Scope {
        same_incarnation: true,
        is_held: false,
        left: Left { ticks: 2, failures: 1, crashes: 1, ..NOTHING },
        ..HELD
    };
    let trace = explore(&World::new(&REUSED)).expect_err("two workers deliver, or one twice");
    println!("{trace:?}");
}
