//! How much is explored, and the tests that do.

use super::explorer::explore;
use super::worker::Times;
use super::world::{Left, World};
use std::time::Duration;

/// The bounds of one exploration.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: &'static str,
    pub(super) times: Times,
    /// One clock is up to a tick ahead of the other, so that each may be the faster one.
    pub(super) is_drifting: bool,
    /// A worker that was started anew has the id of its former self: a mistake.
    pub(super) same_incarnation: bool,
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

/// A deadline is two ticks after a write was sent, an expiry three after a counter was sighted.
const DRIFTING: Times = Times { tick: Duration::from_secs(9), hand_over: Duration::from_secs(9) };

const BASE: Scope =
    Scope { name: "", times: EVEN, is_drifting: false, same_incarnation: false, left: NOTHING };

const FAILOVER: Scope = Scope {
    name: "failover",
    left: Left { ticks: 4, failures: 1, batches: 1, stale_scans: 1, crashes: 1, ..NOTHING },
    ..BASE
};

const DRIFT: Scope = Scope {
    name: "drift",
    times: DRIFTING,
    is_drifting: true,
    left: Left { ticks: 8, failures: 1, ..NOTHING },
    ..BASE
};

const HAND_OVER: Scope =
    Scope { name: "hand-over", left: Left { ticks: 3, failures: 1, asks: 1, ..NOTHING }, ..BASE };

const SHARD_END: Scope = Scope {
    name: "shard end",
    left: Left { ticks: 3, failures: 1, asks: 1, ends: 1, cleanups: 1, ..NOTHING },
    ..BASE
};

fn check(scope: &'static Scope) {
    let t = std::time::Instant::now();
    match explore(&World::held(scope)) {
        Ok(v) => println!(
            "{}: {} states, {} steps, depth {}, {:?}",
            scope.name,
            v.states,
            v.steps,
            v.depth,
            t.elapsed()
        ),
        Err(v) => panic!("{}: {v:?}", scope.name),
    }
}
#[test]
fn failover() {
    check(&FAILOVER);
}
#[test]
fn drift() {
    check(&DRIFT);
}
#[test]
fn hand_over() {
    check(&HAND_OVER);
}
#[test]
fn shard_end() {
    check(&SHARD_END);
}
