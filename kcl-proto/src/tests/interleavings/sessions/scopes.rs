//! The scopes with sessions that are explored, one test each.
//!
//! Tests explore a part of each scope. With `KCL_SESSIONS=1` they explore all of it, which takes
//! many minutes, and print how many states there are. `ci/exhaustive.sh` does not ask for that:
//! some scopes have not been explored to their end yet.

use std::time::Duration;

use super::super::explorer::{explore_scope, walk};
use super::step::{Budget, Line, Mode, Scope, Step};
use super::world::World;

const NOTHING: Budget = Budget {
    ticks: 0,
    failures: 0,
    batches: 0,
    checkpoints: 0,
    prepares: 0,
    asks: 0,
    stops: 0,
    resigns: 0,
    crashes: 0,
    wipes: 0,
    lives: 1,
};

/// A deadline is two ticks after a heartbeat was sent, an expiry two after it was sighted.
const HELD: Scope = Scope {
    name: "",
    tick: Duration::from_secs(10),
    is_drifting: false,
    modes: [Mode::Session; 2],
    is_held: true,
    budget: NOTHING,
};

/// A world in which the first worker has just taken the lease, if the scope says so.
fn begin(scope: &'static Scope) -> World {
    let mut world = World::new(scope);
    let take = [Step::Take(0), Step::Land(0), Step::Answer(0, Line::Lease)];
    walk(&mut world, take.into_iter().filter(|_| scope.is_held));
    world
}

#[track_caller]
fn check(part: &'static Scope, all: &'static Scope) {
    explore_scope("KCL_SESSIONS", (part, all), |scope| (scope.name, begin(scope)));
}

/// Both workers take a free lease at once.
#[test]
fn race() {
    const PART: Scope = Scope {
        name: "session race",
        is_held: false,
        budget: Budget { ticks: 1, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope { budget: Budget { ticks: 2, failures: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A holder pauses or is cut off; the other condemns it and takes the lease; late writes land.
#[test]
fn failover() {
    const PART: Scope = Scope {
        name: "session failover",
        budget: Budget { ticks: 2, failures: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 3, failures: 1, batches: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A worker crashes and restarts, with writes of its former incarnation under way.
#[test]
fn crash() {
    const PART: Scope = Scope {
        name: "session crash",
        budget: Budget { ticks: 2, batches: 1, crashes: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 3, batches: 1, crashes: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// Progress in both rows, and its adoption.
#[test]
fn checkpoints() {
    const PART: Scope = Scope {
        name: "session checkpoints",
        budget: Budget { ticks: 2, batches: 1, checkpoints: 1, prepares: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        budget: Budget { ticks: 3, batches: 2, checkpoints: 1, prepares: 1, ..NOTHING },
        ..PART
    };
    check(&PART, &ALL);
}

/// Clocks run at different speeds.
#[test]
fn drift() {
    const PART: Scope = Scope {
        name: "session drift",
        tick: Duration::from_secs(9),
        is_drifting: true,
        budget: Budget { ticks: 6, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope { budget: Budget { ticks: 7, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A worker asks for the lease.
#[test]
fn handover() {
    const PART: Scope = Scope {
        name: "session hand-over",
        budget: Budget { ticks: 1, failures: 1, asks: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 2, batches: 1, asks: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A worker stops, and the other may ask for the lease meanwhile.
#[test]
fn stop() {
    const PART: Scope = Scope {
        name: "session stop",
        budget: Budget { ticks: 1, batches: 1, asks: 1, stops: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 2, batches: 1, stops: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// A worker resigns, also with a take under way.
#[test]
fn resign() {
    const PART: Scope = Scope {
        name: "session resign",
        is_held: false,
        budget: Budget { ticks: 1, batches: 1, resigns: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope = Scope {
        budget: Budget { ticks: 2, failures: 1, batches: 1, resigns: 1, ..NOTHING },
        ..PART
    };
    check(&PART, &ALL);
}

/// The row of a session is deleted by hand.
#[test]
fn row_deleted() {
    const PART: Scope = Scope {
        name: "session row deleted",
        budget: Budget { ticks: 2, batches: 1, wipes: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 3, batches: 1, wipes: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// One worker's leases live by their counters, the other's by its session.
#[test]
fn mixed() {
    const PART: Scope = Scope {
        name: "session mixed",
        modes: [Mode::Session, Mode::Counter],
        budget: Budget { ticks: 2, asks: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 3, failures: 1, asks: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}

/// The other worker is of a version that does not know sessions. It never robs; if the session's
/// worker crashes, its next incarnation takes the lease.
#[test]
fn mixed_with_an_older_version() {
    const PART: Scope = Scope {
        name: "session mixed, older version",
        modes: [Mode::Session, Mode::Unaware],
        budget: Budget { ticks: 2, asks: 1, ..NOTHING },
        ..HELD
    };
    const ALL: Scope =
        Scope { budget: Budget { ticks: 3, asks: 1, crashes: 1, ..NOTHING }, ..PART };
    check(&PART, &ALL);
}
