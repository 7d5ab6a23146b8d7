//! The scopes that are explored, one test each.
//!
//! `cargo test` explores a part of each scope. `ci/exhaustive.sh` explores all of it and prints how
//! many states that are.

use std::time::Duration;

use super::explorer::{explore, explore_scope, walk};
use super::scope::{Scope, Times};
use super::step::{Budget, Step, Tag};
use super::world::World;
use crate::lease::write_numbers::WriteNumbers;

const NOTHING: Budget = Budget {
    ticks: 0,
    copies: 0,
    failures: 0,
    stale_scans: 0,
    asks: 0,
    batches: 0,
    checkpoints: 0,
    ends: 0,
    consumer_failures: 0,
    beats: 0,
    stops: 0,
    crashes: 0,
    cleanups: 0,
};

/// A deadline is two ticks after a write was sent, an expiry two after a counter was sighted.
const EVEN: Times = Times { tick: Duration::from_secs(10), handover: Duration::from_secs(10) };

/// Hand-overs may take so long that the requester counts as silent.
const PATIENT: Times = Times { tick: Duration::from_secs(10), handover: Duration::from_secs(30) };

/// A deadline is two ticks after a write was sent, an expiry three after a counter was sighted.
const DRIFTING: Times = Times { tick: Duration::from_secs(9), handover: Duration::from_secs(9) };

const HELD: Scope = Scope {
    name: "",
    times: EVEN,
    is_drifting: false,
    same_incarnation: false,
    is_held: true,
    budget: NOTHING,
};

/// A world in which the first worker has just taken the lease.
fn held(scope: &'static Scope) -> World {
    let mut world = World::new(scope);
    let take = Tag(0, 0, WriteNumbers::of_lane(1).draw());
    walk(&mut world, [Step::Scan(0), Step::Take(0), Step::Land(take), Step::Answer(0)]);
    world
}

#[track_caller]
fn check(part: &'static Scope, all: &'static Scope) {
    explore_scope("KCL_EXHAUSTIVE", (part, all), |scope| {
        (scope.name, if scope.is_held { held(scope) } else { World::new(scope) })
    });
}

/// Both workers take a free lease at once.
#[test]
fn race() {
    const PART: Scope = Scope {
        name: "race",
        is_held: false,
        budget: Budget { ticks: 1, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 3, failures: 1, batches: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A holder pauses, is cut off or crashes; the other takes the lease; late writes land.
#[test]
fn failover() {
    const PART: Scope = Scope {
        name: "failover",
        budget: Budget { ticks: 3, failures: 1, batches: 1, crashes: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        budget: Budget { ticks: 4, failures: 1, batches: 1, stale_scans: 1, crashes: 1, ..NOTHING },
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
        budget: Budget { ticks: 8, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        budget: Budget { ticks: 9, failures: 1, batches: 1, stale_scans: 1, ..NOTHING },
        ..PART
    };
    check(&PART, &ALL);
}

/// Outcomes stay unknown repeatedly, and the client retries by itself.
#[test]
fn ambiguity() {
    const PART: Scope = Scope {
        name: "ambiguity",
        budget: Budget { ticks: 3, failures: 2, copies: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 4, failures: 2, copies: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// Checkpoints are written with renewals and on their own.
#[test]
fn checkpoints() {
    const PART: Scope = Scope {
        name: "checkpoints",
        budget: Budget { ticks: 2, failures: 1, batches: 2, checkpoints: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        budget: Budget {
            ticks: 3,
            failures: 1,
            batches: 2,
            checkpoints: 1,
            consumer_failures: 1,
            ..NOTHING
        },
        ..PART
    };
    check(&PART, &ALL);
}

/// A worker asks for the lease, and gets it.
#[test]
fn handover() {
    const PART: Scope = Scope {
        name: "hand-over",
        budget: Budget { ticks: 2, failures: 1, asks: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 3, failures: 1, asks: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A worker asks for the lease and does not get it in time, with or without a moving heartbeat.
#[test]
fn silent_requester() {
    const PART: Scope = Scope {
        name: "silent requester",
        times: PATIENT,
        budget: Budget { ticks: 3, asks: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope { budget: Budget { ticks: 4, asks: 1, beats: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// Either side of a hand-over stops or crashes.
#[test]
fn stop_amid_handover() {
    const PART: Scope = Scope {
        name: "stop amid a hand-over",
        budget: Budget { ticks: 1, asks: 1, stops: 1, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 2, asks: 1, stops: 2, crashes: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// The shard ends, also amid a hand-over, and its row is deleted.
#[test]
fn shard_end() {
    const PART: Scope = Scope {
        name: "shard end",
        budget: Budget { ticks: 1, failures: 1, asks: 1, ends: 1, cleanups: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        budget: Budget {
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

/// A worker that restarts under its old id mistakes a late copy of its former write for its own,
/// and the explorer finds it.
#[test]
fn reused_incarnation_is_found() {
    const REUSED: Scope = Scope {
        same_incarnation: true,
        is_held: false,
        budget: Budget { ticks: 2, failures: 1, crashes: 1, ..NOTHING },
        ..HELD
    };
    let trace = explore(&World::new(&REUSED)).expect_err("two workers deliver, or one twice");
    println!("{trace:?}");
}
